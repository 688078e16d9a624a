"""Sums and products that are part of one operator with what stands before them: means and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_elementwise import combined
from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_shapes import reduced, summed_axes
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.exporters.onnx_windows import averaged, pooled
from kerascli.ops import broadcast, elementwise, layer_norm, pooling, shape
from kerascli.ops.ir import Array, Constant, Scope, Value


# ---------------------------------------------------------------- means
@reads(elementwise.Multiply)
def _multiply_reads(v: Value) -> Sequence[Value]:
    if (summed := _mean(v)) is not None:
        return summed.inputs
    if (pool := _average(v)) is not None:
        return (pooled(pool).source,)
    if (rows := _standardised(v)) is not None:
        return rows.inputs[0], v.inputs[1]
    return v.inputs


@becomes(elementwise.Multiply)
def _multiply(g: Sheet, v: Value, x: str, *others: str) -> str:
    if (summed := _mean(v)) is not None:
        y = reduced(g, "ReduceMean", x, summed_axes(summed))
        wide = summed.rank == summed.inputs[0].rank and summed.shape == v.shape
        return y if wide else g.reshape(y, v.whole(-1))
    if (pool := _average(v)) is not None:
        return averaged(g, pooled(pool), x, margins=False)
    if (rows := _standardised(v)) is not None:
        return normalised(g, rows, x, *others)
    return combined(g, v, x, *others)


def _mean(v: Value) -> Value | None:
    """The sum over axes that is divided by how many numbers it is of."""
    x, share = v.inputs
    summed = x.inputs[0] if isinstance(x.op, shape.Reshape) else x
    if not isinstance(summed.op, broadcast.SumTo) or not isinstance(share.op, Constant) or share.shape:
        return None
    return summed if np.isclose(_numbers(share), summed.size / summed.inputs[0].size, rtol=1e-6) else None


def _average(v: Value) -> Value | None:
    """The sums of windows that are divided by how many places each has within the input."""
    x, shares = v.inputs
    if not isinstance(x.op, pooling.SumWindows) or not isinstance(shares.op, Constant):
        return None
    found = pooled(x)
    size = len(found.kernel)
    there = np.pad(np.ones(found.source.shape[:size]), tuple(zip(found.pads[:size], found.pads[size:], strict=True)))
    counts = np.sum(x.op.windows.views(there[None, ..., None], (1, *x.shape[:size], 1)), axis=0)[0]
    return x if np.allclose(_numbers(shares) * counts, 1, rtol=1e-6) else None


def _numbers(v: Value) -> Array:
    assert isinstance(v.op, Constant)
    return v.op.array(np.dtype(np.float64))


# ---------------------------------------------------------------- normalisation
def _standardised(v: Value) -> Value | None:
    """The rows of mean 0 and variance 1 that are multiplied by one number for each place in a row."""
    x, gamma = v.inputs
    if not isinstance(x.op, layer_norm.Standardise) or gamma.scope == Scope.BLOCK:
        return None
    return x if gamma.shape == x.shape[-x.op.axes :] else None


@becomes(layer_norm.Standardise)
def _standardise(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, layer_norm.Standardise)
    return normalised(g, v, x, g.constant(np.ones(v.shape[-v.op.axes :], np.float32)))


def normalised(g: Sheet, rows: Value, x: str, *factors: str) -> str:
    """Rows of mean 0 and variance 1, times γ, plus β."""
    assert isinstance(rows.op, layer_norm.Standardise)
    return g.node("LayerNormalization", x, *factors, axis=-rows.op.axes, epsilon=rows.op.epsilon)


@reads(elementwise.Add)
def _add_reads(v: Value) -> Sequence[Value]:
    scaled = _scaled(v)
    return v.inputs if scaled is None else (scaled.inputs[0].inputs[0], scaled.inputs[1], v.inputs[1])


@becomes(elementwise.Add)
def _add(g: Sheet, v: Value, x: str, *others: str) -> str:
    scaled = _scaled(v)
    return combined(g, v, x, *others) if scaled is None else normalised(g, scaled.inputs[0], x, *others)


def _scaled(v: Value) -> Value | None:
    """The standardised rows times γ that β is added to."""
    x, beta = v.inputs
    rows = _standardised(x) if isinstance(x.op, elementwise.Multiply) else None
    return x if rows is not None and beta.scope != Scope.BLOCK and beta.shape == x.inputs[1].shape else None
