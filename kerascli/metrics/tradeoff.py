"""The best of one rate among the thresholds at which another is high enough."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.metrics.base import Metric, Sums, ratio
from kerascli.metrics.confusion import (
    FALSE_NEGATIVES,
    FALSE_POSITIVES,
    TRUE_NEGATIVES,
    TRUE_POSITIVES,
    confusion,
    rank,
    rank_even,
    yes,
)
from kerascli.ops.ir import Array, Shape

SENSITIVITY = (TRUE_POSITIVES, FALSE_NEGATIVES)
SPECIFICITY = (TRUE_NEGATIVES, FALSE_POSITIVES)
PRECISION = (TRUE_POSITIVES, FALSE_POSITIVES)


class _BestUnderConstraint(Metric):
    """One rate, at its best over those thresholds at which the other one is at least as asked; 0 if there is none."""

    direction = "up"
    held: ClassVar[tuple[str, str]]
    """The cells of the rate that is asked for: a / (a + b)."""
    sought: ClassVar[tuple[str, str]]
    """Those of the figure."""

    num_thresholds: int = Field(default=200, ge=1)
    """How many thresholds to try, evenly from 0 to 1; one alone is 0.5."""
    class_id: int | None = Field(default=None, ge=0)
    """Look at this class alone."""

    def least(self) -> float:
        """What the held rate must reach."""
        raise NotImplementedError

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if self.class_id is not None and self.class_id >= output_shape[-1]:
            return f"there is no class {self.class_id} among {output_shape[-1]} outputs", "classes count from 0"
        return super().problem(target_shape, output_shape)

    def zero(self, shape: Shape) -> Sums:
        cells = (TRUE_POSITIVES, FALSE_POSITIVES, TRUE_NEGATIVES, FALSE_NEGATIVES)
        return {cell: np.zeros(self.num_thresholds) for cell in cells}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        y_true = y_true.reshape(y_pred.shape)
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id, None], y_pred[..., self.class_id, None]
        count = self.num_thresholds
        steps = rank_even(y_pred, count) if count > 1 else rank(y_pred, np.array([0.5], y_pred.dtype))
        found = confusion(yes(y_true, y_pred), steps, weight, count)
        for cell in sums:
            sums[cell] += found[cell][0]

    def result(self, sums: Sums) -> float | Array:
        held, sought = (ratio(sums[a], sums[a] + sums[b]) for a, b in (self.held, self.sought))
        return float(np.where(held >= self.least(), sought, 0).max(initial=0))


class SensitivityAtSpecificity(_BestUnderConstraint):
    """The best recall TP / (TP + FN) among thresholds with a specificity TN / (TN + FP) as asked."""

    held, sought = SPECIFICITY, SENSITIVITY
    examples = (
        Example({"specificity": 0.5}, inputs=((1,), ())),
        Example({"specificity": 0.4, "num_thresholds": 1}, inputs=((1,), (1,))),
    )

    specificity: float = Field(ge=0, le=1)
    """The least share of the no cases that must be told as such."""

    def least(self) -> float:
        return self.specificity


class SpecificityAtSensitivity(_BestUnderConstraint):
    """The best specificity TN / (TN + FP) among thresholds with a recall TP / (TP + FN) as asked."""

    held, sought = SENSITIVITY, SPECIFICITY
    examples = (
        Example({"sensitivity": 0.5}, inputs=((1,), ())),
        Example({"sensitivity": 0.8, "num_thresholds": 20, "class_id": 1}, inputs=((4,), (4,))),
    )

    sensitivity: float = Field(ge=0, le=1)
    """The least share of the yes cases that must be found."""

    def least(self) -> float:
        return self.sensitivity


class PrecisionAtRecall(_BestUnderConstraint):
    """The best precision TP / (TP + FP) among thresholds with a recall TP / (TP + FN) as asked."""

    held, sought = SENSITIVITY, PRECISION
    examples = (
        Example({"recall": 0.5}, inputs=((1,), ())),
        Example({"recall": 0.8, "class_id": 0}, inputs=((3,), (3,))),
    )

    recall: float = Field(ge=0, le=1)
    """The least share of the yes cases that must be found."""

    def least(self) -> float:
        return self.recall


class RecallAtPrecision(_BestUnderConstraint):
    """The best recall TP / (TP + FN) among thresholds with a precision TP / (TP + FP) as asked."""

    held, sought = PRECISION, SENSITIVITY
    examples = (
        Example({"precision": 0.5}, inputs=((1,), ())),
        Example({"precision": 0.3, "num_thresholds": 2}, inputs=((3, 1), (3, 1))),
    )

    precision: float = Field(ge=0, le=1)
    """The least share of the yes answers that must be right."""

    def least(self) -> float:
        return self.precision
