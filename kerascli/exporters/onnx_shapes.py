"""Ops that move numbers, and those that bring axes together, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from kerascli.exporters.onnx_elementwise import widened
from kerascli.exporters.onnx_registry import becomes
from kerascli.exporters.onnx_sheet import Sheet, inverse
from kerascli.ops import (
    broadcast,
    fold,
    index,
    linear,
    recurrent,
    reduction,
    row_norm,
    shape,
    softmax,
    window,
)
from kerascli.ops.ir import Value

LAST = -(2**63)
"""A place before the first of an axis that is read backwards."""


@becomes(fold.Fold, fold.Unfold)
def reshaped(g: Sheet, v: Value, x: str) -> str:
    return reshape(g, x, v.inputs[0].whole(-1), v.whole(-1))


def reshape(g: Sheet, x: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """x in another shape; where nothing but an axis of one place comes or goes, axes that wait go on waiting."""
    if before == after:
        return x
    source, perm = g.moved(x) or (x, ())
    for k, size in enumerate(after):
        if perm and size == 1 and before == (*after[:k], *after[k + 1 :]):
            place = (*perm, len(perm))[k]
            wider = [axis + (axis >= place) for axis in perm]
            return g.transpose(g.node("Unsqueeze", source, g.whole_numbers([place])), (*wider[:k], place, *wider[k:]))
    for k, size in enumerate(before):
        if perm and size == 1 and after == (*before[:k], *before[k + 1 :]):
            rest = (axis - (axis > perm[k]) for axis in perm if axis != perm[k])
            return g.transpose(g.node("Squeeze", source, g.whole_numbers([perm[k]])), tuple(rest))
    return g.reshape(x, after)


@becomes(shape.Transpose)
def _transpose(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, shape.Transpose)
    return g.transpose(x, v.op.perm)


def joined(g: Sheet, v: Value, *parts: str) -> str:
    """Where the axes of all parts wait to be put in the same order, they go on waiting."""
    assert isinstance(v.op, shape.Concatenate)
    moved = [found for x in parts if (found := g.moved(x))]
    if len(moved) == len(parts) and len({perm for _, perm in moved}) == 1:
        perm = moved[0][1]
        return g.transpose(g.node("Concat", *(source for source, _ in moved), axis=perm[v.op.axis]), perm)
    return g.node("Concat", *parts, axis=v.op.axis)


def in_place(g: Sheet, v: Value, x: str) -> tuple[str, tuple[int, ...]]:
    """The tensor behind x before its axes are put in order, and that order: v, of as many axes, can wait for it too."""
    return g.moved(x) or (x, tuple(range(v.rank)))


@becomes(shape.Slice)
def _slice(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, shape.Slice)
    return g.slice(x, v.op.axis, v.op.start, v.op.stop, v.op.step)  # of a sequence, one for each of many steps


@becomes(recurrent.Reverse)
def _reverse(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, recurrent.Reverse)
    return g.slice(x, v.op.axis, -1, LAST, -1)


@becomes(window.Pad)
def _pad(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, window.Pad)
    widths = ((0, 0),) * (v.rank - len(v.op.widths)) + tuple(v.op.widths)
    source, perm = in_place(g, v, x)
    ends = [widths[axis][end] for end in (0, 1) for axis in inverse(perm)]
    return g.transpose(g.node("Pad", source, g.whole_numbers(ends), g.number(v.op.value, v.dtype)), perm)


@becomes(window.Crop)
def _crop(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, window.Crop)
    lead, sizes = v.rank - len(v.op.widths), v.inputs[0].whole(-1)
    cuts = [(lead + k, a, sizes[lead + k] - b) for k, (a, b) in enumerate(v.op.widths) if a or b]
    axes, starts, stops = zip(*cuts, strict=True)
    source, perm = in_place(g, v, x)
    places = [g.whole_numbers(numbers) for numbers in (starts, stops, [perm[axis] for axis in axes])]
    return g.transpose(g.node("Slice", source, *places), perm)


@becomes(broadcast.BroadcastTo)
def _broadcast_to(g: Sheet, v: Value, x: str) -> str:
    return g.node("Expand", x, g.whole_numbers(v.whole(1)))


@becomes(linear.SpreadOverBatch)
def _spread_over_batch(g: Sheet, v: Value, x: str, like: str) -> str:
    rows = g.size(like, v.inputs[1].batch_axis)
    return g.full(g.reshape(x, v.whole(1)), v.whole(1), rows, v.batch_axis)


# ---------------------------------------------------------------- along axes
def reduced(g: Sheet, kind: str, x: str, axes: tuple[int, ...]) -> str:
    """A reduction that keeps its axes with length 1, before axes that wait are put in order."""
    if found := g.moved(x):
        source, perm = found
        over = sorted(perm[axis] for axis in axes)
        return g.transpose(g.node(kind, source, g.whole_numbers(over), keepdims=1), perm)
    return g.node(kind, x, g.whole_numbers(axes), keepdims=1)


@becomes(broadcast.SumTo)
def _sum_to(g: Sheet, v: Value, x: str) -> str:
    y = reduced(g, "ReduceSum", x, summed_axes(v))
    return y if v.rank == v.inputs[0].rank else g.reshape(y, v.whole(-1))


def summed_axes(v: Value) -> tuple[int, ...]:
    """The axes of the array that a SumTo goes over."""
    source, target = v.inputs[0].whole(-1), v.whole(-1)
    wide = (1,) * (len(source) - len(target)) + target
    return tuple(k for k, (a, b) in enumerate(zip(source, wide, strict=True)) if a != b)


@becomes(reduction.Max, reduction.Min)
def _extreme(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, (reduction.Max, reduction.Min))
    kind = "ReduceMax" if isinstance(v.op, reduction.Max) else "ReduceMin"
    y = reduced(g, kind, widened(g, x, v.inputs[0]), v.op.axes)
    return y if v.dtype == "float" else g.cast(y, v.dtype)


@becomes(softmax.Softmax)
def _softmax(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, softmax.Softmax)
    return g.node("Softmax", x, axis=v.op.axis)


@becomes(softmax.LogSoftmax)
def _log_softmax(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, softmax.LogSoftmax)
    return g.node("LogSoftmax", x, axis=v.op.axis)


@becomes(softmax.Sparsemax)
def _sparsemax(g: Sheet, v: Value, x: str) -> str:
    """max(x - τ, 0) with Keras's τ: see ops/softmax.py."""
    assert isinstance(v.op, softmax.Sparsemax)
    axis = v.op.axis
    size = v.whole(-1)[axis]
    perm = (*(k for k in range(v.rank) if k != axis), axis)
    rows = g.transpose(x, perm)
    down, _ = g.several("TopK", 2, rows, g.whole_numbers([size]), axis=-1)
    less = g.elementwise("Sub", g.node("CumSum", down, g.number(-1, "int64")), g.number(1))
    counts = g.constant(np.arange(1, size + 1, dtype=np.float32))
    support = g.cast(g.elementwise("Greater", down, g.elementwise("Div", less, counts)), "float")
    sums = g.elementwise("Mul", g.elementwise("Add", less, g.number(1)), support)
    total, count = (g.node("ReduceSum", part, g.whole_numbers([-1]), keepdims=1) for part in (sums, support))
    threshold = g.elementwise("Div", g.elementwise("Sub", total, g.number(1)), count)
    return g.transpose(g.elementwise("Relu", g.elementwise("Sub", rows, threshold)), inverse(perm))


