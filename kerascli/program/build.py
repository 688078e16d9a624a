"""From a graph of layers to a program: the trace of the forward pass, the loss, its gradients and what they update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import prod

from kerascli.errors import Problem, SpecFailure
from kerascli.graph import Graph, Node
from kerascli.layer import MASKED, Context
from kerascli.layers.structure import PSEUDO, _Part
from kerascli.losses.base import Loss
from kerascli.ops.elementwise import add, cast, divide, logical_and, maximum, multiply
from kerascli.ops.ir import Carried, Input, Scope, Shape, ShapeError, Trace, Type, Value, Variable, Weight, constant
from kerascli.ops.linear import SpreadOverBatch, batch_sum
from kerascli.ops.reduction import mean, weighted_sum
from kerascli.ops.reduction import sum as total
from kerascli.ops.shape import batch_major, reshape
from kerascli.program.differentiate import gradients
from kerascli.program.program import Program
from kerascli.program.simplify import simplify


@dataclass(frozen=True)
class Target:
    """What the program must know of an output's target: one sample's shape, its dtype, whether samples are weighted."""

    loss: Loss
    shape: Shape
    dtype: str = "float"
    weight: float = 1.0
    """The output's loss weight."""


@dataclass
class _Forward:
    """The forward pass as traced, before any loss."""

    training: bool
    trace: Trace = field(default_factory=Trace)
    values: dict[str, Value] = field(default_factory=dict)
    masks: dict[str, Value | None] = field(default_factory=dict)
    written: dict[str, Value | None] = field(default_factory=dict)
    """Masks as Keras's graph has them, where the running model has lost them: behind a MultiHeadAttention."""
    updates: dict[str, Value] = field(default_factory=dict)
    penalties: list[Value] = field(default_factory=list)
    weights: dict[str, Value] = field(default_factory=dict)
    further: dict[str, Sequence[Value]] = field(default_factory=dict)
    """The outputs after the first of layers that have several."""

    def add(self, node: Node, is_input: bool) -> None:
        """What a node stands for: an input of the graph, another node's value, or the call of a layer."""
        if is_input:
            kind = Type(node.shape, node.dtype)
            self.values[node.name] = self.trace.add(Input(f"x:{node.name}", kind), scope=Scope.BLOCK)
            self.masks[node.name] = None
        elif isinstance(node.layer, _Part):
            self.values[node.name] = self.further[node.inputs[0]][node.layer.number - 1]
            self.masks[node.name] = None
        elif isinstance(node.layer, PSEUDO):  # where a nested model begins or ends
            self.values[node.name] = self.values[node.inputs[0]]
            self.masks[node.name] = self.masks[node.inputs[0]]
        else:
            self._call(node)

    def _call(self, node: Node) -> None:
        owner, weights = node.shared or node.name, self._weights(node)
        xs = [self.values[name] for name in node.inputs]
        if not node.layer.takes_integers:
            xs = [x if x.dtype == "float" else cast(x, "float") for x in xs]
        written = tuple(self.written.get(name, self.masks[name]) for name in node.inputs)
        masks = tuple(self.masks[name] for name in node.inputs)
        masks = written if type(node.layer).__name__ in MASKED else masks
        context = Context(self.trace, self.training, masks, owner, {}, self.penalties)
        values, named = node.layer.arguments(xs)
        for key, shape in node.layer.carry(*(x.shape for x in values)).items():
            path = f"{owner}/{key}"
            left = self.updates.get(path) or self.trace.add(Carried(path, Type(shape)), scope=Scope.BLOCK)
            context.carried[key] = left
        try:
            self.values[node.name] = node.layer.call(context, weights, *values, **named)
            self.masks[node.name] = node.layer.mask(context, *xs)
        except ShapeError as error:  # shapes fit, or the graph would have told: it is a mask that does not
            message = f"{node.title} does not fit the masks of its input: {error}"
            raise SpecFailure(Problem("E301", message, node.where, help=error.help)) from error
        if masks != written:
            self.written[node.name] = node.layer.mask(replace(context, masks=written), *xs)
        for name in node.layer.arguments(node.inputs)[0] if node.layer.ends_masks else ():
            self.written.setdefault(name, self.masks[name])
            self.masks[name] = None
        self.further[node.name] = context.further
        self.updates.update({f"{owner}/{name}": value for name, value in context.updates.items()})

    def _weights(self, node: Node) -> dict[str, Value]:
        """The layer's weights by name, and in training their penalties."""
        found = {}
        for spec in node.weights:
            path, trained = f"{node.shared or node.name}/{spec.name}", spec.trainable and node.trainable
            # A further call goes on from the averages that the call before it has moved.
            moved = self.updates.get(path)
            value = moved or self.trace.add(Weight(path, spec.shape, trained, spec.dtype), scope=Scope.WEIGHT)
            if node.shared is None and spec.regularizer is not None and self.training and trained:
                self.penalties.append(spec.regularizer.penalty(value))
            self.weights.setdefault(path, value)
            found[spec.name] = value
        return found


