"""Counts of right and wrong yes/no answers at one or several thresholds, and precision and recall made of them.

An output above the threshold says yes; targets are taken as yes where they are not 0. Outputs of several axes are
flattened, so that without `class_id` every class of every sample is one answer.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from kerascli.component import Example, as_tuple
from kerascli.metrics.base import Metric, Sums, ratio, trailing
from kerascli.ops.ir import Array, Shape

Threshold = Annotated[float, Field(ge=0, le=1)]
Thresholds = Annotated[Threshold | tuple[Threshold, ...] | None, BeforeValidator(as_tuple)]
"""One threshold, several, or Keras's default."""
Floats = Annotated[tuple[float, ...] | None, BeforeValidator(as_tuple)]

TRUE_POSITIVES, FALSE_POSITIVES = "true_positives", "false_positives"
TRUE_NEGATIVES, FALSE_NEGATIVES = "true_negatives", "false_negatives"


class _Confusion(Metric):
    """Sums of the weights of some of the four cells of the confusion matrix, one for each threshold."""

    cells: ClassVar[tuple[str, ...]] = ()

    thresholds: Thresholds = None
    """Outputs above it are a yes; several give a list of results; by default 0.5, and with `top_k` none."""

    def levels(self) -> tuple[float, ...]:
        """The thresholds in the order given."""
        if self.thresholds is None:
            return (0.5,)
        return self.thresholds if isinstance(self.thresholds, tuple) else (self.thresholds,)

    def zero(self, shape: Shape) -> Sums:
        return {cell: np.zeros(len(self.levels())) for cell in self.cells}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        levels = np.asarray(self.levels(), y_pred.dtype)
        order = np.argsort(levels, kind="stable")
        steps = rank_even(y_pred, len(levels)) if evenly_spread(levels) else rank(y_pred, levels[order])
        found = confusion(yes(y_true, y_pred), steps, weight, len(levels))
        for cell in self.cells:
            sums[cell][order] += found[cell][0]

    def figure(self, sums: Sums) -> Array:
        return sums[self.cells[0]]

    def result(self, sums: Sums) -> float | Array:
        found = self.figure(sums)
        return float(found[0]) if len(found) == 1 else found


class TruePositives(_Confusion):
    """How many yes answers are right."""

    cells = (TRUE_POSITIVES,)
    direction = "up"
    examples = (Example(inputs=((1,), (1,))), Example({"thresholds": [0.3, 0.9]}, inputs=((4,), (4,))))


class TrueNegatives(_Confusion):
    """How many no answers are right."""

    cells = (TRUE_NEGATIVES,)
    direction = "up"
    examples = (Example(inputs=((1,), ())),)


class FalsePositives(_Confusion):
    """How many yes answers are wrong."""

    cells = (FALSE_POSITIVES,)
    direction = "down"
    examples = (Example({"thresholds": [0.0, 0.5, 1.0]}, inputs=((1,), (1,))),)


class FalseNegatives(_Confusion):
    """How many no answers are wrong."""

    cells = (FALSE_NEGATIVES,)
    direction = "down"
    examples = (Example({"thresholds": 0.7}, inputs=((3, 1), (3, 1))),)


class _ShareOfTruePositives(_Confusion):
    direction = "up"

    top_k: int | None = Field(default=None, ge=1)
    """Count only the `top_k` largest outputs of a sample as a yes; of equal ones, those that come first."""
    class_id: int | None = Field(default=None, ge=0)
    """Look at this class alone."""

    def levels(self) -> tuple[float, ...]:
        return (-1e10,) if self.thresholds is None and self.top_k else super().levels()

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if self.class_id is not None and self.class_id >= output_shape[-1]:
            return f"there is no class {self.class_id} among {output_shape[-1]} outputs", "classes count from 0"
        if self.top_k and self.top_k > output_shape[-1]:
            return f"the top {self.top_k} of {output_shape[-1]} outputs cannot be taken", "lower `top_k`"
        return super().problem(target_shape, output_shape)

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        y_true = y_true.reshape(y_pred.shape)
        if self.top_k is not None:
            y_pred = np.where(among_top(y_pred, self.top_k), y_pred, np.asarray(-1e10, y_pred.dtype))
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id, None], y_pred[..., self.class_id, None]
        super().add(sums, y_true, y_pred, weight)

    def figure(self, sums: Sums) -> Array:
        right, wrong = (sums[cell] for cell in self.cells)
        return ratio(right, right + wrong)


