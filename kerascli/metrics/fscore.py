"""The weighted harmonic mean of precision and recall, class by class."""

from typing import Literal

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.metrics.base import Metric, Sums
from kerascli.metrics.confusion import FALSE_NEGATIVES, FALSE_POSITIVES, TRUE_POSITIVES
from kerascli.ops.ir import Array, Shape

EPSILON = 1e-7
SUPPORT = "intermediate_weights"


class _FScore(Metric):
    """(1 + β²) · precision · recall / (β² · precision + recall), with 1e-7 added to each denominator as in Keras.

    The most certain class of a sample is its yes (all of them at a tie), or every class above the threshold.
    """

    direction = "up"

    average: Literal["micro", "macro", "weighted"] | None = None
    """`micro` counts over all classes, `macro` takes the mean over classes, `weighted` by frequency, null none."""
    threshold: float | None = Field(default=None, gt=0, le=1)
    """Outputs above it are a yes; by default the largest output of a sample is."""

    def weight_of_recall(self) -> float:
        """β."""
        return 1.0

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if len(output_shape) == 1 and target_shape == output_shape:
            return None
        return (
            f"{self.column} wants one axis of classes and one-hot targets; "
            f"it gets outputs of shape {output_shape} and targets of shape {target_shape}",
            "use a categorical loss, or BinaryCrossentropy on one output per class, with `target_encoding: one_hot`",
        )

    def zero(self, shape: Shape) -> Sums:
        size = () if self.average == "micro" else (shape[-1],)
        return {k: np.zeros(size) for k in (TRUE_POSITIVES, FALSE_POSITIVES, FALSE_NEGATIVES, SUPPORT)}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        if self.threshold is None:
            said = (y_pred >= y_pred.max(-1, keepdims=True)) & (np.abs(y_pred) > 1e-9)
        else:
            said = y_pred > self.threshold
        true = y_true.reshape(y_pred.shape).astype(np.float64)
        weights = 1.0 if weight is None else weight.reshape(len(y_pred), -1).astype(np.float64)
        axis = None if self.average == "micro" else 0
        hit = true * weights * said
        sums[TRUE_POSITIVES] += hit.sum(axis)
        sums[FALSE_POSITIVES] += ((1 - true) * weights * said).sum(axis)
        sums[FALSE_NEGATIVES] += (true * weights * ~said).sum(axis)
        sums[SUPPORT] += (true * weights).sum(axis)

    def result(self, sums: Sums) -> float | Array:
        hit, square = sums[TRUE_POSITIVES], self.weight_of_recall() ** 2
        precision = hit / (hit + sums[FALSE_POSITIVES] + EPSILON)
        recall = hit / (hit + sums[FALSE_NEGATIVES] + EPSILON)
        score = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "weighted":
            return float((score * sums[SUPPORT] / (sums[SUPPORT].sum() + EPSILON)).sum())
        return np.asarray(score) if self.average is None else float(score.mean())


class FBetaScore(_FScore):
    """The weighted harmonic mean of precision and recall; `beta` says how much more recall counts."""

    keras_name = "fbeta_score"

    beta: float = Field(default=1.0, gt=0)
    """How many times as much recall counts as precision."""

    examples = (
        Example({"beta": 2.0, "threshold": 0.5}, inputs=((3,), (3,))),
        Example({"beta": 0.5, "average": "weighted"}, inputs=((4,), (4,))),
    )

    def weight_of_recall(self) -> float:
        return self.beta


class F1Score(_FScore):
    """The harmonic mean of precision and recall: one number per class unless `average` says otherwise."""

    keras_name = "f1_score"

    examples = (
        Example(inputs=((4,), (4,))),
        Example({"average": "micro", "threshold": 0.4}, inputs=((3,), (3,))),
        Example({"average": "macro"}, inputs=((3,), (3,))),
        Example({"average": "weighted"}, inputs=((5,), (5,))),
    )