def trace_forward(graph: Graph, training: bool) -> _Forward:
    """Call every layer of the graph in order."""
    graph = graph.computed
    forward = _Forward(training)
    for node in graph.nodes:
        forward.add(node, node.name in graph.inputs)
    for found in (forward.values, forward.masks):  # whole batches are put together from blocks along the first axis
        for name in graph.outputs:
            if (value := found[name]) is not None:
                found[name] = batch_major(value)
    return forward


def prediction_program(graph: Graph, exact: bool = False) -> Program:
    """The forward pass alone, as in inference."""
    forward = trace_forward(graph, training=False)
    outputs = [forward.values[name] for name in graph.outputs]
    masks = {name: m for name in graph.outputs if (m := forward.masks[name]) is not None}
    done = simplify([*outputs, *masks.values(), *forward.updates.values()], exact)
    return Program(
        next(iter(done.values())).trace,
        {name: done[forward.values[name]] for name in graph.outputs},
        {name: done[m] for name, m in masks.items()},
        updates={path: done[v] for path, v in forward.updates.items()},
    )


def evaluation_program(graph: Graph, targets: Mapping[str, Target], weighted: bool, exact: bool = False) -> Program:
    """The forward pass as in inference, and the losses."""
    return _with_losses(graph, targets, weighted, training=False, exact=exact)


def training_program(graph: Graph, targets: Mapping[str, Target], weighted: bool, exact: bool = False) -> Program:
    """One step of training: forward, loss, gradients of every trained weight, and state updates."""
    program = _with_losses(graph, targets, weighted, training=True, exact=exact)
    assert program.loss is not None
    trained = [v for v in program.trace.values if isinstance(v.op, Weight) and v.op.trainable]
    found = gradients(program.loss, trained)
    program.gradients = {v.op.path: g for v, g in found.items() if isinstance(v.op, Weight)}
    return program


def _with_losses(graph: Graph, targets: Mapping[str, Target], weighted: bool, training: bool, exact: bool) -> Program:
    forward = trace_forward(graph, training)
    names = list(graph.outputs)
    masks = {name: m for name in names if (m := forward.masks[name]) is not None}
    if not training:  # Keras adds the regularizers' penalties to the evaluated loss too
        forward.penalties += [
            spec.regularizer.penalty(forward.weights[f"{node.name}/{spec.name}"])
            for node in graph.nodes
            if node.shared is None and node.name not in graph.inputs
            for spec in node.weights
            if spec.regularizer is not None and spec.trainable and node.trainable
        ]
    wanted = [forward.values[n] for n in names] + list(masks.values())
    wanted += [*forward.updates.values(), *forward.penalties]
    done = simplify(wanted, exact)
    trace = done[wanted[0]].trace
    program = Program(
        trace,
        {name: done[forward.values[name]] for name in names},
        {name: done[m] for name, m in masks.items()},
        updates={path: done[v] for path, v in forward.updates.items()},
    )
    penalties = [done[p] for p in forward.penalties]
    program.losses, program.loss = total_loss(program.outputs, program.masks, penalties, targets, weighted)
    return program


