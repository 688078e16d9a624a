"""The gradient check every op and layer goes through: one directional derivative in float64, two forward runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.ops.reduction import weighted_sum
from kerascli.program.differentiate import gradients
from kerascli.program.interpret import evaluate
from tests.traces import traced


def check(
    build: Callable[..., Value],
    blocks: Mapping[str, Array] = {},
    weights: Mapping[str, Array] = {},
    constants: Sequence[str] = (),
    tolerance: float = 1e-7,
    epsilon: float = 1e-6,
    seed: int = 0,
) -> None:
    """Compare the gradient of Σ r·y, for random r, with a central difference along a random direction.

    `build(**values)` gets one Value for each of `blocks` (arrays with the batch axis first) and `weights` (without),
    and returns a BLOCK or STEP value. Inputs of integer type and those in `constants` are not differentiated.
    """
    rng = np.random.default_rng(seed)
    trace, rows = Trace(), len(next(iter(blocks.values()))) if blocks else 1
    values = traced(trace, blocks, weights)
    y = build(**values)
    feeds: dict[str, Array] = {"inverse_batch": np.array(1 / rows), **blocks, **weights}
    feeds["r"] = rng.standard_normal(y.whole(rows))
    if y.scope == Scope.BLOCK:
        r = trace.add(Input("r", Type(y.shape, batch_axis=y.batch_axis)), scope=Scope.BLOCK)
        loss = weighted_sum(y, r)
    else:
        from kerascli.ops.elementwise import multiply
        from kerascli.ops.reduction import sum as total

        r = trace.add(Weight("r", y.shape), scope=Scope.WEIGHT)
        product = multiply(y, r)
        loss = total(product, tuple(range(len(y.shape)))) if y.shape else product
    wrt = [n for n, v in values.items() if v.dtype == "float" and n not in constants]
    found = gradients(loss, [values[n] for n in wrt])
    assert len(found) == len(wrt), f"no gradient for {set(wrt) - {n for n in wrt if values[n] in found}}"
    before = {n: a.copy() for n, a in feeds.items()}
    got = evaluate([found[values[n]] for n in wrt], feeds, rows, seed=seed)
    for name, array in feeds.items():
        assert np.array_equal(array, before[name]), f"{name} was changed by a kernel"
    direction = {n: rng.standard_normal(feeds[n].shape) for n in wrt}
    expected = 0.0
    for sign in (1, -1):
        moved = {**feeds, **{n: feeds[n] + sign * epsilon * direction[n] for n in wrt}}
        expected += sign * float(evaluate([loss], moved, rows, seed=seed)[0]) / (2 * epsilon)
    slope = sum(float((g * direction[n]).sum()) for n, g in zip(wrt, got, strict=True))
    scale = max(1.0, abs(expected), sum(float(np.abs(g * direction[n]).sum()) for n, g in zip(wrt, got, strict=True)))
    assert abs(slope - expected) <= tolerance * scale, f"derivative {slope}, differences give {expected}"
