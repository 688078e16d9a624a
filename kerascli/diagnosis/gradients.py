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
    """The trained matrices of a layer."""

    node: Node
    paths: tuple[str, ...]
    size: float
    """Root mean square of their gradients; the largest counts, for some may have no gradient by nature."""


def is_due(epoch: int) -> bool:
    """Looked at after the epochs 1, 4, 16, 64 and so on: `epoch` counts from 0."""
    return epoch & (epoch + 1) == 0 and epoch.bit_length() % 2 == 0


def examine(runner: Runner, train: Split, rate: float) -> Iterator[Finding]:
    """All findings of the last step."""
    parameters, model = runner.parameters, runner.model
    gradients = parameters.views(parameters.gradient)
    if not any(gradient.any() for gradient in sorted(gradients.values(), key=np.size)):
        return
    kernels = list(_kernels(model, gradients))
    dead = list(_dead(runner, train)) if any(_lacking(kernel.node, gradients) >= DEAD for kernel in kernels) else []
    yield from dead
    if not dead:
        yield from _vanished(model, kernels)
    yield from _wild(runner, kernels, rate)


def _kernels(model: Model, gradients: Mapping[str, Array]) -> Iterator[_Kernels]:
    for node in model.graph.nodes:
        paths = [f"{node.name}/{spec.name}" for spec in (() if node.shared else node.weights)]
        found = {path: gradients[path] for path in paths if path in gradients and gradients[path].ndim > 1}
        if found:
            size = max(_norm(gradient) / math.sqrt(gradient.size) for gradient in found.values())
            yield _Kernels(node, tuple(found), size)


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.reshape(-1)))


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


def _wild(runner: Runner, kernels: list[_Kernels], rate: float) -> Iterator[Finding]:
    """A step of plain gradient descent is larger than the weights that it changes."""
    model, parameters = runner.model, runner.parameters
    if not isinstance(model.spec.optimizer, SGD):
        return
    gradients, weights = parameters.views(parameters.gradient), parameters.weights
    sizes = {
        kernel.node.title: max(_norm(gradients[path]) / max(_norm(weights[path]), 1e-30) for path in kernel.paths)
        for kernel in kernels
    }
    title = max(sizes, key=lambda title: sizes[title], default="")
    if title and math.isfinite(sizes[title]) and sizes[title] * rate > 1:
        times = f"{sizes[title] * rate:.3g} times"
        message = f"exploding gradients: one step changes {title} by {times} its own size"
        help = "lower the learning rate, scale inputs and targets, or limit gradients: `clipnorm: 1`"
        where = place(model.loaded, ("optimizer", "learning_rate"), ("optimizer",), ("loss",))
        yield Finding("exploding_gradients", message, help, where)


def _lacking(node: Node, gradients: Mapping[str, Array]) -> float:
    """The share of a layer's units that nothing came back to, as its smallest trained array shows: the bias, if any."""
    own = [gradients[path] for spec in node.weights if (path := f"{node.name}/{spec.name}") in gradients]
    least = min((g for g in own if g.ndim), key=lambda g: g.size)
    columns = least if least.ndim == 1 else least.reshape(-1, least.shape[-1]).any(axis=0)
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