class Precision(_ShareOfTruePositives):
    """How many of the yes answers are right: TP / (TP + FP)."""

    cells = (TRUE_POSITIVES, FALSE_POSITIVES)
    examples = (
        Example(inputs=((1,), ())),
        Example({"thresholds": [0.2, 0.6]}, inputs=((1,), (1,))),
        Example({"top_k": 2}, inputs=((4,), (4,))),
        Example({"class_id": 1, "thresholds": 0.4}, inputs=((3, 4), (3, 4))),
    )


class Recall(_ShareOfTruePositives):
    """How many of the true cases are found: TP / (TP + FN)."""

    cells = (TRUE_POSITIVES, FALSE_NEGATIVES)
    examples = (
        Example(inputs=((1,), ())),
        Example({"thresholds": [0.2, 0.6]}, inputs=((1,), (1,))),
        Example({"top_k": 2, "class_id": 0}, inputs=((4,), (4,))),
    )


def yes(y_true: Array, y_pred: Array) -> Array:
    return y_true.reshape(y_pred.shape).astype(bool, copy=False)


def among_top(scores: Array, k: int) -> Array:
    """Whether each score is one of the k largest of its row; of equal ones the first."""
    best = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    found = np.zeros(scores.shape, bool)
    np.put_along_axis(found, best, True, axis=-1)
    return found


def rank(scores: Array, levels: Array) -> Array:
    """How many of the rising levels lie below each score; none below NaN."""
    if len(levels) == 1:
        return np.asarray(np.greater(scores, levels[0]), np.int64)
    return np.asarray(np.searchsorted(levels, np.fmax(scores, -np.inf), side="left"))


def rank_even(scores: Array, levels: int) -> Array:
    """The same for levels 0, 1/(n-1), … 1, by one product as Keras does it (its rounding differs from a comparison)."""
    inside = np.fmin(np.fmax(scores, 0), 1)
    return np.asarray(np.ceil(inside * scores.dtype.type(levels - 1)), np.int64)


def evenly_spread(levels: Array) -> bool:
    """Whether there are at least three, evenly from 0 to 1, in this order."""
    return len(levels) >= 3 and np.allclose(levels, np.arange(len(levels)) / (len(levels) - 1), atol=1e-7)


def confusion(
    label: Array, steps: Array, weight: Array | None, levels: int, by_column: bool = False
) -> dict[str, Array]:
    """The four cells, (columns or 1, levels), from labels and from how many levels lie below each score.

    One count of (column, label, steps) and sums over it take the place of a comparison for each threshold.
    """
    groups = label.shape[-1] if by_column else 1
    width = levels + 1
    place = steps + width * label
    if by_column:
        place = place + 2 * width * np.arange(groups)
    weights = None if weight is None else np.broadcast_to(trailing(weight, label.ndim), label.shape).ravel()
    counts = np.bincount(place.ravel(), weights, 2 * width * groups).reshape(groups, 2, width).astype(np.float64)
    above = counts[..., ::-1].cumsum(-1)[..., -2::-1]
    below = counts.sum(-1, keepdims=True) - above
    return {
        TRUE_POSITIVES: above[:, 1],
        FALSE_POSITIVES: above[:, 0],
        TRUE_NEGATIVES: below[:, 0],
        FALSE_NEGATIVES: below[:, 1],
    }
