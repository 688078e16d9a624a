"""Figures of predictions, in plain NumPy: confusion, precision and recall, calibration, ROC, errors of numbers.

Shapes: n predictions, C classes, K bins, D numbers of a prediction. What is not defined, such as the precision of a
class that was never predicted, is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kerascli.ops.ir import Array

BINS = 10
"""Of the reliability diagram: probabilities from 0 to 0.1, and so on."""


def confusion(true: Array, predicted: Array, classes: int) -> Array:
    """How often each class (rows) was taken for each (columns). Shapes: (n,), (n,) → (C, C) int64."""
    counts: Array = np.bincount(true.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


@dataclass(frozen=True)
class PerClass:
    """Figures of each class. Shapes: (C,)."""

    precision: Array
    """Of the predictions of a class, the share that is right."""
    recall: Array
    """Of the samples of a class, the share that is found."""
    f1: Array
    """2 · hits / (predicted + present): the harmonic mean of both."""
    support: Array
    """Samples of the class."""


def per_class(counts: Array) -> PerClass:
    """Figures from a confusion matrix (C, C)."""
    hits, present, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return PerClass(ratio(hits, predicted), ratio(hits, present), ratio(2 * hits, predicted + present), present)


def ratio(a: Array, b: Array) -> Array:
    """a / b, NaN where b is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(b != 0, np.asarray(a, float) / b, np.nan)
    return found


def mean(values: Array) -> float:
    """Of the values that are defined; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


@dataclass
class Calibration:
    """Whether probabilities mean what they say: in each bin, the mean probability against how often it came true.

    expected calibration error = Σ n_k / n · |share that came true in bin k − mean probability in bin k|
    """

    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))
    probability: Array = field(default_factory=lambda: np.zeros(BINS))
    """Sums in each bin."""
    came_true: Array = field(default_factory=lambda: np.zeros(BINS))

    def add(self, probability: Array, came_true: Array) -> None:
        """Shapes: (n,) of 0 to 1, (n,) of booleans."""
        bins = np.clip((probability * BINS).astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)
        self.probability += np.bincount(bins, probability, BINS)
        self.came_true += np.bincount(bins, came_true.astype(float), BINS)

    @property
    def mean_probability(self) -> Array:
        return ratio(self.probability, self.counts)

    @property
    def observed(self) -> Array:
        return ratio(self.came_true, self.counts)

    @property
    def error(self) -> float:
        """The expected calibration error."""
        total = self.counts.sum()
        return float(np.abs(self.came_true - self.probability).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Curve:
    """Points of a curve and the area under it."""

    x: Array
    y: Array
    area: float


def roc(positive: Array, score: Array) -> Curve | None:
    """False positive rate (x), true positive rate (y), for every threshold; None where a class is absent.

    The area is the chance that a positive sample scores higher than a negative one, ties counting half.
    """
    hits, false = _cumulated(positive, score)
    if not hits[-1] or not false[-1]:
        return None
    x, y = false / false[-1], hits / hits[-1]
    return Curve(x, y, float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2))


def precision_recall(positive: Array, score: Array) -> Curve | None:
    """Recall (x), precision (y), for every threshold; None where no sample is positive.

    The area is the average precision: Σ (recall_k − recall_{k−1}) · precision_k, without interpolation.
    """
    hits, false = (each[1:] for each in _cumulated(positive, score))
    if not hits.size or not hits[-1]:
        return None
    recall, precision = hits / hits[-1], hits / (hits + false)
    area = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    return Curve(np.append(0.0, recall), np.append(precision[0], precision), area)


def _cumulated(positive: Array, score: Array) -> tuple[Array, Array]:
    """Positive and negative samples at or above each distinct score, the highest first, after a pair of zeros."""
    order = np.argsort(-score, kind="stable")
    ranked, right = score[order], positive[order].astype(bool)
    last = np.append(np.nonzero(np.diff(ranked))[0], ranked.size - 1) if ranked.size else np.zeros(0, np.int64)
    hits = np.cumsum(right)[last]
    return np.append(0, hits), np.append(0, last + 1 - hits)


def thinned(curve: Curve, most: int = 150) -> Curve:
    """The same curve with at most so many points, evenly along its way; its area is kept as it was."""
    if curve.x.size <= most:
        return curve
    way = np.append(0.0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y))))
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], most)).clip(0, way.size - 1))
    return Curve(curve.x[kept], curve.y[kept], curve.area)


@dataclass
class Errors:
    """How far numbers are from the true ones. Sums over samples for each of the D numbers of a prediction."""

    count: int = 0
    sums: dict[str, Array] = field(default_factory=dict)
    origin: Array | None = None
    """The first truth, which variances are taken from: sums of large squares would cancel."""

    def add(self, true: Array, predicted: Array) -> None:
        """Shapes: (n, D), (n, D)."""
        true, error = true.astype(np.float64), predicted.astype(np.float64) - true
        if self.origin is None:
            self.origin = true[0]
        away = true - self.origin
        for name, values in (
            ("error", error),
            ("absolute", np.abs(error)),
            ("square", error**2),
            ("true", away),
            ("true_square", away**2),
        ):
            self.sums[name] = self.sums.get(name, 0.0) + values.sum(0)
        self.sums["largest"] = np.maximum(self.sums.get("largest", 0.0), np.abs(error).max(0))
        self.count += len(true)

    def columns(self) -> dict[str, Array]:
        """Figures of each number. Shapes: (D,)."""
        n, sums = self.count, self.sums
        return {
            "mean_absolute_error": sums["absolute"] / n,
            "root_mean_squared_error": np.sqrt(sums["square"] / n),
            "r2": 1 - ratio(sums["square"], self._variation()),
            "mean_error": sums["error"] / n,
            "largest_error": sums["largest"],
        }

    def overall(self) -> dict[str, float]:
        """Figures of all numbers together."""
        found = self.columns()
        return {
            "mean_absolute_error": float(found["mean_absolute_error"].mean()),
            "root_mean_squared_error": float(np.sqrt(np.mean(found["root_mean_squared_error"] ** 2))),
            "r2": float(1 - ratio(self.sums["square"].sum(), self._variation().sum())),
            "mean_error": float(found["mean_error"].mean()),
            "largest_error": float(found["largest_error"].max()),
        }

    def _variation(self) -> Array:
        """Σ (true − mean)² of each number; what is left of rounding alone is no variation."""
        squares = self.sums["true_square"]
        found: Array = squares - self.sums["true"] ** 2 / self.count
        return np.where(found > 1e-12 * squares, found, 0.0)
