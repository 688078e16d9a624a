"""What the gradients of an epoch's last step show: layers that learn nothing, units that are always zero, wild steps.

They are there anyway, so looking costs one pass over them. Only where whole columns of a gradient are zero, a few
samples are run through the net, to see which ReLUs are dead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerascli.diagnosis.finding import Finding, place
from kerascli.graph import Node
from kerascli.model import Model
from kerascli.objective import activation
from kerascli.ops.ir import Array, Value
from kerascli.optimizers.sgd import SGD
from kerascli.outline import span_of
from kerascli.program.build import trace_forward
from kerascli.program.interpret import evaluate
from kerascli.runner import Runner
from kerascli.sources.base import Split

VANISHED = 1e-6
"""Size of a layer's gradient against the largest, below which it does not learn."""
DEAD = 0.8
"""Share of a layer's units that are always zero, from which it is told."""
PROBED = 128
"""Samples that dead units are looked for with."""
SATURATING = ("sigmoid", "tanh", "hard_sigmoid", "softsign", "hard_tanh")


@dataclass(frozen=True)
class _Kernels:
    """The trained matrices of a layer. Of each figure the largest counts: some may have no gradient by nature."""

    node: Node
    size: float
    """Root mean square of their gradients."""
    ratio: float
    """Norm of their gradients against their own."""


def is_due(epoch: int) -> bool:
    """Looked at after the epochs 1, 2, 4, 8 and so on: `epoch` counts from 0."""
    return (epoch + 1) & epoch == 0


def examine(runner: Runner, train: Split, rate: float) -> Iterator[Finding]:
    """All findings of the last step."""
    parameters, model = runner.parameters, runner.model
    gradients = parameters.views(parameters.gradient)
    if not parameters.gradient.any():
        return
    dead = list(_dead(runner, train)) if any(_zero_columns(g) >= DEAD for g in gradients.values()) else []
    yield from dead
    kernels = list(_kernels(model, gradients, parameters.weights))
    if not dead:
        yield from _vanished(model, kernels)
    yield from _wild(model, kernels, rate)


def _kernels(model: Model, gradients: Mapping[str, Array], weights: Mapping[str, Array]) -> Iterator[_Kernels]:
    for node in model.graph.nodes:
        sizes, ratios = [], []
        for spec in () if node.shared else node.weights:
            path = f"{node.name}/{spec.name}"
            if path in gradients and gradients[path].ndim > 1:
                norm, own = (float(np.linalg.norm(a[path].reshape(-1))) for a in (gradients, weights))
                sizes.append(norm / math.sqrt(gradients[path].size))
                ratios.append(norm / max(own, 1e-30))
        if sizes:
            yield _Kernels(node, max(sizes), max(ratios))


def _vanished(model: Model, kernels: list[_Kernels]) -> Iterator[Finding]:
    """The gradients fade on their way back: those of a layer are a millionth of those of a later one."""
    for index, kernel in enumerate(kernels):
        largest = max((later.size for later in kernels[index + 1 :]), default=0.0)
        if 0 < kernel.size < VANISHED * largest:
            message = (
                f"vanishing gradients: those of {kernel.node.title} are {kernel.size / largest:.1g} of a later layer's"
            )
            squeezed = next((n for n in model.graph.nodes if activation(model.graph, n) in SATURATING), None)
            where = squeezed or kernel.node
            help = "use `relu`, BatchNormalization, Residual or fewer layers"
            yield Finding("vanishing_gradients", message, help, span_of(model.loaded, where.path))
            return


def _wild(model: Model, kernels: list[_Kernels], rate: float) -> Iterator[Finding]:
    """A step of plain gradient descent is larger than the weights that it changes."""
    if not isinstance(model.spec.optimizer, SGD):
        return
    wildest = max(kernels, key=lambda kernel: kernel.ratio, default=None)
    if wildest and math.isfinite(wildest.ratio) and wildest.ratio * rate > 1:
        times = f"{wildest.ratio * rate:.3g} times"
        message = f"exploding gradients: one step changes {wildest.node.title} by {times} its own size"
        help = "lower the learning rate, scale inputs and targets, or limit gradients: `clipnorm: 1`"
        where = place(model.loaded, ("optimizer", "learning_rate"), ("optimizer",), ("loss",))
        yield Finding("exploding_gradients", message, help, where)


def _zero_columns(gradient: Array) -> float:
    """The share of zeros in a vector, or of columns of nothing else in a matrix: units that nothing came back to."""
    if gradient.ndim == 0:
        return 0.0
    columns = gradient.reshape(-1, gradient.shape[-1]).any(axis=0)
    return 1 - float(np.count_nonzero(columns)) / max(columns.size, 1)


def _dead(runner: Runner, train: Split) -> Iterator[Finding]:
    """Layers whose ReLU gives nothing but zeros in nearly all of its units, on samples from all over the split."""
    model = runner.model
    found = [node for node in model.graph.computed.nodes if _is_relu(node)]
    forward = trace_forward(model.graph, training=False)
    values = [forward.values[node.name] for node in found]
    rows = np.unique(np.linspace(0, len(train) - 1, PROBED).astype(np.int64))
    if model.graph.batch:
        rows = rows[: model.graph.batch]
    for node, array in zip(found, _outputs(runner, train, rows, values), strict=True):
        if array.ndim < 2:
            continue
        units = (
            (np.moveaxis(array, values[found.index(node)].batch_axis, 0) != 0).reshape(-1, array.shape[-1]).any(axis=0)
        )
        dead = int(np.count_nonzero(~units))
        if dead >= DEAD * len(units):
            message = (
                f"dead ReLUs: {dead:,} of {len(units):,} units of {node.title} are 0 for all of {len(rows)} samples"
            )
            help = "lower the learning rate, scale the inputs, or use `leaky_relu`"
            yield Finding("dead_relu", message, help, span_of(model.loaded, node.path))
            return


def _is_relu(node: Node) -> bool:
    own = getattr(node.layer, "activation", None)
    return type(node.layer).__name__ == "ReLU" or type(own).__name__ in ("Relu", "Relu6")


def _outputs(runner: Runner, train: Split, rows: Array, values: list[Value]) -> list[Array]:
    """Values of the net in inference, for some samples."""
    inputs = runner.model.graph.served({name: x[rows] for name, x in train.inputs.items()})
    feeds: dict[str, Any] = {**runner.parameters.weights}
    feeds |= {f"x:{name}": array for name, array in inputs.items()}
    feeds |= {name: array[: len(rows)] for name, array in runner.session.carried.items()}
    return evaluate(values, feeds, len(rows), np.float32, runner.spec.seed)
