"""What the page says of each result: sentences and rows of tables, from the measured numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kerascli.report import charts, measures
from kerascli.report.gather import Mistake, Report
from kerascli.report.measures import Curve
from kerascli.report.results import Classes, Result, Values

TABLE = 20
"""Classes of a confusion matrix that is written as a table; of more it is drawn."""
DRAWN = 10
"""Curves in one chart; of more classes the worst are drawn."""
UPRIGHT = 60
"""Characters of all names from which those above the columns of a confusion matrix stand upright."""
DEPTH = 0.5
"""Opacity of a field with all samples of its row; its text stays readable."""

Picture = tuple[str, str]
"""An SVG, and what it shows."""
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Caption, head, rows."""


@dataclass
class Cell:
    """A field of the confusion matrix."""

    count: str
    share: str
    depth: str
    hit: bool


@dataclass
class Row:
    name: str
    cells: list[Cell]


@dataclass
class Section:
    """One output on the page."""

    output: str
    words: str
    names: Sequence[str] = ()
    matrix: list[Row] = field(default_factory=list)
    matrix_words: str = ""
    heat: str = ""
    tilted: bool = False
    """Whether the names above the columns stand upright, for they are long."""
    confusions: Table | None = None
    charts: list[Picture] = field(default_factory=list)
    table: Table | None = None
    labels: Table | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    mistake_words: str = ""
    wide: bool = False


def section(result: Result, report: Report) -> Section:
    """One output's part of the page."""
    found = _classes(result) if isinstance(result, Classes) else _values(result)
    found.mistakes = report.mistakes.get(result.output, [])
    found.wide = any(not shown.picture for mistake in found.mistakes for shown in mistake.inputs)
    count, all_of = len(found.mistakes), f"of the {report.split} data"
    if isinstance(result, Values):
        why = "with the largest error"
    elif result.decisions + result.left_out != result.samples:
        why = "with the most, and the surest, wrong decisions"
    else:
        why = "whose true class got the least"
    found.mistake_words = f"Here are the {count} samples {all_of} {why}, the worst first."
    if count == 1:
        found.mistake_words = f"Here is the one sample {all_of} that is wrong."
    return found


# ------------------------------------------------------------------ classes


def _classes(result: Classes) -> Section:
    figures = measures.per_class(result.counts)
    each = "sample" if result.decisions + result.left_out == result.samples else "decision"
    right = int(result.counts.trace())
    words = f"Of {result.decisions:,} {each}s {right:,} are right: an accuracy of {number(result.accuracy)}."
    if each == "decision":
        words += f" Every one of the {result.samples:,} samples takes several decisions, which are counted together."
    if result.left_out:
        words += f" {result.left_out:,} {each}s are left out: the prediction is no number, or no class is meant."
    found = Section(result.output, words, result.names)
    found.matrix_words = "Confusion matrix: a row for each true class, a column for each predicted one; "
    if len(result.names) <= TABLE:
        found.matrix_words += "counts, and their share of the row. Right predictions are framed."
        found.matrix = _matrix(result)
        found.tilted = sum(map(len, result.names)) > UPRIGHT
    else:
        found.matrix_words += "the stronger the colour, the larger the share of its row."
        found.heat = charts.heat(result.counts)
    if len(result.names) > 2 and (pairs := result.confusions()):
        rows = [(result.names[t], result.names[p], f"{n:,}", percent(n / result.counts[t].sum())) for t, p, n in pairs]
        head = ("true class", "predicted class", "times", "of the true class")
        found.confusions = ("The most frequent mistakes.", head, rows)
    found.charts = _class_charts(result)
    found.table = _class_table(result, figures)
    if result.labels:
        each_label = [(name, number(int(n)), *map(number, shown)) for name, n, *shown in result.label_figures()]
        title = "Each label on its own: support is the number of samples that have it."
        found.labels = (title, ("label", "support", "precision", "recall", "F1"), each_label)
    return found


def _matrix(result: Classes) -> list[Row]:
    rows = []
    for k, name in enumerate(result.names):
        total = max(int(result.counts[k].sum()), 1)
        cells = [
            Cell(f"{n:,}", percent(n / total), f"{DEPTH * n / total:.3f}", j == k)
            for j, n in enumerate(result.counts[k].tolist())
        ]
        rows.append(Row(name, cells))
    return rows


