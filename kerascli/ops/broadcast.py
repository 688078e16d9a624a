"""Broadcasting, and its adjoint: sums over what was repeated.

Operands of different rank are aligned at the end of their samples' shapes; a number may stand for a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Scope, Shape, ShapeError, Site, Type, Value, constant
from kerascli.ops.linear import batch_sum, column_sums
from kerascli.ops.shape import _Move, _View, batch_major, move_batch, reshape

Operand = Value | float


def broadcast_type(*values: Value) -> Type:
    """The type of the values' arrays broadcast against each other, the batch axis (-1) being one of their axes."""
    rank = max(v.rank for v in values)
    wholes = [(1,) * (rank - v.rank) + v.whole(-1) for v in values]
    shape: list[int] = []
    for sizes in zip(*wholes, strict=True):
        found = {s for s in sizes if s != 1}
        if len(found) > 1:
            raise ShapeError(f"cannot combine {' and '.join(str(v.shape) for v in values)}")
        shape.append(found.pop() if found else 1)
    kinds = {v.dtype for v in values}
    dtype = "float" if "float" in kinds else np.result_type(*kinds).name
    if all(v.scope != Scope.BLOCK for v in values):
        return Type(tuple(shape), dtype)
    batch = shape.index(-1)
    return Type((*shape[:batch], *shape[batch + 1 :]), dtype, batch)


def align(*operands: Operand) -> list[Value]:
    """Values whose arrays NumPy broadcasts as their samples' shapes ask: axes of length 1 are put in where needed."""
    trace = next(v.trace for v in operands if isinstance(v, Value))
    whole_numbers = all(v.dtype != "float" if isinstance(v, Value) else isinstance(v, int) for v in operands)
    values = [
        v if isinstance(v, Value) else constant(trace, np.int32(v) if whole_numbers else float(v)) for v in operands
    ]
    blocks = [v for v in values if v.scope == Scope.BLOCK]
    if not blocks:
        return values
    values = [v.inputs[0] if isinstance(v.op, BesideBatch) else v for v in values]
    rank = max(len(v.shape) for v in values)
    longest = max(blocks, key=lambda v: len(v.shape))
    batch = longest.batch_axis + (rank - len(longest.shape) if longest.batch_axis else 0)
    return [_lay_out(v, rank, batch) for v in values]


def _lay_out(v: Value, rank: int, batch: int) -> Value:
    missing = rank - len(v.shape)
    if v.scope == Scope.BLOCK:
        return move_batch(reshape(v, (1,) * missing + v.shape) if missing else v, batch)
    before = batch - missing
    return v.trace.add(BesideBatch(before), v) if before > 0 else v


class BesideBatch(_View):
    """A value without a batch axis, seen with an axis of 1 at the place where the blocks it meets have theirs."""

    axis: int

    def infer(self, x: Value) -> Type:
        return Type((*x.shape[: self.axis], 1, *x.shape[self.axis :]), x.dtype)

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (reshape(dy, y.inputs[0].shape),)


class BroadcastTo(_Move):
    """The input repeated along axes that it lacks or has once."""

    shape: Shape
    batch_axis: int = 0

    def infer(self, x: Value) -> Type:
        return Type(self.shape, x.dtype, self.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, inputs[0])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (reduce_to(dy, y.inputs[0]),)


class SumTo(Op):
    """Sums over the axes that the result lacks or has once; the adjoint of broadcasting within a sample."""

    shape: Shape
    batch_axis: int = 0

    def infer(self, x: Value) -> Type:
        return Type(self.shape, x.dtype, self.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        wide = out[(None,) * (x.ndim - out.ndim)]
        axes = tuple(k for k in range(x.ndim) if wide.shape[k] != x.shape[k])
        return [partial(np.add.reduce, x, axis=axes, out=wide, keepdims=True)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (broadcast_to(dy, y.inputs[0].shape),)

    def flops(self, y: Value, rows: int) -> int:
        return y.inputs[0].size * (rows if y.scope == Scope.BLOCK else 1)


def broadcast_to(x: Value, shape: Shape) -> Value:
    """`x` with samples repeated to `shape`."""
    if x.shape == shape:
        return x
    if x.scope == Scope.BLOCK and x.batch_axis:
        x = batch_major(x)
    x = _lay_out(x, len(shape), 0)
    return x.trace.add(BroadcastTo(shape), x)


def reduce_to(dy: Value, like: Value) -> Value:
    """`dy` summed over the axes along which `like` was repeated, the batch included if `like` has none."""
    if (like.scope == Scope.BLOCK) == (dy.scope == Scope.BLOCK):
        if like.type[::2] == dy.type[::2]:
            return dy
        return dy.trace.add(SumTo(like.shape, like.batch_axis), dy)
    if ends_in(dy, like):
        return reshape(column_sums(dy, like.size), like.shape)
    return batch_sum(_sum_within_sample(dy, like))


def ends_in(x: Value, like: Value) -> bool:
    """Whether the array of `like` is one row of the array of `x`, seen as rows of that many numbers."""
    cut = x.rank - len(like.shape)
    return cut > x.batch_axis and x.whole(-1)[cut:] == like.shape


def _sum_within_sample(dy: Value, like: Value) -> Value:
    """`dy` reduced to the shape of `like`, batch axis kept; where `like` has an axis of 1 for the batch, it goes."""
    shape, batch = (1,) * (dy.rank - len(like.shape)) + like.shape, dy.batch_axis
    summed = dy.trace.add(SumTo((*shape[:batch], *shape[batch + 1 :]), batch), dy)
    return reshape(summed, like.shape)
