"""Every layer with every example, as test cases, and the little that is needed to run one alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.layer import Context, Layer
from kerascli.layers.host import _Host
from kerascli.layers.rnn_cells import StackedRNNCells
from kerascli.layers.rnn_gru import GRUCell
from kerascli.layers.rnn_lstm import LSTMCell
from kerascli.layers.rnn_simple import SimpleRNNCell
from kerascli.layers.structure import Input as InputLayer
from kerascli.layers.structure import Model, Repeat, Residual, Reuse
from kerascli.ops.ir import Array, Scope, Trace, Value, Weight
from kerascli.program.interpret import evaluate
from tests.traces import fed

CELLS = (SimpleRNNCell, LSTMCell, GRUCell, StackedRNNCells)
"""Parts of RNN."""
STRUCTURE = (InputLayer, Model, Repeat, Residual, Reuse, *CELLS)
"""The graph stage replaces these by what they stand for."""
ROWS = 4


def layers() -> list[type[Layer]]:
    members = {id(member): member for member in Layer.names().values()}.values()
    return [m for m in members if issubclass(m, Layer) and m not in STRUCTURE and not before_the_net(m)]


def before_the_net(member: type[Layer]) -> bool:
    """Whether NumPy computes it where samples are fed: tests/contract/test_host_layers.py is about these."""
    return issubclass(member, _Host) and not member.in_engine


def cases() -> list[Any]:
    """(layer class, example) with readable ids: Conv2D-1."""
    return [
        pytest.param(member, example, id=f"{member.__name__}-{k}")
        for member in layers()
        for k, example in enumerate(member.examples)
    ]


def samples(example: Example, rows: int = ROWS, dtype: Any = np.float64) -> list[Array]:
    """Inputs whose numbers are all different and none near zero, so that no kink is near; or integers."""
    rng = np.random.default_rng(7)
    found: list[Array] = []
    for shape in example.inputs:
        whole = (rows, *shape)
        size = int(np.prod(whole))
        if example.dtype.startswith("float"):
            numbers = (rng.permutation(size) - size / 2 + 0.5) / max(size, 16) * 5
            found.append(numbers.reshape(whole).astype(dtype))
        else:
            found.append(rng.integers(0, example.high, whole).astype(example.dtype))
    return found


def weights(layer: Layer, shapes: tuple[tuple[int, ...], ...]) -> dict[str, Array]:
    """Values for the weights: no initial value that hides a mistake, such as zeros; variances are positive."""
    rng = np.random.default_rng(5)
    drawn: dict[str, Array] = {}
    for spec in layer.declare(*shapes):
        if spec.dtype != "float":
            drawn[spec.name] = np.zeros(spec.shape, spec.dtype)
        elif "variance" in spec.name or "stddev" in spec.name:
            drawn[spec.name] = rng.uniform(0.5, 1.5, spec.shape).astype(np.float32)
        else:
            drawn[spec.name] = (0.6 * rng.standard_normal(spec.shape)).astype(np.float32)
    return drawn


@dataclass
class Result:
    """What one call of a layer gives."""

    y: Array
    mask: Array | None
    updates: dict[str, Array] = field(default_factory=dict)
    penalty: float = 0.0


def run(
    layer: Layer,
    xs: list[Array],
    w: Mapping[str, Array],
    training: bool = False,
    dtype: Any = np.float32,
    masks: tuple[Array | None, ...] | None = None,
) -> Result:
    """Call a layer on whole batches with the plain interpreter."""
    trace = Trace()
    shapes = tuple(x.shape[1:] for x in xs)
    values: list[Value] = []
    given: list[Value | None] = []
    feeds: dict[str, Array] = {"inverse_batch": np.array(1 / len(xs[0]))}
    for k, x in enumerate(xs):
        values.append(fed(trace, f"x{k}", x))
        feeds[f"x{k}"] = x
        mask = masks[k] if masks else None
        given.append(None if mask is None else fed(trace, f"m{k}", mask))
        if mask is not None:
            feeds[f"m{k}"] = mask
    specs = layer.declare(*shapes)
    own = {s.name: trace.add(Weight(s.name, s.shape, s.trainable, s.dtype), scope=Scope.WEIGHT) for s in specs}
    context = Context(trace, training, tuple(given), "layer", {}, [])
    y = layer.call(context, own, *prepared(layer, values))
    after = layer.mask(context, *values)
    wanted = [y, *context.updates.values(), *context.penalties, *([after] if after is not None else [])]
    found = iter(evaluate(wanted, {**feeds, **w}, len(xs[0]), dtype))
    output = next(found)
    updates = {name: next(found) for name in context.updates}
    penalty = sum(float(next(found)) for _ in context.penalties)
    return Result(output, next(found) if after is not None else None, updates, penalty)


def prepared(layer: Layer, xs: list[Value]) -> list[Value]:
    """As the program builder hands them over: floats, unless the layer takes integers."""
    from kerascli.ops.elementwise import cast

    return xs if layer.takes_integers else [cast(x, "float") for x in xs]
