"""Hinges: losses that are 0 as soon as the answer is right by a margin of 1."""

from kerascli.component import Example
from kerascli.losses.base import Fault, Loss, _LikeOutput, floats, unlike
from kerascli.ops import elementwise, reduction
from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import batch_sum


class Hinge(_LikeOutput):
    """The mean of max(0, 1 - y_true · y_pred) over the last axis; targets are -1 and 1.

    As in Keras, a batch whose targets are all 0 and 1 has them made -1 and 1.
    """

    examples = (Example(inputs=((3,), (3,))), Example(inputs=((1,), ())), Example(inputs=((4, 2), (4, 2))))

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return reduction.mean(_short_of_one(y_true, y_pred), -1)


class SquaredHinge(_LikeOutput):
    """The mean of max(0, 1 - y_true · y_pred)² over the last axis; targets are -1 and 1, or 0 and 1."""

    examples = (Example(inputs=((3,), (3,))), Example(inputs=((1,), ())), Example(inputs=((4, 2), (4, 2))))

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return reduction.mean(elementwise.square(_short_of_one(y_true, y_pred)), -1)


class CategoricalHinge(Loss):
    """max(0, 1 + the largest wrong output - the right output), for one-hot targets."""

    targets = "one_hot"
    examples = (Example(inputs=((4,), (4,))), Example(inputs=((3, 4), (3, 4))))

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y_true = floats(y_true, y_pred)
        right = reduction.sum(elementwise.multiply(y_true, y_pred), -1)
        wrong = reduction.max(elementwise.multiply(elementwise.subtract(1.0, y_true), y_pred), -1)
        return elementwise.maximum(elementwise.add(elementwise.subtract(wrong, right), 1.0), 0.0)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        return unlike(self, y_shape, classes, pred_shape)


def _short_of_one(y_true: Value, y_pred: Value) -> Value:
    y_true = floats(y_true, y_pred)
    is_bit = elementwise.logical_or(elementwise.equal(y_true, 0.0), elementwise.equal(y_true, 1.0))
    others = batch_sum(reduction.sum(elementwise.cast(elementwise.logical_not(is_bit), "float")))
    signs = elementwise.subtract(elementwise.multiply(y_true, 2.0), 1.0)
    y_true = elementwise.where(elementwise.equal(others, 0.0), signs, y_true)
    return elementwise.maximum(elementwise.subtract(1.0, elementwise.multiply(y_true, y_pred)), 0.0)
