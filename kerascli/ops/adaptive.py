"""Pooling to a wanted number of places along an axis: windows of nearly equal length that may overlap by one place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import batch_major


class _Adaptive(Op):
    """Of (n, …, size, …) and (n, …, places, …): the axis of the whole array, and the windows along it."""

    axis: int
    size: int
    places: int

    def windows(self) -> list[tuple[int, int]]:
        """Window i begins at ⌊i · size / places⌋ and ends before ⌈(i + 1) · size / places⌉."""
        return [(k * self.size // self.places, -(-(k + 1) * self.size // self.places)) for k in range(self.places)]

    def at(self, x: Array, first: int, last: int) -> Array:
        return x[(*(slice(None),) * self.axis, slice(first, last))]

    def with_length(self, shape: Shape, length: int) -> Shape:
        k = self.axis - 1
        return (*shape[:k], length, *shape[k + 1 :])


class AdaptiveMean(_Adaptive):
    """The mean of every window."""

    def infer(self, x: Value) -> Type:
        return Type(self.with_length(x.shape, self.places))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        calls: list[Call] = []
        for k, (first, last) in enumerate(self.windows()):
            place = self.at(out, k, k + 1)
            calls.append(partial(np.add.reduce, self.at(x, first, last), axis=self.axis, out=place, keepdims=True))
            calls.append(partial(np.multiply, place, np.asarray(1 / (last - first), out.dtype), place))
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(AdaptiveMeanGradient(self.axis, self.size, self.places), dy),)


class AdaptiveMeanGradient(_Adaptive):
    """Each dy spread evenly over its window."""

    def infer(self, dy: Value) -> Type:
        return Type(self.with_length(dy.shape, self.size))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((rows, *self.with_length(inputs[0].shape, 1)), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dy,), (share,) = inputs, site.scratch
        calls: list[Call] = [partial(out.fill, 0)]
        for k, (first, last) in enumerate(self.windows()):
            place = self.at(out, first, last)
            calls.append(partial(np.multiply, self.at(dy, k, k + 1), np.asarray(1 / (last - first), out.dtype), share))
            calls.append(partial(np.add, place, share, place))
        return calls


class AdaptiveMax(_Adaptive):
    """The largest of every window."""

    def infer(self, x: Value) -> Type:
        return Type(self.with_length(x.shape, self.places))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,) = inputs
        return [
            partial(
                np.maximum.reduce, self.at(x, first, last), axis=self.axis, out=self.at(out, k, k + 1), keepdims=True
            )
            for k, (first, last) in enumerate(self.windows())
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(AdaptiveMaxGradient(self.axis, self.size, self.places), dy, y.inputs[0], y),)


class AdaptiveMaxGradient(_Adaptive):
    """Each dy for the first input of its window that equals the maximum."""

    def infer(self, dy: Value, x: Value, y: Value) -> Type:
        return x.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        one = (rows, *self.with_length(inputs[0].shape, 1))
        return (one, "bool"), (one, "bool"), (one, "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, x, y = inputs
        free, here, part = site.scratch
        calls: list[Call] = [partial(out.fill, 0)]
        for k, (first, last) in enumerate(self.windows()):
            calls.append(partial(free.fill, True))
            for j in range(first, last):
                place = self.at(out, j, j + 1)
                calls.append(partial(np.equal, self.at(x, j, j + 1), self.at(y, k, k + 1), here))
                calls.append(partial(np.logical_and, here, free, here))
                calls.append(partial(np.logical_xor, free, here, free))
                calls.append(partial(np.multiply, self.at(dy, k, k + 1), here, part))
                calls.append(partial(np.add, place, part, place))
        return calls


def adaptive_pool(x: Value, places: tuple[int, ...], largest: bool) -> Value:
    """The largest, or the mean, of `places` windows along each of the leading axes of a sample."""
    x = batch_major(x)
    kind = AdaptiveMax if largest else AdaptiveMean
    for axis, count in enumerate(places, start=1):
        if count != x.shape[axis - 1]:
            x = x.trace.add(kind(axis, x.shape[axis - 1], count), x)
    return x