@becomes(row_norm.ScaleRows)
def _scale_rows(g: Sheet, v: Value, x: str) -> str:
    """x / √max(share · Σx² + epsilon, floor), the sum over the last axes."""
    assert isinstance(v.op, row_norm.ScaleRows)
    total = g.node("ReduceSumSquare", x, g.whole_numbers(range(-v.op.axes, 0)), keepdims=1)
    if v.op.share != 1:
        total = g.elementwise("Mul", total, g.number(v.op.share))
    if v.op.epsilon:
        total = g.elementwise("Add", total, g.number(v.op.epsilon))
    if v.op.floor:
        total = g.elementwise("Max", total, g.number(v.op.floor))
    return g.elementwise("Div", x, g.elementwise("Sqrt", total))


# ---------------------------------------------------------------- by number
@becomes(index.Gather)
def _gather(g: Sheet, v: Value, table: str, ids: str) -> str:
    """Rows of a table; numbers outside mean its first or last row."""
    rows, numbers = v.inputs
    wide = widened(g, ids, numbers)
    kind = "int64" if numbers.dtype in ("int64", "uint32", "uint64") else "int32"
    inside = g.elementwise("Clip", wide, g.number(0, kind), g.number(rows.shape[0] - 1, kind))
    return g.node("Gather", table, inside, axis=0)


@becomes(index.OneHot)
def _one_hot(g: Sheet, v: Value, ids: str) -> str:
    """1 at the place of the number; the operator OneHot would count negative numbers from the end."""
    assert isinstance(v.op, index.OneHot)
    (numbers,) = v.inputs
    kind = numbers.dtype if numbers.dtype in ("float", "int32", "int64") else "int32"
    wide = ids if kind == numbers.dtype else g.cast(ids, kind)
    places = g.constant(np.arange(v.op.depth, dtype=np.float32 if kind == "float" else kind))
    return g.cast(g.elementwise("Equal", g.node("Unsqueeze", wide, g.whole_numbers([-1])), places), "float")
