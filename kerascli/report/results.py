"""What a model's predictions come to, gathered as they stream by: memory does not grow with the data.

Counts and sums take in every sample. Curves over thresholds and plots of single values need the values themselves:
of large data only some are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from kerascli.model import Model
from kerascli.objective import Goal
from kerascli.ops.ir import Array
from kerascli.predictions import Reading, probabilities, readings
from kerascli.preprocessing import Preprocessing
from kerascli.report import measures
from kerascli.report.measures import Calibration, Curve, Errors
from kerascli.sources.base import Split
from kerascli.sources.rows import Samples

KEPT_SCORES = 4_000_000
"""Probabilities that are kept for curves over thresholds."""
KEPT_VALUES = 10_000
"""Pairs of true and predicted numbers that are kept for plots."""
KEPT_WORST = 24
"""Mistakes that are shown."""
LOOKED_AT = 1024
"""Targets that are read at a time."""
MOST_COLUMNS = 64
"""Numbers of a prediction that are measured one by one; of more, such as pictures, only all together."""

Facts = dict[str, Any]


@dataclass
class Worst:
    """The samples with the largest faults, the worst first."""

    fault: Array = field(default_factory=lambda: np.zeros(0))
    row: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, first: int, fault: Array) -> None:
        """The faults of samples `first`, `first + 1`, …; 0 and less is none."""
        rows = np.nonzero(fault > 0)[0]
        all_faults = np.append(self.fault, fault[rows])
        order = np.argsort(-all_faults, kind="stable")[:KEPT_WORST]
        self.fault, self.row = all_faults[order], np.append(self.row, first + rows)[order]


@dataclass(frozen=True)
class Classes:
    """The result of an output that chooses between classes."""

    output: str
    names: tuple[str, ...]
    samples: int
    decisions: int
    """As many as samples, unless each sample has several, such as the pixels of a picture."""
    left_out: int
    """Predictions that are no numbers, and targets that no class stands for."""
    counts: Array
    calibration: Calibration | None
    """None where the outputs are no probabilities."""
    roc: dict[int, Curve]
    precision_recall: dict[int, Curve]
    """By class; of two classes only that of the second, the positive one."""
    scored: int
    """Decisions that these curves are drawn from."""
    worst: Worst
    labels: tuple[str, ...] = ()
    """Names of the decisions that every sample takes, where they are few: is it urgent, is it about a refund."""
    by_label: Array = field(default_factory=lambda: np.zeros((0, 2, 2), np.int64))
    """(labels, true, predicted): the counts of each."""

    @property
    def binary(self) -> bool:
        return len(self.names) == 2

    @property
    def accuracy(self) -> float:
        return float(measures.ratio(self.counts.trace(), self.counts.sum()))

    def label_figures(self) -> Iterator[tuple[str, float, float, float, float]]:
        """(name, support, precision, recall, F1) of each label: how well its yes is found."""
        for name, counts in zip(self.labels, self.by_label, strict=True):
            found = measures.per_class(counts)
            yield name, float(found.support[1]), float(found.precision[1]), float(found.recall[1]), float(found.f1[1])

    def confusions(self, most: int = 10) -> list[tuple[int, int, int]]:
        """(true, predicted, times) of the most frequent mistakes."""
        wrong = self.counts * (1 - np.eye(len(self.names), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [(int(k) // len(self.names), int(k) % len(self.names)) for k in order]
        return [(true, predicted, int(wrong[true, predicted])) for true, predicted in places if wrong[true, predicted]]

    def facts(self) -> Facts:
        """As plain data."""
        figures, calibration = measures.per_class(self.counts), self.calibration
        return {
            "output": self.output,
            "kind": "classes",
            "samples": self.samples,
            "decisions": self.decisions,
            "left_out": self.left_out,
            "accuracy": self.accuracy,
            "macro_f1": measures.mean(figures.f1),
            "classes": [
                {
                    "name": name,
                    "support": int(figures.support[k]),
                    "precision": float(figures.precision[k]),
                    "recall": float(figures.recall[k]),
                    "f1": float(figures.f1[k]),
                    "roc_auc": self.roc[k].area if k in self.roc else None,
                    "average_precision": self.precision_recall[k].area if k in self.precision_recall else None,
                }
                for k, name in enumerate(self.names)
            ],
            "labels": [
                {"name": name, "support": int(support), "precision": float(p), "recall": float(r), "f1": float(f)}
                for name, support, p, r, f in self.label_figures()
            ],
            "confusion": self.counts.tolist(),
            "expected_calibration_error": calibration.error if calibration else None,
            "calibration": [
                {"count": int(n), "probability": float(p), "observed": float(o)}
                for n, p, o in zip(calibration.counts, calibration.mean_probability, calibration.observed, strict=True)
            ]
            if calibration
            else None,
            "worst": (self.worst.row + 1).tolist(),
        }


@dataclass(frozen=True)
class Values:
    """The result of an output that gives numbers."""

    output: str
    columns: tuple[str, ...]
    """Names of the numbers; empty where they are too many."""
    samples: int
    left_out: int
    errors: Errors
    true: Array
    predicted: Array
    """Pairs, of many some by chance."""
    worst: Worst

    def facts(self) -> Facts:
        """As plain data."""
        found = self.errors.columns() if self.errors.count else {}
        return {
            "output": self.output,
            "kind": "values",
            "samples": self.samples,
            "left_out": self.left_out,
            **(self.errors.overall() if self.errors.count else {}),
            "columns": [
                {"name": name, **{figure: float(values[k]) for figure, values in found.items()}}
                for k, name in enumerate(self.columns)
                if found
            ],
            "worst": (self.worst.row + 1).tolist(),
        }


Result = Classes | Values


@dataclass
class _ClassCounter:
    """Gathers `Classes`."""

    reading: Reading
    ignored: float | None
    rows: int
    """Samples that will come."""
    labels: tuple[str, ...] = ()
    samples: int = 0
    decisions: int = 0
    left_out: int = 0
    proper: bool = True
    """Whether every score was between 0 and 1."""

    def __post_init__(self) -> None:
        count = len(self.reading.names)
        self.counts = np.zeros((count, count), np.int64)
        self.by_label = np.zeros((len(self.labels), 2, 2), np.int64)
        self.calibration, self.worst = Calibration(), Worst()
        self.scores: list[Array] = []
        self.truths: list[Array] = []
        self.stride = 1

    def add(self, truth: Array, output: Array) -> None:
        n, count, first = len(output), len(self.reading.names), self.samples
        binary = self.reading.kind == "binary"
        p = probabilities(self.reading, output.reshape(-1) if binary else output.reshape(-1, count))
        true = class_ids(truth, binary, len(p))
        good = np.isfinite(p).all(axis=1) & (true >= 0) & (true < count)
        if self.ignored is not None:
            good &= true != self.ignored
        guess = np.where(good, np.argmax(np.nan_to_num(p), axis=1), 0)
        true = np.where(good, true, 0)
        each = np.arange(len(p))
        wrong = np.where(good & (guess != true), 1.0 - np.nan_to_num(p[each, true]), 0.0)
        self.counts += measures.confusion(true[good], guess[good], count)
        for k in range(len(self.labels)):
            of_label = good & (each % len(self.labels) == k)
            self.by_label[k] += measures.confusion(true[of_label], guess[of_label], 2)
        self.proper &= bool(np.all(p[good] >= -1e-6) and np.all(p[good] <= 1 + 1e-6))
        if binary or count == 2:
            self.calibration.add(p[good, 1].clip(0, 1), true[good] == 1)
        else:
            self.calibration.add(p[good].max(axis=1, initial=0).clip(0, 1), (guess == true)[good])
        self.worst.add(first, wrong.reshape(n, -1).mean(axis=1))
        if first == 0:
            self.stride = max(1, -(-self.rows * (len(p) // n) * count // KEPT_SCORES))
        kept = good & ((first * (len(p) // n) + each) % self.stride == 0)
        self.scores.append(p[kept].astype(np.float32))
        self.truths.append(true[kept].astype(np.int32))
        self.samples, self.decisions = first + n, self.decisions + int(good.sum())
        self.left_out += int((~good).sum())

    def result(self) -> Classes:
        names = self.reading.names
        scores, truths = np.concatenate(self.scores), np.concatenate(self.truths)
        wanted = [1] if len(names) == 2 else range(len(names))
        curves = {k: (truths == k, scores[:, k]) for k in wanted}
        roc = {k: measures.thinned(c) for k, given in curves.items() if (c := measures.roc(*given))}
        both = {k: measures.thinned(c) for k, given in curves.items() if (c := measures.precision_recall(*given))}
        return Classes(
            self.reading.output,
            names,
            self.samples,
            self.decisions,
            self.left_out,
            self.counts,
            self.calibration if self.proper else None,
            roc,
            both,
            len(truths),
            self.worst,
            self.labels,
            self.by_label,
        )


@dataclass
class _ValueCounter:
    """Gathers `Values`."""

    output: str
    columns: tuple[str, ...]
    rows: int
    samples: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        self.errors, self.worst = Errors(), Worst()
        self.chance = np.random.default_rng(0)
        self.true: list[Array] = []
        self.predicted: list[Array] = []

    def add(self, truth: Array, output: Array) -> None:
        n, first = len(output), self.samples
        predicted, true = output.reshape(n, -1), truth.reshape(n, -1)
        good = np.isfinite(predicted).all(axis=1) & np.isfinite(true).all(axis=1)
        if good.any():
            self.errors.add(true[good], predicted[good])
        fault = np.abs(predicted.astype(np.float64) - true).mean(axis=1)
        self.worst.add(first, np.where(good, fault, 0.0))
        size = predicted.shape[1]
        chosen = self.chance.random(n * size) < KEPT_VALUES / (self.rows * size)
        kept = chosen & np.repeat(good, size)
        self.true.append(true.reshape(-1)[kept])
        self.predicted.append(predicted.reshape(-1)[kept])
        self.samples, self.left_out = first + n, self.left_out + int((~good).sum())

    def result(self) -> Values:
        true, predicted = np.concatenate(self.true), np.concatenate(self.predicted)
        order = self.chance.permutation(true.size)  # the first ones are as good a selection as any
        return Values(
            self.output,
            self.columns,
            self.samples,
            self.left_out,
            self.errors,
            true[order],
            predicted[order],
            self.worst,
        )


Counter = _ClassCounter | _ValueCounter


def counters(model: Model, preprocessing: Preprocessing, split: Split) -> dict[str, Counter]:
    """What gathers the results of each output on a split."""
    goals = zip(model.objective.goals, readings(model), strict=True)
    return {goal.output: _counter(model, goal, reading, preprocessing, split) for goal, reading in goals}


def _counter(model: Model, goal: Goal, reading: Reading, preprocessing: Preprocessing, split: Split) -> Counter:
    """Classes also where a decision is made for each place of a sample, or of two classes without names."""
    rows, shape, loss = len(split), model.graph.node(goal.output).shape, goal.loss
    ignored = getattr(loss, "ignore_class", None)
    if reading.kind in ("classes", "binary"):
        return _ClassCounter(reading, ignored, rows)
    logits = bool(getattr(loss, "from_logits", False))
    count = goal.classes or loss.numbered(shape)
    if hasattr(loss, "from_logits") and count and len(shape) > 1 and shape[-1] == count > 1:
        names = model.signature.targets[goal.output].class_names or tuple(map(str, range(count)))
        return _ClassCounter(Reading(goal.output, "classes", names, logits), ignored, rows)
    if type(loss).__name__.startswith("Binary") and _decided(split.targets[goal.output]):
        own = model.signature.targets[goal.output].class_names if goal.output in model.signature.targets else ()
        labels = own if shape == (len(own),) else _column_names(goal.output, prod(shape), preprocessing)
        several = labels if len(shape) == 1 and len(labels) > 1 else ()
        return _ClassCounter(Reading(goal.output, "binary", ("no", "yes"), logits), ignored, rows, several)
    size = prod(shape)
    return _ValueCounter(goal.output, _column_names(goal.output, size, preprocessing), rows)


def _decided(truth: Samples) -> bool:
    """Whether targets are zeros and ones; grey pixels, which BinaryCrossentropy takes as well, are numbers."""
    blocks = (np.asarray(truth[start : start + LOOKED_AT]) for start in range(0, len(truth), LOOKED_AT))
    return all(bool(((block == 0) | (block == 1)).all()) for block in blocks)


def _column_names(output: str, size: int, preprocessing: Preprocessing) -> tuple[str, ...]:
    if size > MOST_COLUMNS:
        return ()
    layout = preprocessing.targets.get(output)
    columns: Sequence[str] = layout.columns if layout else ()
    return tuple(columns) if len(columns) == size else tuple(f"{output}[{k}]" for k in range(size))


def class_ids(truth: Array, binary: bool, decisions: int) -> Array:
    """Class numbers (decisions,) from numbers or one-hot rows; -1 where there is none."""
    if truth.size == decisions:
        flat = truth.reshape(-1)
        if binary and flat.dtype.kind == "f":
            found: Array = np.where(np.isfinite(flat), flat > 0.5, -1).astype(np.int64)
            return found
        return np.where(np.isfinite(flat), flat, -1).astype(np.int64)
    ids: Array = truth.reshape(decisions, -1).argmax(axis=1)
    return ids
