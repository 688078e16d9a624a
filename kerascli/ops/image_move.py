"""Pixels of images at other places: mirrored, cut out, picked, or mixed along an axis by a fixed matrix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Scope, Shape, Site, Type, Value, constant
from kerascli.ops.linear import matmul
from kerascli.ops.shape import _Move, batch_major, permute


class Flip(_Move):
    """The images whose flag (1, 1, 1) is set, mirrored along the given axes of a sample."""

    axes: tuple[int, ...]

    def infer(self, x: Value, flags: Value) -> Type:
        return Type(x.shape, x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, flags = inputs
        turned = np.flip(x, tuple(k + 1 for k in self.axes))
        return [partial(np.copyto, out, x), partial(np.copyto, out, turned, where=flags)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(self, batch_major(dy), y.inputs[1]), None


class Crop(_Move):
    """`size` rows and columns from a row and a column that all images of the batch share."""

    size: tuple[int, int]

    def infer(self, x: Value, row: Value, column: Value) -> Type:
        return Type((*self.size, x.shape[2]), x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self._copy, out, *inputs)]

    def _copy(self, out: Array, x: Array, row: Array, column: Array) -> None:
        np.copyto(out, x[:, int(row) :, int(column) :][:, : self.size[0], : self.size[1]])

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(CropGradient(self.size, y.inputs[0].shape), batch_major(dy), *y.inputs[1:]), None, None


class CropGradient(_Move):
    """Zeros with dy at the place that was cut out."""

    size: tuple[int, int]
    shape: Shape

    def infer(self, dy: Value, row: Value, column: Value) -> Type:
        return Type(self.shape, dy.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(out.fill, 0), partial(self._copy, out, *inputs)]

    def _copy(self, out: Array, dy: Array, row: Array, column: Array) -> None:
        np.copyto(out[:, int(row) :, int(column) :][:, : self.size[0], : self.size[1]], dy)


class Pick(_Move):
    """The given places along an axis of a sample, some of them several times."""

    axis: int
    places: tuple[int, ...]

    def infer(self, x: Value) -> Type:
        return Type((*x.shape[: self.axis], len(self.places), *x.shape[self.axis + 1 :]), x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        places = np.asarray(self.places, np.int64)
        return [partial(np.take, inputs[0], places, axis=self.axis + 1, out=out, mode="clip")]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        chosen = np.zeros((len(self.places), y.inputs[0].shape[self.axis]))
        chosen[np.arange(len(self.places)), self.places] = 1
        return (along(dy, chosen, self.axis),)


def along(x: Value, matrix: Array, axis: int) -> Value:
    """x times a matrix (K, O) along an axis of its samples, which has K places and then O."""
    last = len(x.shape) - 1
    order = (*(k for k in range(last + 1) if k != axis), axis)
    y = matmul(permute(x, order), constant(x.trace, np.asarray(matrix, np.float64)))
    return permute(y, tuple(order.index(k) for k in range(last + 1)))


def flip(x: Value, flags: Value, axes: tuple[int, ...]) -> Value:
    """The flagged images mirrored along axes of a sample."""
    return x.trace.add(Flip(axes), batch_major(x), flags)


def crop_at(x: Value, row: Value, column: Value, size: tuple[int, int]) -> Value:
    """A window of that size from a row and column for the whole batch."""
    assert row.scope != Scope.BLOCK
    return x.trace.add(Crop(size), batch_major(x), row, column)


def pick(x: Value, places: tuple[int, ...], axis: int) -> Value:
    """Places along an axis of a sample."""
    return x.trace.add(Pick(axis, places), batch_major(x))
