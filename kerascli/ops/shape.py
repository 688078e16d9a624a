"""Ops that move numbers without changing them: reshape, transpose, join, cut.

Axes given to the functions count within one sample (the batch axis left out); the ops keep axes of the whole array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Scope, Shape, ShapeError, Site, Type, Value


def sample_axis(x: Value, axis: int) -> int:
    """`axis` of a sample, counted from the front."""
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is out of range for {rank} axes")
    return axis % rank


def whole_axis(x: Value, axis: int) -> int:
    """The axis of the whole array that a sample's axis is."""
    axis = sample_axis(x, axis)
    return axis + (x.scope == Scope.BLOCK and axis >= x.batch_axis)


def without_one(shape: Shape) -> Shape:
    """Without a last axis of length 1, which targets often have and outputs lack, or the other way."""
    return shape[:-1] if shape[-1:] == (1,) else shape


class _Move(Op):
    """Numbers at other places; nothing is computed."""

    def flops(self, y: Value, rows: int) -> int:
        return 0


class _View(_Move):
    """The input's memory under another shape."""

    view = True

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return []


class Reshape(_View):
    """The same numbers in the same order under another shape; the batch axis stays in front."""

    shape: Shape

    def infer(self, x: Value) -> Type:
        if x.size != prod(self.shape):
            raise ShapeError(
                f"cannot reshape {x.shape} ({x.size} numbers) to {self.shape} ({prod(self.shape)} numbers)"
            )
        return Type(self.shape, x.dtype)

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (reshape(dy, y.inputs[0].shape),)


class Transpose(_Move):
    """The axes of the whole array in another order: axis k of the result is axis perm[k] of the input."""

    perm: tuple[int, ...]

    def infer(self, x: Value) -> Type:
        whole = x.whole(-1)
        if sorted(self.perm) != list(range(len(whole))):
            raise ShapeError(f"{self.perm} is not an order of {len(whole)} axes")
        moved = tuple(whole[k] for k in self.perm)
        if x.scope != Scope.BLOCK:
            return Type(moved, x.dtype)
        batch = moved.index(-1)
        return Type(moved[:batch] + moved[batch + 1 :], x.dtype, batch)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, inputs[0].transpose(self.perm))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (transpose(dy, tuple(int(k) for k in np.argsort(self.perm))),)


class Concatenate(_Move):
    """The inputs one after another along `axis` of the whole array."""

    axis: int

    def infer(self, *inputs: Value) -> Type:
        first, k = inputs[0], self.axis
        wholes = [x.whole(-1) for x in inputs]
        if len({(*w[:k], *w[k + 1 :]) for w in wholes}) > 1:
            raise ShapeError(f"cannot join {' and '.join(str(x.shape) for x in inputs)}: other axes differ")
        if len({x.dtype for x in inputs}) > 1:
            raise ShapeError(f"cannot join {' and '.join(x.dtype for x in inputs)}")
        joined = list(wholes[0])
        joined[k] = sum(w[k] for w in wholes)
        if first.scope == Scope.BLOCK:
            joined.pop(first.batch_axis)
        return Type(tuple(joined), first.dtype, first.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        calls, start = [], 0
        for x in inputs:
            stop = start + x.shape[self.axis]
            calls.append(partial(np.copyto, out[_along(self.axis, start, stop)], x))
            start = stop
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        parts, start = [], 0
        for x in y.inputs:
            stop = start + x.whole(-1)[self.axis]
            parts.append(y.trace.add(Slice(self.axis, start, stop), dy))
            start = stop
        return parts


class Slice(_Move):
    """start, start + step, … below stop along `axis` of the whole array."""

    axis: int
    start: int
    stop: int
    step: int = 1

    def infer(self, x: Value) -> Type:
        whole = list(x.whole(-1))
        whole[self.axis] = len(range(self.start, self.stop, self.step))
        if x.scope == Scope.BLOCK:
            whole.pop(x.batch_axis)
        return Type(tuple(whole), x.dtype, x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, inputs[0][_along(self.axis, self.start, self.stop, self.step)])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        size = y.inputs[0].whole(-1)[self.axis]
        return (y.trace.add(Insert(self.axis, self.start, self.stop, self.step, size), dy),)


class Insert(_Move):
    """Zeros with the input at start, start + step, … along `axis`: the adjoint of Slice."""

    axis: int
    start: int
    stop: int
    step: int
    size: int

    def infer(self, x: Value) -> Type:
        whole = list(x.whole(-1))
        whole[self.axis] = self.size
        if x.scope == Scope.BLOCK:
            whole.pop(x.batch_axis)
        return Type(tuple(whole), x.dtype, x.batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        inside = out[_along(self.axis, self.start, self.stop, self.step)]
        return [partial(out.fill, 0), partial(np.copyto, inside, inputs[0])]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(Slice(self.axis, self.start, self.stop, self.step), dy),)


def _along(axis: int, start: int, stop: int, step: int = 1) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))


