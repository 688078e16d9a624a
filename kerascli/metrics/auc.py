"""The area under a curve of two rates, traced by moving the threshold."""

from functools import cache
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from kerascli.component import Example
from kerascli.metrics.base import Metric, Sums, ratio
from kerascli.metrics.confusion import (
    FALSE_NEGATIVES,
    FALSE_POSITIVES,
    TRUE_NEGATIVES,
    TRUE_POSITIVES,
    Floats,
    confusion,
    evenly_spread,
    rank,
    rank_even,
    yes,
)
from kerascli.ops.ir import Array, Shape

EPSILON = 1e-7
CELLS = (TRUE_POSITIVES, FALSE_POSITIVES, TRUE_NEGATIVES, FALSE_NEGATIVES)


class AUC(Metric):
    """The area under the ROC, precision-recall or gain curve, as a Riemann sum over thresholds.

    ROC: recall over FP / (FP + TN). PR: precision over recall. PRGAIN: their gains (Flach and Kull, 2015).
    Source: the interpolated PR area follows Davis and Goadrich (2006).
    """

    direction = "up"

    num_thresholds: int = Field(default=200, ge=2)
    """How many thresholds, evenly from 0 to 1."""
    curve: Literal["ROC", "PR", "PRGAIN", "roc", "pr", "prgain"] = "ROC"
    """Which curve."""
    summation_method: Literal["interpolation", "minoring", "majoring", "Interpolation", "Minoring", "Majoring"] = (
        "interpolation"
    )
    """How the curve runs between thresholds: straight, along the lower or along the higher end."""
    thresholds: Floats = None
    """Thresholds of your own, to which 0 and 1 are added; then `num_thresholds` does not count."""
    multi_label: bool = False
    """Whether each output is a label with a curve of its own; the areas are then averaged."""
    num_labels: int | None = Field(default=None, ge=1)
    """How many labels there are with `multi_label`; by default as many as outputs."""
    label_weights: Floats = None
    """A weight for each label: of its area with `multi_label`, else of its answers."""
    from_logits: bool = False
    """Whether outputs are logits, which a sigmoid makes probabilities."""

    examples = (
        Example(inputs=((1,), ())),
        Example({"curve": "PR"}, inputs=((1,), (1,))),
        Example({"curve": "PR", "summation_method": "minoring", "num_thresholds": 20}, inputs=((1,), (1,))),
        Example({"curve": "PRGAIN", "summation_method": "majoring"}, inputs=((1,), (1,))),
        Example({"thresholds": [0.1, 0.15, 0.8]}, inputs=((4,), (4,))),
        Example({"multi_label": True, "label_weights": [0.2, 0.3, 0.5]}, inputs=((3,), (3,))),
        Example({"label_weights": [0.2, 0.3, 0.5], "from_logits": True}, inputs=((3,), (3,))),
    )

    @model_validator(mode="after")
    def _labels_with_multi_label(self) -> Self:
        if self.num_labels and not self.multi_label:
            raise ValueError("`num_labels` is only for `multi_label: true`")
        return self

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        if self.multi_label and len(output_shape) != 1:
            return f"AUC with `multi_label` wants one axis of labels and gets {output_shape}", "flatten the output"
        wanted = {len(self.label_weights or output_shape[-1:] * output_shape[-1]), self.num_labels or output_shape[-1]}
        if wanted != {output_shape[-1]}:
            return (
                f"AUC is set up for {' and '.join(map(str, sorted(wanted - {output_shape[-1]})))} labels, "
                f"and there are {output_shape[-1]} outputs",
                "give `num_labels` and `label_weights` the number of outputs",
            )
        return super().problem(target_shape, output_shape)

    def zero(self, shape: Shape) -> Sums:
        levels = len(_levels(self.num_thresholds, self.thresholds)[0])
        size = (levels, self.num_labels or shape[-1]) if self.multi_label else (levels,)
        return {cell: np.zeros(size) for cell in CELLS}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        levels, even = _levels(self.num_thresholds, self.thresholds)
        if self.from_logits:
            y_pred = 0.5 * np.tanh(0.5 * y_pred) + 0.5
        steps = np.maximum(rank_even(y_pred, len(levels)), 1) if even else rank(y_pred, levels.astype(y_pred.dtype))
        if self.label_weights is not None and not self.multi_label:
            weight = _times(weight, np.asarray(self.label_weights), y_pred.shape)
        found = confusion(yes(y_true, y_pred), steps, weight, len(levels), by_column=self.multi_label)
        for cell in CELLS:
            sums[cell] += found[cell].T if self.multi_label else found[cell][0]

    def result(self, sums: Sums) -> float | Array:
        areas = self._areas(*(sums[cell] for cell in CELLS)).sum(0)
        if not self.multi_label:
            return float(areas)
        if self.label_weights is None:
            return float(areas.mean())
        weights = np.asarray(self.label_weights)
        return float(ratio(np.asarray((areas * weights).sum()), weights.sum()))

    def _areas(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        """The area between each threshold and the next."""
        curve, method = self.curve.upper(), self.summation_method.lower()
        if curve == "PR" and method == "interpolation":
            return _interpolated_pr(tp, fp, fn)
        recall = ratio(tp, tp + fn)
        if curve == "ROC":
            x, y = ratio(fp, fp + tn), recall
        elif curve == "PR":
            x, y = recall, ratio(tp, tp + fp)
        else:
            x, y = _gains(tp, fp, tn, fn)
        rise: dict[str, Array] = {
            "interpolation": (y[:-1] + y[1:]) / 2,
            "minoring": np.minimum(y[:-1], y[1:]),
            "majoring": np.maximum(y[:-1], y[1:]),
        }
        return (x[:-1] - x[1:]) * rise[method]


@cache
def _levels(number: int, own: tuple[float, ...] | None) -> tuple[Array, bool]:
    """The thresholds, rising, and whether they are even; the ends lie outside, where rounding cannot cross them."""
    inner = sorted(own) if own is not None else np.linspace(0, 1, number)[1:-1]
    levels = np.array([-EPSILON, *inner, 1 + EPSILON])
    return levels, own is None or evenly_spread(levels)


def _times(weight: Array | None, label_weights: Array, shape: Shape) -> Array:
    labels = np.broadcast_to(label_weights, shape)
    return labels if weight is None else labels * weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))


def _gains(tp: Array, fp: Array, tn: Array, fn: Array) -> tuple[Array, Array]:
    """Recall gain and precision gain; with no true positives they are 0 and 1, and recall gain is never negative."""
    odds = ratio(tp + fn, tn + fp)
    none = tp == 0
    recall_gain = np.where(none, 0.0, 1 - odds * ratio(fn, tp))
    return np.maximum(recall_gain, 0), np.where(none, 1.0, 1 - odds * ratio(fp, tp))


def _interpolated_pr(tp: Array, fp: Array, fn: Array) -> Array:
    """True and false positives taken as linear between thresholds, precision integrated in closed form.

    slope · (ΔTP + intercept · log(P_a / P_b)) / positives, with P = TP + FP, slope = ΔTP / ΔP,
    intercept = TP_b - slope · P_b; the logarithm is left out where P is 0 at an end.
    """
    p = tp + fp
    gained = tp[:-1] - tp[1:]
    slope = ratio(gained, np.maximum(p[:-1] - p[1:], 0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    growth = np.where(both, ratio(p[:-1], np.maximum(p[1:], 0)), 1.0)
    return ratio(slope * (gained + intercept * np.log(growth)), np.maximum(tp[1:] + fn[1:], 0))
