"""Sums, means and extremes over axes of a sample (never over the batch: that is linear.batch_sum)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.broadcast import SumTo
from kerascli.ops.elementwise import cast, divide, equal, multiply
from kerascli.ops.ir import Array, Call, Op, Scope, Shape, ShapeError, Site, Type, Value, constant
from kerascli.ops.shape import batch_major, reshape, sample_axis

Axes = int | tuple[int, ...] | None


class _Extreme(Op):
    """The largest or smallest over `axes` of the whole array, kept with length 1."""

    ufunc: ClassVar[np.ufunc]
    axes: tuple[int, ...]
    shape: Shape

    def infer(self, x: Value) -> Type:
        return Type(self.shape, x.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self.ufunc.reduce, inputs[0], axis=self.axes, out=out, keepdims=True)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        (x,) = y.inputs
        winners = cast(equal(x, y), "float")
        count = x.trace.add(SumTo(y.shape), winners)
        return (multiply(winners, divide(dy, count)),)

    def flops(self, y: Value, rows: int) -> int:
        return y.inputs[0].size * (rows if y.scope == Scope.BLOCK else 1)


class Max(_Extreme):
    """The largest; equal ones share the gradient."""

    ufunc = np.maximum


class Min(_Extreme):
    """The smallest; equal ones share the gradient."""

    ufunc = np.minimum


def sum(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """Σ over axes of a sample (all of them by default)."""
    x, kept, dropped, _ = _prepare(x, axes)
    y = x if kept == x.shape else x.trace.add(SumTo(kept), x)
    return y if keepdims else reshape(y, dropped)


def mean(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The average over axes of a sample."""
    total = sum(x, axes, keepdims)
    return multiply(total, total.size / x.size)


def max(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The largest over axes of a sample."""
    x, kept, dropped, whole = _prepare(x, axes)
    y = x.trace.add(Max(whole, kept), x)
    return y if keepdims else reshape(y, dropped)


def min(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The smallest over axes of a sample."""
    x, kept, dropped, whole = _prepare(x, axes)
    y = x.trace.add(Min(whole, kept), x)
    return y if keepdims else reshape(y, dropped)


def _prepare(x: Value, axes: Axes) -> tuple[Value, Shape, Shape, tuple[int, ...]]:
    """The value with the batch in front, the reduced shape with and without the axes, and the array's axes."""
    chosen = tuple(range(len(x.shape))) if axes is None else (axes,) if isinstance(axes, int) else axes
    over = {sample_axis(x, k) for k in chosen}
    kept = tuple(1 if k in over else s for k, s in enumerate(x.shape))
    dropped = tuple(s for k, s in enumerate(x.shape) if k not in over)
    shift = int(x.scope == Scope.BLOCK)
    return batch_major(x), kept, dropped, tuple(sorted(k + shift for k in over))


class WeightedSum(Op):
    """Σ values · weights over everything: how a loss becomes one number. Both are blocks of one shape."""

    contracts = True

    def infer(self, values: Value, weights: Value) -> Type:
        if values.shape != weights.shape:
            raise ShapeError(f"weights {weights.shape} do not fit the values {values.shape}")
        return Type(())

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        values, weights = (x.reshape(-1) for x in inputs)
        return [partial(np.dot, values, weights, out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        values, weights = y.inputs
        if dy is constant(y.trace, 1.0):  # the loss itself
            return weights, values
        return multiply(weights, dy), multiply(values, dy)


def weighted_sum(values: Value, weights: Value) -> Value:
    """Σ values · weights over the batch and all axes."""
    return values.trace.add(WeightedSum(), values, weights)
