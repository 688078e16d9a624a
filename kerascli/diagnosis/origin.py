"""Where NaN or infinity began: the step is done again from weights that were kept, then a layer at a time.

While all is well this costs a copy of the weights now and then. Batches are the same again whenever they are asked for,
and so is every number of a step, so the step that went wrong goes wrong once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kerascli.errors import Problem
from kerascli.graph import Node
from kerascli.layers.structure import PSEUDO
from kerascli.model import Model
from kerascli.ops.ir import Array, Value, Weight
from kerascli.outline import span_of
from kerascli.program.build import total_loss, trace_forward
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import walk
from kerascli.trainer import Trainer

EVERY = 256
"""Steps after which a copy is taken within an epoch, so that no more have to be done again."""
MOST = 1 << 28
"""Bytes of a copy, at most; nets beyond that are told without the layer."""
HUGE = 1e4
"""A weight, or what a layer reads, that no net needs."""


@dataclass(frozen=True)
class Kept:
    """A training as it stood before a step."""

    iteration: int
    arrays: tuple[Array, ...]


class Origin:
    """Keeps what is needed to find where a training went wrong."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.kept: Kept | None = None
        self._small = sum(array.nbytes for array in self._arrays()) <= MOST

    def keep(self) -> None:
        """Take a copy, before a step."""
        if not self._small:
            return
        self.trainer.settle()
        if self.kept is None:
            self.kept = Kept(self.trainer.iteration, self._copies())
        elif self.kept.iteration != self.trainer.iteration:
            for copy, array in zip(self.kept.arrays, self._arrays(), strict=True):
                np.copyto(copy, array)
            self.kept = replace(self.kept, iteration=self.trainer.iteration)

    def after_step(self) -> None:
        """Take a copy now and then."""
        if self.kept is not None and self.trainer.iteration - self.kept.iteration >= EVERY:
            self.keep()

    def is_lost(self) -> bool:
        """Whether a weight is no finite number any more."""
        parameters = self.trainer.runner.parameters
        with np.errstate(over="ignore"):
            fine = math.isfinite(float(np.dot(parameters.flat, parameters.flat))) or _all_finite([parameters.flat])
        still = (array for path, array in parameters.weights.items() if path not in parameters.spans)
        return not (fine and _all_finite(still))

    def find(self, iteration: int) -> Problem:
        """What to say of a training that broke at a step, or at one before it since the copy."""
        trainer = self.trainer
        now = self._copies()
        try:
            step, before = self._again(iteration)
            self._put(before)
            place = f"step {step + 1} (batch {step % trainer.steps + 1} of epoch {step // trainer.steps + 1})"
            return self._named(step, place)
        finally:
            self._put(now)

    def _again(self, last: int) -> tuple[int, tuple[Array, ...]]:
        """Do the steps since the copy once more: the first that goes wrong, and how training stood before it."""
        trainer, session = self.trainer, self.trainer.runner.session
        if self.kept is None:
            return last, self._copies()
        self._put(self.kept.arrays)
        before = self.kept.arrays
        for step in range(self.kept.iteration, last + 1):
            before = self._copies()
            batch = trainer.feed.batch(step)
            job = session.run(
                trainer.job,
                trainer.feed.number,
                batch.index,
                step,
                trainer.spec.optimizer.rate(step, trainer.learning_rate),
            )
            if not math.isfinite(session.loss(job)) or self.is_lost():
                return step, before
        return last, before

    def _named(self, step: int, place: str) -> Problem:
        """The Problem, with the layer where one can be named."""
        trainer, model = self.trainer, self.trainer.runner.model
        where, help = model.loaded.document.key_span(("loss",)), "try a lower learning rate, or `clipnorm: 1`"
        feeds = self._feeds(step)
        broken = first_broken(model, feeds, len(trainer.rows(step)), step)
        if broken is None:
            return Problem("E511", f"the loss or a weight became NaN or infinite in {place}", where, help=help)
        numbers = f"{broken.kinds} in {broken.count:,} of {broken.size:,} numbers"
        message, node = f"NaN or infinity began in {place}: {broken.what}", broken.node
        if node is None:
            return Problem("E511", message, where, numbers, help)
        own = [np.abs(a).max() for path, a in feeds.items() if path.startswith(f"{node.name}/") and np.size(a)]
        if node.name in model.graph.computed.inputs:
            help = "mend the data: `kerascli data` looks through them"
        elif (largest := max(map(float, own), default=0.0)) > HUGE:
            help = f"its weights have grown to {largest:.3g}: {help}"
        elif broken.largest > HUGE:
            help = f"what it reads has grown to {broken.largest:.3g}: scale the inputs, or {help}"
        return Problem("E511", message, span_of(model.loaded, node.path), numbers, help)

    def _feeds(self, step: int) -> dict[str, Array | float]:
        """All that the step reads, by the names that the program has for it."""
        trainer, runner = self.trainer, self.trainer.runner
        batch = trainer.feed.batch(step)
        found: dict[str, Array | float] = dict(runner.parameters.weights)
        found |= {name: array[batch.index] for name, array in runner.session.fed(trainer.feed.number).items()}
        found |= {path: array[: len(batch.index)] for path, array in runner.session.carried.items()}
        found["inverse_batch"] = 1 / len(batch.index)
        return found

    # ---- copies

    def _arrays(self) -> Sequence[Array]:
        runner = self.trainer.runner
        parameters = runner.parameters
        still = [array for path, array in parameters.weights.items() if path not in parameters.spans]
        return [parameters.flat, *still, *parameters.slots.values(), *runner.session.carried.values()]

    def _copies(self) -> tuple[Array, ...]:
        return tuple(array.copy() for array in self._arrays())

    def _put(self, copies: Sequence[Array]) -> None:
        for array, copy in zip(self._arrays(), copies, strict=True):
            np.copyto(array, copy)


