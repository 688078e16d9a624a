"""How far predicted numbers are from the true ones."""

from math import log, sqrt
from typing import ClassVar

import numpy as np

from kerascli.component import Example
from kerascli.metrics.base import Sums, _Mean, like
from kerascli.ops.ir import Array

EPSILON = 1e-7


class _Error(_Mean):
    direction = "down"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(inputs=((1,), ())),
        Example(inputs=((3,), (3,))),
        Example(inputs=((4, 1), (4,))),
    )


class MeanSquaredError(_Error):
    """The mean of (y_true - y_pred)²."""

    aliases = ("mse", "MSE")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        square: Array = np.square(y_pred - like(y_true, y_pred))
        return square


class MeanAbsoluteError(_Error):
    """The mean of |y_true - y_pred|."""

    aliases = ("mae", "MAE")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        distance: Array = np.abs(y_pred - like(y_true, y_pred))
        return distance


class RootMeanSquaredError(_Error):
    """The square root of the mean of (y_true - y_pred)², the root taken over everything seen so far."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        square: Array = np.square(y_pred - like(y_true, y_pred))
        return square

    def result(self, sums: Sums) -> float | Array:
        return sqrt(float(super().result(sums)))


class MeanAbsolutePercentageError(_Error):
    """The mean of 100 · |y_true - y_pred| / max(|y_true|, 1e-7)."""

    aliases = ("mape", "MAPE")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y = like(y_true, y_pred)
        share: Array = 100 * np.abs((y - y_pred) / np.maximum(np.abs(y), y.dtype.type(EPSILON)))
        return share


class MeanSquaredLogarithmicError(_Error):
    """The mean of (log(1 + y_true) - log(1 + y_pred))²; numbers below 1e-7 are taken as that."""

    aliases = ("msle", "MSLE")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        true, pred = (np.log(np.maximum(y, y.dtype.type(EPSILON)) + 1) for y in (like(y_true, y_pred), y_pred))
        square: Array = np.square(true - pred)
        return square


class LogCoshError(_Error):
    """The mean of log(cosh(y_pred - y_true))."""

    keras_name = "logcosh"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        error = y_pred - like(y_true, y_pred)
        with np.errstate(invalid="ignore"):
            return np.asarray(error + np.logaddexp(0, -2 * error) - error.dtype.type(log(2)))