def total_loss(
    outputs: Mapping[str, Value],
    masks: Mapping[str, Value | None],
    penalties: Sequence[Value],
    targets: Mapping[str, Target],
    weighted: bool,
) -> tuple[dict[str, Value], Value]:
    """The data loss of each output, and the number that is minimised."""
    losses = {name: data_loss(name, t, outputs[name], masks.get(name), weighted) for name, t in targets.items()}
    pairs = zip(targets.values(), losses.values(), strict=True)
    scaled = [loss if target.weight == 1 else multiply(loss, target.weight) for target, loss in pairs]
    *parts, last = *penalties, *scaled
    return losses, reduce(add, parts, last)


def data_loss(name: str, target: Target, y_pred: Value, mask: Value | None, weighted: bool) -> Value:
    """Σ w·l over the batch, where l are the loss's values and w what its reduction makes of weights and masks.

    `sum_over_batch_size` divides by the number of values, or by how many the mask leaves (Keras's `apply_mask`).
    """
    trace = y_pred.trace
    y_true = trace.add(Input(f"y:{name}", Type(target.shape, target.dtype)), scope=Scope.BLOCK)
    values = target.loss.values(y_true, cast(y_pred, "float"))  # an output may be whole numbers, as an input is
    if values.scope != Scope.BLOCK:
        return _whole_loss(name, target, values, mask, weighted)
    if (counted := target.loss.counted(y_true, values)) is not None:
        mask = logical_and(mask, counted) if mask is not None and mask.shape == values.shape else counted
    inverse_batch = trace.add(Variable("inverse_batch"), scope=Scope.WEIGHT)
    given: Value | None = None
    if weighted:
        sample = trace.add(Input(f"w:{name}", Type(())), scope=Scope.BLOCK)
        given = reshape(sample, (1,) * len(values.shape)) if values.shape else sample
    if mask is not None and mask.shape == values.shape:
        kept = cast(mask, "float")
        given = kept if given is None else multiply(given, kept)
    reduction = target.loss.reduction
    scale: Value | float = 1.0
    if reduction == "mean_with_sample_weight" and given is not None:
        weight_sum = batch_sum(_summed(_spread(given, values)))
        scale = divide(constant(trace, 1.0), maximum(weight_sum, 1e-30))
    elif reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        if mask is not None and mask.shape == values.shape:
            valid = batch_sum(_summed(cast(mask, "float")))
            scale = divide(constant(trace, 1.0), maximum(valid, 1e-30))
        else:
            scale = inverse_batch if not values.shape else multiply(inverse_batch, 1 / prod(values.shape))
    if given is not None:
        weights = _spread(multiply(given, scale), values)
    else:
        factor = scale if isinstance(scale, Value) else constant(trace, scale)
        flat = trace.add(SpreadOverBatch(0), factor, y_true)
        weights = _spread(reshape(flat, (1,) * len(values.shape)) if values.shape else flat, values)
    return weighted_sum(values, weights)


def _whole_loss(name: str, target: Target, values: Value, mask: Value | None, weighted: bool) -> Value:
    """A loss that has no values of samples, times what the reduction makes of weights and masks: Keras multiplies."""
    trace, reduction = values.trace, target.loss.reduction
    value = (total if reduction == "sum" else mean)(values) if values.shape else values
    given = trace.add(Input(f"w:{name}", Type(())), scope=Scope.BLOCK) if weighted else None
    if mask is not None:
        kept = cast(mask, "float")
        given = kept if given is None else multiply(reshape(given, (1,) * len(mask.shape)), kept)
    if given is None or reduction == "mean_with_sample_weight":
        return value
    weight = batch_sum(_summed(given))
    if reduction == "sum":
        return multiply(value, weight)
    if mask is not None:
        return multiply(value, divide(weight, maximum(batch_sum(_summed(cast(mask, "float"))), 1e-30)))
    return multiply(value, multiply(weight, trace.add(Variable("inverse_batch"), scope=Scope.WEIGHT)))


def _summed(x: Value) -> Value:
    return total(x, tuple(range(len(x.shape)))) if x.shape else x


def _spread(weights: Value, values: Value) -> Value:
    """`weights` repeated to the shape of `values`."""
    from kerascli.ops.broadcast import broadcast_to

    return weights if weights.shape == values.shape else broadcast_to(weights, values.shape)
