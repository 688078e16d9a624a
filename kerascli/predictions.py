"""Predictions as people want them: class names with probabilities, in CSV or JSON lines; raw outputs in npy and npz."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerascli import files
from kerascli.errors import Failure, Problem
from kerascli.model import Model
from kerascli.ops.ir import Array

FORMATS = ("csv", "jsonl", "npy", "npz")
Row = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How an output is read."""

    output: str
    kind: str
    """`classes` (one number for each), `binary` (one number for two classes), `labels` (one number for each, and any of
    them may hold), or `values`."""
    names: tuple[str, ...] = ()
    logits: bool = False


def readings(model: Model) -> list[Reading]:
    """For each output: class scores, one probability, those of labels, or plain values."""
    found = []
    for goal in model.objective.goals:
        classes, shape = goal.classes, model.graph.node(goal.output).shape
        names = model.signature.targets[goal.output].class_names or tuple(str(k) for k in range(classes or 0))
        logits = bool(getattr(goal.loss, "from_logits", False))
        if classes and shape == (classes,) and classes > 1:
            found.append(Reading(goal.output, "classes", names, logits))
        elif classes == 2 and shape in ((1,), ()) and hasattr(goal.loss, "from_logits"):
            found.append(Reading(goal.output, "binary", names, logits))
        elif not classes and names and shape == (len(names),) and hasattr(goal.loss, "from_logits"):
            found.append(Reading(goal.output, "labels", names, logits))
        else:
            found.append(Reading(goal.output, "values"))
    return found


def probabilities(reading: Reading, scores: Array) -> Array:
    """(n, classes) probabilities from an output's numbers."""
    scores = scores.astype(np.float64)
    if reading.kind == "binary":
        p = scores.reshape(len(scores))
        p = 1 / (1 + np.exp(-p)) if reading.logits else p
        return np.stack([1 - p, p], axis=1)
    if reading.kind == "labels":
        return 1 / (1 + np.exp(-scores)) if reading.logits else scores
    if reading.logits:
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    return scores


def rows(model: Model, outputs: Mapping[str, Array], top: int | None, places: Sequence[str] = ()) -> Iterator[Row]:
    """A mapping for each sample, in order. Several outputs put their names before the keys.

    `places` are the files that the samples are, if any of them is one.
    """
    found = [_columns(reading, outputs[reading.output], top) for reading in readings(model)]
    several = len(found) > 1
    prefixes = [f"{r.output}_" if several and r.kind != "values" else "" for r in readings(model)]
    for number in range(len(next(iter(outputs.values())))):
        row: Row = {"file": places[number]} if any(places) else {}
        for prefix, part in zip(prefixes, found, strict=True):
            row |= {f"{prefix}{key}": column[number] for key, column in part.items()}
        yield row


def _columns(reading: Reading, scores: Array, top: int | None) -> dict[str, Sequence[Any]]:
    if reading.kind == "values":
        flat = scores.reshape(len(scores), -1)
        keys = [reading.output] if flat.shape[1] == 1 else [f"{reading.output}_{k}" for k in range(flat.shape[1])]
        return {key: flat[:, k].tolist() for k, key in enumerate(keys)}
    p = probabilities(reading, scores)
    names = np.array(reading.names, object)
    if top is None:
        best = p.argmax(axis=1)
        found: dict[str, Sequence[Any]] = {"class": names[best].tolist(), "probability": p.max(axis=1).tolist()}
        if reading.kind == "labels":
            found = {"labels": [names[row >= 0.5].tolist() for row in p]}
        return found | {f"probability_{name}": p[:, k].tolist() for k, name in enumerate(names)}
    order = np.argsort(-p, axis=1, kind="stable")[:, :top]
    found = {}
    for k in range(order.shape[1]):
        found[f"class_{k + 1}"] = names[order[:, k]].tolist()
        found[f"probability_{k + 1}"] = np.take_along_axis(p, order[:, k : k + 1], 1)[:, 0].tolist()
    return found


def as_text(model: Model, outputs: Mapping[str, Array], form: str, top: int | None, places: Sequence[str] = ()) -> str:
    """CSV with a header, or a JSON object a line."""
    stream = io.StringIO()
    if form == "jsonl":
        for row in rows(model, outputs, top, places):
            stream.write(json.dumps(files.finite(row), ensure_ascii=False) + "\n")
        return stream.getvalue()
    writer = None
    for row in rows(model, outputs, top, places):
        if writer is None:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ";".join(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def as_arrays(outputs: Mapping[str, Array], form: str) -> bytes:
    """The raw outputs: one array as npy, one for each output as npz."""
    stream = io.BytesIO()
    if form == "npy":
        if len(outputs) > 1:
            message = f"npy holds one array, and the model has {len(outputs)} outputs"
            raise Failure(Problem("E602", message, help="use `--format npz`"), exit_code=2)
        np.save(stream, next(iter(outputs.values())), allow_pickle=False)
    else:
        np.savez(stream, **outputs)  # type: ignore[arg-type]
    return stream.getvalue()


def form_of(path: Path | None, asked: str | None) -> str:
    """The format that was asked for, else the file's suffix, else CSV."""
    if asked:
        return asked
    suffix = path.suffix[1:].lower() if path else "csv"
    if suffix not in FORMATS:
        message = f"cannot tell the format of predictions from `{path}`"
        raise Failure(Problem("E602", message, help="add `--format csv`, jsonl, npy or npz"), exit_code=2)
    return suffix
