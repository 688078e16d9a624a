"""Losses as coarse ops: one number for each row of outputs, and the gradient in one more op.

Legend: n samples, C classes or outputs (the last axis), x logits, p probabilities made of them by softmax or sigmoid,
y targets in the shape of x, `at` places of integer targets in the flat array of x, dy the gradient of the rows' losses.

Where p comes straight from a softmax or sigmoid, the op reads p for its value and hands the gradient, p - y, to x.
Its value is Keras's, with p kept 1e-7 away from 0 and 1. Keras on JAX and PyTorch lets a clipped p stop the gradient
as well; on TensorFlow it takes the logits and clips nothing. The gradient here is that of TensorFlow: a sample that the
net gets thoroughly wrong still teaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops import elementwise, reduction
from kerascli.ops.activation import Sigmoid, number, sigmoid
from kerascli.ops.ir import Array, Call, Op, Shape, ShapeError, Site, Type, Value
from kerascli.ops.shape import Transpose, batch_major, transpose
from kerascli.ops.softmax import Softmax

EPSILON = 1e-7


def _sum(x: Array, out: Array) -> Call:
    """Sums along the last axis, which `out` lacks."""
    return partial(np.add.reduce, x, -1, None, out)


def _clip(site: Site, x: Array, out: Array) -> list[Call]:
    low, high = (site.constant(bound, out.shape, out.dtype) for bound in (EPSILON, 1 - EPSILON))
    return [partial(np.maximum, x, low, out=out), partial(np.minimum, out, high, out=out)]


class _RowLoss(Op):
    """One loss for each row along the last axis of the first input."""

    def infer(self, *inputs: Value) -> Type:
        x = inputs[0]
        return Type(x.shape[:-1], "float", x.batch_axis)

    def flops(self, y: Value, rows: int) -> int:
        return 4 * rows * y.inputs[0].size


class _SavingLoss(_RowLoss):
    """Saves an array of the shape of the first input for its gradient."""

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (inputs[0].type,)


class _RowGradient(Op):
    """The gradient of a row loss: shape and dtype of the first input."""

    in_place: ClassVar[tuple[int, ...]] = (0,)

    def infer(self, *inputs: Value) -> Type:
        return inputs[0].type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((_row(inputs[0], rows), "float"),)

    def flops(self, y: Value, rows: int) -> int:
        return 3 * rows * y.size


def _row(x: Value, rows: int) -> Shape:
    """The whole shape of one number for each row."""
    return x.whole(rows)[:-1]


# ---------------------------------------------------------------- classes by number
class Places(Op):
    """Integer targets as places in the flat array of scores: row · C + class. Numbers out of range go to its ends."""

    classes: int

    def infer(self, *inputs: Value) -> Type:
        return inputs[0].type._replace(dtype="int64")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        last = site.constant(self.classes - 1, out.shape, np.int64)
        row = np.arange(out.size).reshape(out.shape) * self.classes
        return [
            partial(np.copyto, out, inputs[0], casting="unsafe"),
            partial(np.maximum, out, site.constant(0, out.shape, np.int64), out=out),
            partial(np.minimum, out, last, out=out),
            partial(np.add, out, row, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)


class OneHot(Op):
    """Ones at the places of the classes, zeros elsewhere."""

    classes: int

    def infer(self, *inputs: Value) -> Type:
        return Type((*inputs[0].shape, self.classes), "float", inputs[0].batch_axis)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(out.fill, 0), partial(out.put, inputs[0], number(1, out), "clip")]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)


class NumberedLoss(_RowLoss):
    """-log p[at], from p = softmax(x). Inputs: p, x, at."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        p, _, at = inputs
        return [
            partial(p.take, at, None, out, "clip"),
            *_clip(site, out, out),
            partial(np.log, out, out),
            partial(np.negative, out, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        p, _, at = y.inputs
        return None, y.trace.add(NumberedGradient(), p, at, dy), None


class NumberedLossOfLogits(_SavingLoss):
    """log Σ exp(x) - x[at]. Inputs: x, at. Saves p = softmax(x)."""

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((_row(inputs[0], rows), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, at), p, s = inputs, site.aux[0], site.scratch[0]
        one = s[..., None]
        return [
            partial(np.maximum.reduce, x, -1, None, s),
            partial(np.subtract, x, one, p),
            partial(p.take, at, None, out, "clip"),
            partial(np.exp, p, p),
            _sum(p, s),
            partial(np.divide, p, one, p),
            partial(np.log, s, s),
            partial(np.subtract, s, out, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(NumberedGradient(), y.further[0], y.inputs[1], dy), None


class NumberedGradient(_RowGradient):
    """(p - 1 at the place of the class) · dy. Inputs: p, at, dy."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (p, at, dy), s = inputs, site.scratch[0]
        return [
            partial(np.multiply, p, dy[..., None], out),
            partial(out.take, at, None, s, "clip"),
            partial(np.subtract, s, dy, s),
            partial(out.put, at, s, "clip"),
        ]


# ---------------------------------------------------------------- a probability for each class
class DistributionLoss(_RowLoss):
    """-Σ y · log p, from p = softmax(x). Inputs: p, x, y."""

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((inputs[0].whole(rows), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (p, _, y), s = inputs, site.scratch[0]
        return [
            *_clip(site, p, s),
            partial(np.log, s, s),
            partial(np.multiply, s, y, s),
            _sum(s, out),
            partial(np.negative, out, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        p, _, target = y.inputs
        return None, y.trace.add(DistributionGradient(), p, target, dy), None


class DistributionLossOfLogits(_SavingLoss):
    """log Σ exp(x) · Σ y - Σ y · x. Inputs: x, y. Saves p = softmax(x)."""

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        row = _row(inputs[0], rows)
        return (row, "float"), (row, "float"), (inputs[0].whole(rows), "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, y), p, (s, weight, product) = inputs, site.aux[0], site.scratch
        one = s[..., None]
        return [
            partial(np.maximum.reduce, x, -1, None, s),
            partial(np.subtract, x, one, p),
            partial(np.multiply, p, y, product),
            _sum(product, out),
            partial(np.exp, p, p),
            _sum(p, s),
            partial(np.divide, p, one, p),
            partial(np.log, s, s),
            _sum(y, weight),
            partial(np.multiply, s, weight, s),
            partial(np.subtract, s, out, out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(DistributionGradient(), y.further[0], y.inputs[1], dy), None


class DistributionGradient(_RowGradient):
    """(p · Σ y - y) · dy. Inputs: p, y, dy."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (p, y, dy), s = inputs, site.scratch[0]
        return [
            _sum(y, s),
            partial(np.multiply, p, s[..., None], out),
            partial(np.subtract, out, y, out),
            partial(np.multiply, out, dy[..., None], out),
        ]


# ---------------------------------------------------------------- yes or no, output by output
class _BinaryLoss(_RowLoss):
    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((inputs[0].whole(rows), "float"),) * 2


class BinaryLoss(_BinaryLoss):
    """The mean of -(y · log p + (1 - y) · log(1 - p)), from p = sigmoid(x). Inputs: p, x, y."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (p, _, y), (no, yes) = inputs, site.scratch
        return [
            *_clip(site, p, no),
            partial(np.log, no, yes),
            partial(np.subtract, number(1, no), no, no),
            partial(np.log, no, no),
            partial(np.subtract, yes, no, yes),
            partial(np.multiply, yes, y, yes),
            partial(np.add, yes, no, yes),
            _sum(yes, out),
            partial(np.multiply, out, number(-1 / p.shape[-1], out), out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        p, _, target = y.inputs
        return None, y.trace.add(ScaledRows(p.shape[-1]), elementwise.subtract(p, target), dy), None


class BinaryLossOfLogits(_BinaryLoss):
    """The mean of log(1 + exp(x)) - y · x. Inputs: x, y."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, y), (s, t) = inputs, site.scratch
        return [
            partial(np.abs, x, s),
            partial(np.negative, s, s),
            partial(np.exp, s, s),
            partial(np.log1p, s, s),
            partial(np.maximum, x, site.constant(0, x.shape, x.dtype), out=t),
            partial(np.add, s, t, s),
            partial(np.multiply, x, y, t),
            partial(np.subtract, s, t, s),
            _sum(s, out),
            partial(np.multiply, out, number(1 / x.shape[-1], out), out),
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, target = y.inputs
        return y.trace.add(ScaledRows(x.shape[-1]), elementwise.subtract(sigmoid(x), target), dy), None


class ScaledRows(_RowGradient):
    """x · dy · times / C, dy being one number a row. Inputs: x, dy."""

    width: int
    times: float = 1.0

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, dy), s = inputs, site.scratch[0]
        return [
            partial(np.multiply, dy, number(self.times / self.width, dy), s),
            partial(np.multiply, x, s[..., None], out),
        ]


# ---------------------------------------------------------------- distances
class _Distance(_SavingLoss):
    """The mean of a function of y_pred - y_true. Inputs: y_pred, y_true. Saves the difference."""

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((inputs[0].whole(rows), "float"),)

    def measure(self, d: Array, out: Array) -> Call:
        raise NotImplementedError

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (x, y), d, s = inputs, site.aux[0], site.scratch[0]
        return [
            partial(np.subtract, x, y, d),
            self.measure(d, s),
            _sum(s, out),
            partial(np.multiply, out, number(1 / x.shape[-1], out), out),
        ]


class SquaredDistance(_Distance):
    """The mean of (y_pred - y_true)²."""

    def measure(self, d: Array, out: Array) -> Call:
        return partial(np.multiply, d, d, out)

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(ScaledRows(y.inputs[0].shape[-1], 2.0), y.further[0], dy), None


class AbsoluteDistance(_Distance):
    """The mean of |y_pred - y_true|; the slope at 0 is 0."""

    def measure(self, d: Array, out: Array) -> Call:
        return partial(np.abs, d, out)

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return y.trace.add(ScaledRows(y.inputs[0].shape[-1]), elementwise.sign(y.further[0]), dy), None


# ---------------------------------------------------------------- what losses call
def distance(y_true: Value, y_pred: Value, op: _Distance) -> Value:
    """(n, …, C) → (n, …)."""
    return y_pred.trace.add(op, *_checked(y_pred, y_true))


def categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool) -> Value:
    """(n, …, C) → (n, …), from a distribution over the last axis."""
    y_pred, y_true = _checked(y_pred, y_true)
    if from_logits:
        return y_pred.trace.add(DistributionLossOfLogits(), y_pred, y_true)
    if (x := logits_of(y_pred, Softmax)) is not None:
        return y_pred.trace.add(DistributionLoss(), y_pred, x, y_true)
    share = elementwise.divide(y_pred, reduction.sum(y_pred, -1, keepdims=True))
    logs = elementwise.log(elementwise.clip(share, EPSILON, 1 - EPSILON))
    return elementwise.negative(reduction.sum(elementwise.multiply(logs, y_true), -1))


def sparse_categorical_crossentropy(y_true: Value, y_pred: Value, from_logits: bool) -> Value:
    """(n, …) integers and (n, …, C) → (n, …). Classes out of range are taken as the nearest that there is."""
    y_pred, y_true = batch_major(y_pred), batch_major(y_true)
    if y_true.shape != y_pred.shape[:-1]:
        raise ShapeError(f"integer targets {y_true.shape} do not fit outputs {y_pred.shape}")
    places = y_true.trace.add(Places(y_pred.shape[-1]), y_true)
    if from_logits:
        return y_pred.trace.add(NumberedLossOfLogits(), y_pred, places)
    if (x := logits_of(y_pred, Softmax)) is not None:
        return y_pred.trace.add(NumberedLoss(), y_pred, x, places)
    return categorical_crossentropy(y_true.trace.add(OneHot(y_pred.shape[-1]), places), y_pred, False)


def binary_crossentropy(y_true: Value, y_pred: Value, from_logits: bool) -> Value:
    """(n, …, C) → (n, …), the mean over the last axis."""
    y_pred, y_true = _checked(y_pred, y_true)
    if from_logits:
        return y_pred.trace.add(BinaryLossOfLogits(), y_pred, y_true)
    if (x := logits_of(y_pred, Sigmoid)) is not None:
        return y_pred.trace.add(BinaryLoss(), y_pred, x, y_true)
    p = elementwise.clip(y_pred, EPSILON, 1 - EPSILON)
    no = elementwise.log(elementwise.subtract(1.0, p))
    gain = elementwise.multiply(elementwise.subtract(elementwise.log(p), no), y_true)
    return elementwise.negative(reduction.mean(elementwise.add(gain, no), -1))


def logits_of(p: Value, kind: type[Softmax] | type[Sigmoid]) -> Value | None:
    """The logits of `p`, if a sigmoid or a softmax over its last axis makes it; a transpose may stand between."""
    source, perm = (p.inputs[0], p.op.perm) if isinstance(p.op, Transpose) else (p, tuple(range(p.rank)))
    if not isinstance(source.op, kind) or (isinstance(source.op, Softmax) and perm[-1] != source.op.axis):
        return None
    return transpose(source.inputs[0], perm)


def _checked(y_pred: Value, y_true: Value) -> tuple[Value, Value]:
    """Batch axis in front, targets as floats."""
    if y_true.shape != y_pred.shape:
        raise ShapeError(f"targets {y_true.shape} do not fit outputs {y_pred.shape}")
    return batch_major(y_pred), elementwise.cast(batch_major(y_true), "float")