def _class_charts(result: Classes) -> list[Picture]:
    found = []
    positive = result.names[1] if result.binary else ""
    if result.calibration is not None and result.calibration.counts.any():
        what = f"the probability of {positive}" if result.binary else "the probability of the predicted class"
        across = "predicted probability"
        error = number(result.calibration.error)
        words = (
            f"Calibration of {what}: how often it came true, in {measures.BINS} bins. "
            f"The expected calibration error is {error}."
        )
        found.append((charts.reliability(result.calibration, across), words))
    part = "" if result.scored == result.decisions else f" They are drawn from {result.scored:,} of the predictions."
    if result.roc:
        drawn, which = _drawn(result, result.roc)
        words = f"ROC: the share of a class that is found, against the share of others taken for it; {which}.{part}"
        svg = charts.thresholds("ROC", drawn, "false positive rate", "true positive rate", None)
        found.append((svg, words))
    if result.precision_recall:
        drawn, which = _drawn(result, result.precision_recall)
        level = float(result.counts[1].sum() / max(result.counts.sum(), 1)) if result.binary else 0.0
        words = f"Precision against recall, by threshold; {which}.{part}"
        found.append((charts.thresholds("precision and recall", drawn, "recall", "precision", level), words))
    return found


def _drawn(result: Classes, curves: dict[int, Curve]) -> tuple[dict[str, Curve], str]:
    """The curves to draw, with names that are not twice there, and which they are."""
    if result.binary:
        (curve,) = curves.values()
        return {result.names[1]: curve}, f"the positive class is {result.names[1]}, the area {number(curve.area)}"
    worst = sorted(curves, key=lambda k: curves[k].area)[:DRAWN]
    mean = sum(curve.area for curve in curves.values()) / len(curves)
    chosen = sorted(worst)
    short = [charts.cut(result.names[k]) for k in chosen]
    names = [name if short.count(name) == 1 else f"class {k}" for k, name in zip(chosen, short, strict=True)]
    which = "each class against all others" if len(curves) <= DRAWN else f"the {DRAWN} classes with the least area"
    return dict(zip(names, (curves[k] for k in chosen), strict=True)), f"{which}; the mean area is {number(mean)}"


def _class_table(result: Classes, figures: measures.PerClass) -> Table:
    areas = {k: (result.roc.get(k), result.precision_recall.get(k)) for k in range(len(result.names))}
    rows = []
    for k, name in enumerate(result.names):
        curves = [number(curve.area) if curve else "–" for curve in areas[k]]
        shown = [number(float(v[k])) for v in (figures.precision, figures.recall, figures.f1)]
        rows.append((name, f"{int(figures.support[k]):,}", *shown, *curves))
    means = [number(measures.mean(v)) for v in (figures.precision, figures.recall, figures.f1)]
    rows.append(("mean of the classes", f"{int(figures.support.sum()):,}", *means, "", ""))
    head = ("class", "support", "precision", "recall", "F1", "ROC area", "average precision")
    return "Precision, recall and F1 of each class; support is the number of its samples.", head, rows


# ------------------------------------------------------------------ numbers


def _values(result: Values) -> Section:
    if not result.errors.count:
        return Section(result.output, "No prediction is a number: the training has come to NaN or infinity.")
    overall = result.errors.overall()
    words = (
        f"On {result.errors.count:,} samples the mean absolute error is {number(overall['mean_absolute_error'])} "
        f"and the root mean squared error {number(overall['root_mean_squared_error'])}. "
    )
    if math.isfinite(overall["r2"]):
        words += f"R² is {number(overall['r2'])}: 1 is perfect, 0 is no better than the mean of the targets. "
    words += f"The mean error is {number(overall['mean_error'])}, the largest {number(overall['largest_error'])}."
    if result.left_out:
        words += f" {result.left_out:,} samples are left out, for their prediction is no number."
    found = Section(result.output, words)
    part = "" if result.true.size <= charts.SHOWN_POINTS else " The points are a selection by chance."
    found.charts = [
        (charts.against(result.true, result.predicted), f"Predicted against true; the line is perfect.{part}"),
        (
            charts.residuals(result.true, result.predicted),
            f"The error of each prediction; a pattern is something not learnt.{part}",
        ),
        (charts.spread(result.true, result.predicted), "How large the errors are, and how often."),
    ]
    if len(result.columns) > 1:
        columns = result.errors.columns()
        head = ("number", "mean absolute error", "root mean squared error", "R²", "mean error", "largest error")
        rows = [(name, *(number(float(v[k])) for v in columns.values())) for k, name in enumerate(result.columns)]
        found.table = ("The errors of each number of the prediction.", head, rows)
    return found


# ------------------------------------------------------------------ numbers as text


def number(value: Any) -> str:
    """Four digits; a dash for what is not defined or not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100_000 and math.isfinite(value) else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float) -> str:
    shown = 100 * share
    return f"{shown:.0f} %" if shown in (0, 100) or 10 <= shown < 99.5 else f"{shown:.1f} %"