@dataclass(frozen=True)
class Broken:
    """What is the first not to be finite."""

    node: Node | None
    """The layer; None for the loss."""
    what: str
    """Such as `the output of Dense scores`."""
    count: int
    """Of its numbers that are NaN or infinite."""
    size: int
    kinds: str
    largest: float
    """Of what the layer reads, in magnitude."""


def first_broken(model: Model, feeds: Mapping[str, Array | float], rows: int, step: int) -> Broken | None:
    """The first output of a layer that is not finite, forward; then the first gradient, backward."""
    net = _Net(model, any(name.startswith("w:") for name in feeds))
    found: dict[Value, Broken] = {}
    largest: dict[str, float] = {}
    for value, array in walk(net.wanted, feeds, rows, np.float32, model.spec.seed, step):
        if value not in net.told or array.dtype.kind != "f":
            continue
        node, what = net.told[value]
        finite = np.isfinite(array)
        if finite.all():
            if node and value in net.forward:
                largest[node.name] = float(np.abs(array).max(initial=0))
        else:
            count = int(np.count_nonzero(~finite))
            read = [largest.get(name, 0.0) for name in node.inputs] if node else []
            found[value] = Broken(node, what, count, array.size, _kinds(array), max(read, default=0.0))
            if value in net.forward:
                return found[value]
    return next((found[value] for value in net.backward if value in found), None)


class _Net:
    """The training step without anything that makes it fast: the values of each layer are there."""

    def __init__(self, model: Model, weighted: bool) -> None:
        graph = model.graph.computed
        made = trace_forward(model.graph, training=True)
        self.told: dict[Value, tuple[Node | None, str]] = {}
        for node in graph.nodes:
            self.told.setdefault(
                made.values[node.name],
                (node, f"the {'values' if node.name in graph.inputs else 'output'} of {node.title}"),
            )
        losses, loss = total_loss(made.values, made.masks, made.penalties, model.targets, weighted)
        self.told |= {value: (None, f"the loss of `{name}`") for name, value in losses.items()}
        self.told.setdefault(loss, (None, "the penalties of regularizers"))
        self.forward = set(self.told)
        trained = {path: v for path, v in made.weights.items() if isinstance(v.op, Weight) and v.op.trainable}
        outputs = {n.name: v for n in graph.nodes if (v := made.values[n.name]).dtype == "float"}
        back = gradients(loss, [*outputs.values(), *trained.values()])
        self.backward: list[Value] = []
        """Gradients, those of the last layer first."""
        for node in reversed(graph.nodes):
            readers = [n for n in graph.nodes if node.name in n.inputs and not isinstance(n.layer, PSEUDO)]
            if node.name in outputs and (arrived := back.get(outputs[node.name])) is not None:
                through = f"{readers[0].title}" if readers else "the loss"
                self._tell(
                    arrived, (readers[0] if readers else None, f"the gradient that comes back through {through}")
                )
            for path, value in trained.items():
                if path.startswith(f"{node.name}/") and (own := back.get(value)) is not None:
                    self._tell(own, (node, f"the gradient of `{path}`, a weight of {node.title}"))
        self.wanted = [*losses.values(), loss, *back.values()]

    def _tell(self, value: Value, what: tuple[Node | None, str]) -> None:
        if value not in self.told:
            self.told[value] = what
            self.backward.append(value)


def _kinds(array: Array) -> str:
    kinds = {"NaN": np.isnan(array).any(), "infinity": np.isinf(array).any()}
    return " and ".join(kind for kind, there in kinds.items() if there)


def _all_finite(arrays: Iterable[Array]) -> bool:
    return all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")
