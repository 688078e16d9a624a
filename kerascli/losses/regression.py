"""Losses on numbers."""

from kerascli.component import Example
from kerascli.losses.base import _LikeOutput, matched
from kerascli.ops.ir import Value
from kerascli.ops.loss import AbsoluteDistance, SquaredDistance, distance

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
