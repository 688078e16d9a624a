"""Losses on numbers."""

from math import log

from pydantic import Field

from kerascli.component import Example
from kerascli.losses.base import _LikeOutput, class_axis_last, floats, matched
from kerascli.ops import elementwise, reduction
from kerascli.ops.activation import softplus
from kerascli.ops.ir import Value
from kerascli.ops.loss import EPSILON, AbsoluteDistance, SquaredDistance, distance

SHAPES = (Example(inputs=((3,), (3,))), Example(inputs=((1,), ())), Example(inputs=((4, 2), (4, 2))))


class MeanSquaredError(_LikeOutput):
    """The mean of (y_true - y_pred)² over the last axis."""

    aliases = ("mse", "MSE")
    examples = SHAPES

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return distance(matched(y_true, y_pred), y_pred, SquaredDistance())


class MeanAbsoluteError(_LikeOutput):
    """The mean of |y_true - y_pred| over the last axis."""

    aliases = ("mae", "MAE")
    examples = SHAPES

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return distance(matched(y_true, y_pred), y_pred, AbsoluteDistance())


class MeanAbsolutePercentageError(_LikeOutput):
    """The mean of 100 · |y_true - y_pred| / max(|y_true|, 1e-7) over the last axis."""

    aliases = ("mape", "MAPE")
    examples = SHAPES

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y_true = floats(y_true, y_pred)
        size = elementwise.maximum(elementwise.abs(y_true), EPSILON)
        share = elementwise.abs(elementwise.divide(elementwise.subtract(y_true, y_pred), size))
        return elementwise.multiply(reduction.mean(share, -1), 100.0)


class MeanSquaredLogarithmicError(_LikeOutput):
    """The mean of (log(1 + y_true) - log(1 + y_pred))² over the last axis; numbers below 1e-7 are taken as that."""

    aliases = ("msle", "MSLE")
    examples = SHAPES

    def values(self, y_true: Value, y_pred: Value) -> Value:
        logs = [
            elementwise.log(elementwise.add(elementwise.maximum(y, EPSILON), 1.0))
            for y in (floats(y_true, y_pred), y_pred)
        ]
        return reduction.mean(elementwise.square(elementwise.subtract(*logs)), -1)


class Huber(_LikeOutput):
    """The mean of e² / 2 where |e| = |y_true - y_pred| is at most δ, and of δ·|e| - δ² / 2 beyond."""

    keras_name = "huber_loss"
    examples = (*SHAPES, Example({"delta": 0.3}, inputs=((3,), (3,))))

    delta: float = Field(default=1.0, ge=0)
    """The distance beyond which the loss is no longer squared."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        error = elementwise.subtract(y_pred, floats(y_true, y_pred))
        far = elementwise.abs(error)
        line = elementwise.subtract(elementwise.multiply(far, self.delta), 0.5 * self.delta**2)
        square = elementwise.multiply(elementwise.square(error), 0.5)
        return reduction.mean(elementwise.where(elementwise.greater(far, self.delta), line, square), -1)


class LogCosh(_LikeOutput):
    """The mean of log(cosh(y_pred - y_true)) over the last axis: half the square for small errors, |e| for large."""

    examples = SHAPES

    def values(self, y_true: Value, y_pred: Value) -> Value:
        error = elementwise.subtract(y_pred, floats(y_true, y_pred))
        rest = elementwise.subtract(softplus(elementwise.multiply(error, -2.0)), log(2.0))
        return reduction.mean(elementwise.add(error, rest), -1)


class CosineSimilarity(_LikeOutput):
    """-Σ y_true · y_pred with both scaled to length 1: -1 for the same direction, 1 for the opposite one.

    As in Keras it is negative, so that training makes directions alike; the metric of this name is positive.
    """

    examples = (*SHAPES[::2], Example({"axis": 1}, inputs=((4, 3), (4, 3))))

    axis: int = -1
    """The axis of the vectors; the batch axis is 0."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        true, pred = (class_axis_last(y, self.axis) for y in (floats(y_true, y_pred), y_pred))
        return elementwise.negative(reduction.sum(elementwise.multiply(_unit(true), _unit(pred)), -1))


def _unit(x: Value) -> Value:
    """Vectors of length 1 along the last axis, and shorter ones only where x is shorter than 1e-7."""
    square = reduction.sum(elementwise.square(x), -1, keepdims=True)
    return elementwise.multiply(x, elementwise.power(elementwise.maximum(square, EPSILON**2), -0.5))
