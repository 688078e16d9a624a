"""How far predicted numbers are from the true ones."""

from math import sqrt
from typing import ClassVar

import numpy as np

from kerascli.component import Example
from kerascli.metrics.base import Sums, _Mean, like
from kerascli.metrics.confusion import unlike
from kerascli.ops.ir import Array, Shape


class _Error(_Mean):
    direction = "down"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(inputs=((1,), ())),
        Example(inputs=((3,), (3,))),
        Example(inputs=((4, 1), (4,))),
    )

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return unlike(self, target_shape, output_shape)


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
