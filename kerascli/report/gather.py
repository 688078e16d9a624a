"""All that a report tells of a run, as data. Whatever cannot be had is said instead of shown, with its reason."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.engine.team import cores
from kerascli.engines import choice
from kerascli.errors import Failure, Problem
from kerascli.files import finite
from kerascli.inspection import Inspection, look_at
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.predictions import Reading, probabilities
from kerascli.preprocessing import Preprocessing
from kerascli.report import samples
from kerascli.report.cards import ModelCard
from kerascli.report.results import Classes, Result, Values, class_ids, counters
from kerascli.report.samples import Shown
from kerascli.run import History
from kerascli.runner import Runner
from kerascli.sources.base import Dataset, Signature, Split
from kerascli.stored import RESOLVED, Stored
from kerascli.training import read_data

ORDER = ("test", "validation", "train")
STREAMED = 1 << 22
"""Output numbers that are predicted before they are taken in."""
NOTES = 200
"""Lines of the log that are shown, the last ones."""
FEWER = 12
"""Mistakes that are shown where they are no pictures: texts and rows are longer."""
_EPOCH = re.compile(r"^\d\d:\d\d:\d\d epoch \d+ ")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Mistake:
    """One sample that the model got wrong."""

    row: int
    """In its split, counted from 1."""
    inputs: tuple[Shown, ...]
    true: str
    predicted: str
    more: str
    """How sure the model was, or how far off."""
    pictures: tuple[Shown, ...] = ()
    """The target and the prediction, where these are pictures."""


@dataclass
class Report:
    """A run, its figures, and why a part is absent, by the part's name."""

    title: str
    path: Path
    run: dict[str, Any]
    """The facts of `run.json`; empty for an exported file."""
    spec: str
    history: list[dict[str, float | None]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Lines of the log, but for those of epochs."""
    model: ModelCard | None = None
    signature: Signature | None = None
    """What the run itself knows of its data."""
    data: Inspection | None = None
    split: str = ""
    weights: str = ""
    results: list[Result] = field(default_factory=list)
    mistakes: dict[str, list[Mistake]] = field(default_factory=dict)
    """By output."""
    absent: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    """What must be known before the figures are believed."""

    @property
    def best(self) -> int | None:
        """The best epoch, counted from 0."""
        best = self.run.get("best_epoch")
        if isinstance(best, int):
            return best
        known = [(row.get("val_loss", row.get("loss")), row["epoch"]) for row in self.history]
        usable = [(value, epoch) for value, epoch in known if value is not None and np.isfinite(value)]
        return int(min(usable)[1] or 0) if usable else None

    @property
    def seconds(self) -> list[float]:
        """Of each epoch."""
        return [row["seconds"] for row in self.history if row.get("seconds") is not None]  # type: ignore[misc]

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each split."""
        known = self.data.samples if self.data else self.signature.sizes if self.signature else {}
        return {name: known[name] for name in reversed(ORDER) if name in known}

    def speed(self) -> dict[str, float]:
        """Seconds, and training samples a second in the epoch of middling speed."""
        if not self.seconds:
            return {}
        middle, size = statistics.median(self.seconds), self.sizes.get("train", 0)
        found = {"epochs": float(len(self.seconds)), "seconds": sum(self.seconds), "seconds_per_epoch": middle}
        return found | ({"samples_per_second": size / middle} if size and middle else {})

    def facts(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "run": str(self.path),
            "status": self.run.get("status"),
            "split": self.split or None,
            "weights": self.weights or None,
            "metrics": self.metrics,
            "expect": self.run.get("expect") or [],
            "best_epoch": self.best,
            "speed": self.speed(),
            "samples": self.sizes,
            "data": asdict(self.data) if self.data else None,
            "results": [result.facts() for result in self.results],
            "warnings": self.warnings,
            "absent": self.absent,
        }


def gather(
    stored: Stored,
    split: str | None = None,
    which: str = "last",
    threads: int | None = None,
    say: Say = print,
    engine: str = "numpy",
) -> Report:
    """Everything about a stored model.

    Only a spec that cannot be read at all is a Failure, a split that is not there, and an engine that cannot compute.
    """
    report = _recorded(stored)
    try:
        model = Model.stored(stored.loaded, stored.signature)
    except Failure as failure:
        reason = _reason(failure)
        report.absent |= dict.fromkeys(("model", "data", "results"), f"The model cannot be built again: {reason}")
        return report
    report.model = ModelCard.of(model)
    report.signature = model.signature
    try:
        data = read_data(model)
    except Failure as failure:
        reason = f"The data cannot be read any more: {_reason(failure)}"
        report.absent |= {"data": reason, "results": reason}
        return report
    splits = {name: part for name in ORDER if (part := getattr(data, name)) is not None}
    chosen = split or next(iter(splits))
    if chosen not in splits:
        raise Failure(Problem("E507", f"the dataset has no {chosen} split", help=f"it has {', '.join(splits)}"))
    runner = choice.runner(engine, model, threads or cores())
    if report.run.get("dataset") not in (None, data.fingerprint):
        report.warnings.append("These data are not those that the run was trained on: their fingerprint is another.")
    natural = {name: splits[name] for name in reversed(ORDER) if name in splits}
    report.data = look_at(stored.loaded, model, data, natural)
    try:
        _evaluate(report, stored, runner, data, splits[chosen], which, say)
        report.split = chosen
    except Failure as failure:
        report.absent["results"] = f"The model cannot be evaluated: {_reason(failure)}"
    return report


# ------------------------------------------------------------------ what the run wrote itself


def _recorded(stored: Stored) -> Report:
    run = stored.run
    if run is None:
        text = stored.attachment(RESOLVED).decode("utf-8", "replace")
        found = Report(stored.path.stem, stored.path, {}, text)
        reason = "An exported model carries no record of its training."
        found.absent |= dict.fromkeys(("curves", "timings", "figures", "environment", "log"), reason)
        return found
    text = _read(run.spec) or _read(run.resolved)
    found = Report(str(run.facts.get("name") or run.name), run.path, run.facts, text)
    found.history = list(History.load(run.history).rows)
    found.notes = [line for line in _read(run.log).splitlines() if not _EPOCH.match(line)][-NOTES:]
    try:
        document = json.loads(_read(run.metrics) or "{}")
        found.metrics = {name: dict(logs) for name, logs in document.items()}
    except (ValueError, TypeError, AttributeError) as error:
        found.absent["figures"] = f"The file metrics.json is damaged: {error}."
    if not found.history:
        found.absent |= dict.fromkeys(("curves", "timings"), "No epoch was completed.")
    if not found.metrics:
        reason = f"The figures of metrics.json are written when training is completed; this run is {run.status}."
        found.absent.setdefault("figures", reason)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _reason(failure: Failure) -> str:
    return "; ".join(problem.message for problem in failure.problems) + "."


# ------------------------------------------------------------------ what the model makes of the data


def _evaluate(
    report: Report,
    stored: Stored,
    runner: Runner,
    data: Dataset,
    split: Split,
    which: str,
    say: Say,
) -> None:
    model = runner.model
    weights, report.weights = _weights(stored, which)
    if report.weights != which:
        say(f"the run has no {which} weights: the {report.weights} ones are evaluated")
    runner.parameters.load(weights)
    found = counters(model, data.preprocessing, split)
    size = sum(prod(model.graph.node(name).shape) for name in found)
    step = model.graph.batch or 1
    rows = max(1, min(8192, STREAMED // max(size, 1)) // step) * step
    with runner.session:
        for start in range(0, len(split), rows):
            part = slice(start, min(start + rows, len(split)))
            outputs = runner.predict({name: np.asarray(x[part]) for name, x in split.inputs.items()})
            for name, counter in found.items():
                counter.add(np.asarray(split.targets[name][part]), outputs[name])
        report.results = [counter.result() for counter in found.values()]
        if not model.graph.batch:
            report.mistakes = {
                result.output: _mistakes(result, runner, split, data.preprocessing) for result in report.results
            }


def _weights(stored: Stored, which: str) -> tuple[dict[str, Array], str]:
    """The weights asked for; of a run that ended before it wrote its last ones, the best so far."""
    run = stored.run
    if run is None:
        return stored.weights(which), "last"
    if which == "best" and not run.best_weights.is_file():
        which = "last"
    elif which == "last" and not run.weights.is_file() and run.best_weights.is_file():
        which = "best"
    if which == "last" and not run.weights.is_file():
        raise Failure(Problem("E503", f"the run wrote no weights; its status is {run.status}", run.path))
    return stored.weights(which), which


def _mistakes(result: Result, runner: Runner, split: Split, preprocessing: Preprocessing) -> list[Mistake]:
    """The worst samples once more, one by one."""
    reading = _reading(result, runner.model)
    pictures = any(samples.is_picture(x.shape[1:], x.dtype.name) for x in split.inputs.values())
    found = []
    for row in result.worst.row[: None if pictures else FEWER].tolist():
        inputs = {name: np.asarray(x[row : row + 1]) for name, x in split.inputs.items()}
        output = runner.predict(inputs)[result.output]
        truth = np.asarray(split.targets[result.output][row : row + 1])
        shown = tuple(samples.shown({name: x[0] for name, x in inputs.items()}, preprocessing))
        if reading is not None and isinstance(result, Classes):
            found.append(_wrong_class(row, shown, result, reading, truth, output))
        else:
            found.append(_wrong_number(row, shown, truth[0], output[0]))
    return found


def _reading(result: Result, model: Model) -> Reading | None:
    if isinstance(result, Values):
        return None
    goal = next(goal for goal in model.objective.goals if goal.output == result.output)
    shape = model.graph.node(result.output).shape
    kind = "classes" if shape and shape[-1] == len(result.names) else "binary"
    return Reading(result.output, kind, result.names, bool(getattr(goal.loss, "from_logits", False)))


def _wrong_class(
    row: int, shown: tuple[Shown, ...], result: Classes, reading: Reading, truth: Array, output: Array
) -> Mistake:
    binary = reading.kind == "binary"
    p = probabilities(reading, output.reshape(-1) if binary else output.reshape(-1, len(result.names)))
    true, guess = class_ids(truth, binary, len(p)), p.argmax(axis=1)
    if len(p) > 1:
        wrong = int((true != guess).sum())
        more = f"{wrong:,} of {len(p):,} decisions are wrong"
        if not result.labels:
            return Mistake(row + 1, shown, "", "", more)
        told = (", ".join(name for name, yes in zip(result.labels, ids, strict=True) if yes) for ids in (true, guess))
        meant, found = (each or "none" for each in told)
        return Mistake(row + 1, shown, meant, found, more)
    k, g = int(true[0]), int(guess[0])
    more = f"gave {_share(p[0, g])} to {result.names[g]}, and {_share(p[0, k])} to {result.names[k]}"
    return Mistake(row + 1, shown, result.names[k], result.names[g], more)


def _wrong_number(row: int, shown: tuple[Shown, ...], truth: Array, output: Array) -> Mistake:
    truth = truth.reshape(output.shape)
    far = float(np.abs(output.astype(np.float64) - truth).mean())
    if samples.is_picture(output.shape, "float32"):
        pictures = samples.picture("target", truth), samples.picture("prediction", output)
        return Mistake(row + 1, shown, "", "", f"mean absolute error {far:.4g}", pictures)
    return Mistake(row + 1, shown, _numbers(truth), _numbers(output), f"off by {far:.4g}")


def _numbers(values: Array) -> str:
    flat = [samples.number(float(v)) for v in values.reshape(-1)[:8]]
    return ", ".join(flat) + (", …" if values.size > 8 else "")


def _share(p: float) -> str:
    return f"{100 * p:.1f} %" if p >= 0.0005 else "less than 0.1 %"


def document(report: Report) -> dict[str, Any]:
    """The facts as strict JSON: NaN is text."""
    found: dict[str, Any] = finite(report.facts())
    return found
