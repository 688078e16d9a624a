"""Softmax and its kin: ops that treat the numbers along one axis together.

In the kernels x is the input, y the output, dy its gradient, s a scratch array, one an array with one number an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import whole_axis


class _OverAxis(Op):
    """Numbers along `axis` of the whole array are treated together."""

    axis: int
    in_place: ClassVar[tuple[int, ...]] = (0,)

    def infer(self, *inputs: Value) -> Type:
        return inputs[-1].type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[-1].whole(rows)
        return ((*whole[: self.axis], 1, *whole[self.axis + 1 :]), "float"), (whole, "float")

    def over(self, ufunc: np.ufunc, x: Array, out: Array) -> Call:
        return partial(ufunc.reduce, x, axis=self.axis, out=out, keepdims=True)


class Softmax(_OverAxis):
    """exp(x) / Σ exp(x), the largest x subtracted first."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,), one = inputs, site.scratch[0]
        return [
            self.over(np.maximum, x, one),
            partial(np.subtract, x, one, out),
            partial(np.exp, out, out),
            self.over(np.add, out, one),
            partial(np.divide, out, one, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SoftmaxGradient(self.axis), dy, y),)


class SoftmaxGradient(_OverAxis):
    """y · (dy - Σ dy · y)"""

    in_place: ClassVar[tuple[int, ...]] = (0, 1)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dy, y), (one, s) = inputs, site.scratch
        return [
            partial(np.multiply, dy, y, s),
            self.over(np.add, s, one),
            partial(np.subtract, dy, one, s),
            partial(np.multiply, s, y, out),
        ]


class LogSoftmax(_OverAxis):
    """x - log Σ exp(x)"""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x,), (one, s) = inputs, site.scratch
        return [
            self.over(np.maximum, x, one),
            partial(np.subtract, x, one, out),
            partial(np.exp, out, s),
            self.over(np.add, s, one),
            partial(np.log, one, one),
            partial(np.subtract, out, one, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(LogSoftmaxGradient(self.axis), dy, y),)


class LogSoftmaxGradient(_OverAxis):
    """dy - exp(y) · Σ dy"""

    in_place: ClassVar[tuple[int, ...]] = (0, 1)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dy, y), (one, s) = inputs, site.scratch
        return [
            partial(np.exp, y, s),
            self.over(np.add, dy, one),
            partial(np.multiply, s, one, s),
            partial(np.subtract, dy, s, out),
        ]


class Sparsemax(_OverAxis):
    """max(x - τ, 0), as Keras computes τ.

    With x sorted downwards, sums c_i of the first i and the support k = #{i: i x_i > c_i - 1}, Keras takes
    τ = (Σ_{i≤k} c_i - 1) / k. The paper (Martins, Astudillo 2016) has c_k for that sum: the two differ where k > 1.
    Sorting allocates; nothing else here does.
    """

    in_place: ClassVar[tuple[int, ...]] = ()

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(_sparsemax, np.moveaxis(inputs[0], self.axis, -1), np.moveaxis(out, self.axis, -1))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SparsemaxGradient(self.axis), dy, y, y.inputs[0]),)


class SparsemaxGradient(_OverAxis):
    in_place: ClassVar[tuple[int, ...]] = ()

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        arrays = [np.moveaxis(a, self.axis, -1) for a in (*inputs, out)]
        return [partial(_sparsemax_gradient, *arrays)]


def _support(x: Array) -> tuple[Array, Array]:
    """Sums of the largest 1, 2, … numbers, and for each whether it is in the support."""
    down = -np.sort(-x, axis=-1)
    sums = np.cumsum(down, axis=-1)
    return sums, down - (sums - 1) / np.arange(1, x.shape[-1] + 1) > 0


def _sparsemax(x: Array, out: Array) -> None:
    sums, support = _support(x)
    threshold = (np.where(support, sums, 0).sum(-1, keepdims=True) - 1) / support.sum(-1, keepdims=True)
    np.maximum(x - threshold, 0, out=out)


def _sparsemax_gradient(dy: Array, y: Array, x: Array, out: Array) -> None:
    """x_i is in the sums c_i … c_k: it moves τ by (k - i + 1) / k."""
    _, support = _support(x)
    size = support.sum(-1, keepdims=True)
    passed = np.where(y > 0, dy, 0)
    share = np.where(support, (size - np.arange(x.shape[-1])) / size, 0) * -passed.sum(-1, keepdims=True)
    order = np.argsort(-x, axis=-1)
    np.put_along_axis(out, order, share.astype(out.dtype), axis=-1)
    np.add(out, passed, out)


def softmax(x: Value, axis: int = -1) -> Value:
    """Softmax along an axis of the samples."""
    return x.trace.add(Softmax(whole_axis(x, axis)), x)


def log_softmax(x: Value, axis: int = -1) -> Value:
    """Log-softmax along an axis of the samples."""
    return x.trace.add(LogSoftmax(whole_axis(x, axis)), x)


def sparsemax(x: Value, axis: int = -1) -> Value:
    """Sparsemax along an axis of the samples."""
    return x.trace.add(Sparsemax(whole_axis(x, axis)), x)
