"""Whether predictions rise and fall with the targets: likeness of vectors, and the share of the variance."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.metrics.base import Metric, Sums, _Mean, like, ratio
from kerascli.ops.ir import Array, Shape

EPSILON = 1e-7


class _Likeness(_Mean):
    direction = "up"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(inputs=((4,), (4,))),
        Example({"axis": 1}, inputs=((4, 3), (4, 3))),
    )

    axis: int = -1
    """The axis of the vectors that are compared; the batch axis is 0."""

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        rank = len(output_shape)
        if not -rank <= self.axis <= rank or self.axis == 0:
            return f"axis {self.axis} is not one of the {rank} axes of an output {output_shape}", "the last axis is -1"
        return super().problem(target_shape, output_shape)


class CosineSimilarity(_Likeness):
    """The mean of Σ y_true · y_pred with both scaled to length 1: 1 for the same direction, -1 for the opposite one.

    As in Keras it is positive, though the loss of this name is negative.
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        values: Array = (_unit(like(y_true, y_pred), self.axis) * _unit(y_pred, self.axis)).sum(self.axis)
        return values


class PearsonCorrelation(_Likeness):
    """The mean of Pearson's correlation of each sample's target and prediction; NaN where one of them is constant."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        scores = []
        with np.errstate(divide="ignore", invalid="ignore"):
            for y in (like(y_true, y_pred), y_pred):
                centred = y - y.mean(self.axis, keepdims=True)
                scores.append(centred / centred.std(self.axis, keepdims=True))
            values: Array = (scores[0] * scores[1]).mean(self.axis)
        return values


class ConcordanceCorrelation(_Likeness):
    """The mean of Lin's concordance of each sample: the correlation, lessened by unlike means and variances.

    2·cov / (var(y_true) + var(y_pred) + (mean(y_true) - mean(y_pred))² + 1e-7).
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        y = like(y_true, y_pred)
        true, pred = (a.mean(self.axis, keepdims=True) for a in (y, y_pred))
        spread = y.var(self.axis, keepdims=True) + y_pred.var(self.axis, keepdims=True) + np.square(true - pred)
        values: Array = (2 * (y - pred) * (y_pred - pred) / (spread + EPSILON)).mean(self.axis)
        return values


class R2Score(Metric):
    """The share of the targets' variance that predictions explain: 1 - Σ(y_true - y_pred)² / Σ(y_true - mean)².

    A target without variance counts as 0, where Keras may say NaN. As in Keras, samples of weight 0 count among the
    samples of the adjusted figure.
    """

    direction = "up"
    keras_name = "r2_score"
    examples = (
        Example(inputs=((1,), (1,))),
        Example({"class_aggregation": "variance_weighted_average"}, inputs=((3,), (3,))),
        Example({"class_aggregation": None}, inputs=((3,), (3,))),
        Example({"num_regressors": 2}, inputs=((1,), ())),
    )

    class_aggregation: Literal["uniform_average", "variance_weighted_average"] | None = "uniform_average"
    """How the figures of several outputs become one: their mean, that weighted by variance, or (null) not at all."""
    num_regressors: int = Field(default=0, ge=0)
    """Number of independent variables, for the adjusted figure; 0 is the plain one."""

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if len(output_shape) != 1:
            return f"R2Score wants one axis of outputs and gets {output_shape}", "flatten the output"
        return super().problem(target_shape, output_shape)

    def zero(self, shape: Shape) -> Sums:
        return {name: np.zeros(shape) for name in ("squared_sum", "sum", "residual", "count")} | {
            "num_samples": np.zeros(())
        }

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        y, p = y_true.reshape(y_pred.shape).astype(np.float64), y_pred.astype(np.float64)
        w = np.ones((len(y), 1)) if weight is None else weight.astype(np.float64).reshape(len(y), -1)
        sums["sum"] += (y * w).sum(0)
        sums["squared_sum"] += (y * y * w).sum(0)
        sums["residual"] += (np.square(y - p) * w).sum(0)
        sums["count"] += np.broadcast_to(w, y.shape).sum(0)
        sums["num_samples"] += y.size

    def result(self, sums: Sums) -> float | Array:
        variance = sums["squared_sum"] - ratio(np.square(sums["sum"]), sums["count"])
        scores = np.where(variance == 0, 0.0, 1 - ratio(sums["residual"], variance))
        score: Array = scores
        if self.class_aggregation == "uniform_average":
            score = scores.mean()
        elif self.class_aggregation:
            score = ratio((variance * scores).sum(), variance.sum())
        rest = float(sums["num_samples"]) - self.num_regressors - 1
        if self.num_regressors and rest > 0:
            score = 1 - (1 - score) * (float(sums["num_samples"]) - 1) / rest
        return float(score) if np.ndim(score) == 0 else score


def _unit(x: Array, axis: int) -> Array:
    """Vectors of length 1, and shorter ones only where x is shorter than 1e-7."""
    square = np.square(x).sum(axis, keepdims=True)
    unit: Array = x / np.sqrt(np.maximum(square, EPSILON**2))
    return unit
