"""Hinges as metrics: how far answers are from being right by a margin of 1.

Keras compares every target of shape (n,) with every output (n, 1); here each meets its own.
"""

import numpy as np

from kerascli.component import Example
from kerascli.metrics.base import _Mean, like
from kerascli.ops.ir import Array


class _Hinge(_Mean):
    direction = "down"


class Hinge(_Hinge):
    """The mean of max(0, 1 - y_true · y_pred); targets are -1 and 1, or in the whole batch 0 and 1."""

    examples = (Example(inputs=((1,), (1,))), Example(inputs=((3,), (3,))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _short_of_one(y_true, y_pred)


class SquaredHinge(_Hinge):
    """The mean of max(0, 1 - y_true · y_pred)²; targets are -1 and 1, or in the whole batch 0 and 1."""

    examples = (Example(inputs=((1,), (1,))), Example(inputs=((3,), (3,))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(_short_of_one(y_true, y_pred))


class CategoricalHinge(_Hinge):
    """The mean of max(0, 1 + the largest wrong output - the right output), for one-hot targets."""

    examples = (Example(inputs=((4,), (4,))), Example(inputs=((3, 4), (3, 4))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y = like(y_true, y_pred)
        values: Array = np.maximum(((1 - y) * y_pred).max(-1) - (y * y_pred).sum(-1) + 1, 0)
        return values


def _short_of_one(y_true: Array, y_pred: Array) -> Array:
    y = like(y_true, y_pred)
    if ((y == 0) | (y == 1)).all():
        y = 2 * y - 1
    short: Array = np.maximum(1 - y * y_pred, 0)
    return short