def reshape(x: Value, shape: Shape) -> Value:
    """`x` with samples of another shape; consecutive reshapes are one."""
    x = batch_major(x)
    while isinstance(x.op, Reshape):
        x = x.inputs[0]
    return x if x.shape == shape else x.trace.add(Reshape(shape), x)


def transpose(x: Value, perm: tuple[int, ...]) -> Value:
    """`x` with the axes of its whole array, the batch axis included, in another order."""
    if isinstance(x.op, Transpose):
        perm = tuple(x.op.perm[k] for k in perm)
        x = x.inputs[0]
    return x if perm == tuple(range(x.rank)) else x.trace.add(Transpose(perm), x)


def move_batch(x: Value, axis: int) -> Value:
    """`x` with its batch axis at `axis` of the array."""
    if x.scope != Scope.BLOCK or x.batch_axis == axis:
        return x
    others = [k for k in range(x.rank) if k != x.batch_axis]
    return transpose(x, (*others[:axis], x.batch_axis, *others[axis:]))


def time_major(x: Value) -> Value:
    """Samples (T, ...) as an array (T, n, ...)."""
    return move_batch(x, 1)


def batch_major(x: Value) -> Value:
    """The batch axis in front: (T, n, ...) → (n, T, ...)."""
    return move_batch(x, 0)


def permute(x: Value, axes: tuple[int, ...]) -> Value:
    """A sample's axes in another order, counted from 0; the batch axis goes in front."""
    x = batch_major(x)
    return transpose(x, (0, *(k + 1 for k in axes)) if x.scope == Scope.BLOCK else axes)


def with_last(x: Value, axes: tuple[int, ...], rule: Callable[[Value], Value]) -> Value:
    """`rule` of x with some of a sample's axes moved to the end, and back again."""
    order = (*(k for k in range(len(x.shape)) if k not in axes), *axes)
    return permute(rule(permute(x, order)), tuple(map(order.index, range(len(order)))))


def concatenate(values: Sequence[Value], axis: int = -1) -> Value:
    """The values one after another along an axis of their samples."""
    first = values[0]
    if any(len(x.shape) != len(first.shape) for x in values):
        raise ShapeError(f"cannot join {' and '.join(str(x.shape) for x in values)}: they differ in rank")
    aligned = [move_batch(x, first.batch_axis) for x in values]
    return first.trace.add(Concatenate(whole_axis(first, axis)), *aligned) if len(aligned) > 1 else first


def cut(x: Value, start: int, stop: int, axis: int = -1, step: int = 1) -> Value:
    """x[start:stop:step] along an axis of its samples; negative positions count from the end."""
    first, last, stride = slice(start, stop, step).indices(x.shape[axis])
    if step < 1 or first >= last:
        raise ShapeError(f"nothing is left of {x.shape} between {start} and {stop}")
    if (first, last, stride) == (0, x.shape[axis], 1):
        return x
    return x.trace.add(Slice(whole_axis(x, axis), first, last, stride), x)


def split(x: Value, parts: int, axis: int = -1) -> list[Value]:
    """Equal parts along an axis of the samples."""
    size = x.shape[sample_axis(x, axis)]
    if size % parts:
        raise ShapeError(f"cannot split {size} into {parts} equal parts")
    return [cut(x, k * size // parts, (k + 1) * size // parts, axis) for k in range(parts)]
