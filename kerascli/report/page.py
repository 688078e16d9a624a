"""The page: a template filled with what was gathered, drawn and said, written whole or not at all.

The only door to Pygments, which colours the spec.
"""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerascli import curves, files
from kerascli.errors import Failure, Problem
from kerascli.inspection import Inspection
from kerascli.inspection.facts import Numbers
from kerascli.report import charts
from kerascli.report.gather import Report
from kerascli.report.template import filled
from kerascli.report.words import Picture, Table, number, section
from kerascli.run import trained_by
from kerascli.sources.base import InputInfo, TargetInfo

PACKAGES = ("matplotlib", "jinja2", "pygments")
STATUS = {
    "completed": ("completed", "good"),
    "running": ("running", ""),
    "interrupted": ("interrupted", "bad"),
    "failed": ("failed", "bad"),
}
ANCHORS = {
    "figures": "Figures",
    "curves": "Learning curves",
    "results": "Predictions",
    "data": "Data",
    "model": "Model",
    "timings": "Timings",
    "environment": "Environment",
    "spec": "Spec",
    "log": "Log",
}
LARGEST_SPEC = 200_000
"""Characters of a spec that are coloured."""


def require_packages() -> None:
    """Raise E516 where a package is absent, before anything else is done."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        several = len(absent) > 1
        message = f"a report needs the package{'s' * several} {', '.join(f'`{name}`' for name in absent)}"
        message += f", which {'are' if several else 'is'} not installed"
        raise Failure(Problem("E516", message, help='`pip install "kerascli[report]"`'))


def place(path: Path) -> Path:
    """Where a report stands by default: in the run directory, or beside the model file."""
    return path / "report.html" if path.is_dir() else path.with_suffix(".html")


def write(report: Report, path: Path) -> None:
    """Write the page; whoever reads the file sees a whole one."""
    files.write_text(path, render(report))


def render(report: Report) -> str:
    """The page's text."""
    return filled("kerascli.report", _content(report))


def _content(report: Report) -> dict[str, Any]:
    tiles_split = next((name for name in ("test", "validation", "train") if name in report.metrics), "")
    return {
        "report": report,
        "status": STATUS.get(str(report.run.get("status"))),
        "headline": _headline(report),
        "contents": ANCHORS.items(),
        "tiles_split": tiles_split,
        "tiles": [(name, number(value)) for name, value in report.metrics.get(tiles_split, {}).items()],
        "figures": _figures(report.metrics),
        "expectations": report.run.get("expect") or [],
        "spec": _coloured(report.spec),
        **_curves(report),
        **_results(report),
        **_data(report),
        **_model(report),
        **_timings(report),
        "environment": _environment(report),
    }


def _headline(report: Report) -> str:
    if not report.run:
        return f"This is the exported model {report.path.name}."
    facts, count = report.run, len(report.history)
    words = f"The run {report.path.name} "
    words += f"trained {count} epoch{'s' * (count != 1)}" if count else "completed no epoch"
    if isinstance(facts.get("seconds"), float):
        words += f" in {_duration(facts['seconds'])}"
    if facts.get("started"):
        words += f"; it began on {str(facts['started']).replace('T', ' at ')[:22]}"
    return f"{words}." + (f" It ended early: {facts['stopped']}." if facts.get("stopped") else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _figures(metrics: Mapping[str, Mapping[str, float]]) -> tuple[Sequence[str], list[Sequence[str]]]:
    names = list(dict.fromkeys(name for logs in metrics.values() for name in logs))
    return ("figure", *metrics), [(name, *(number(logs.get(name)) for logs in metrics.values())) for name in names]


# ------------------------------------------------------------------ training


def _curves(report: Report) -> dict[str, Any]:
    rows = report.history
    names = curves.panels(rows) if rows else []
    rates = {row.get("learning_rate") for row in rows} - {None}
    pictures = [(charts.curve(rows, name, report.best), _curve_words(rows, name)) for name in names]
    words = ""
    if report.best is not None:
        watched = "validation loss" if any("val_loss" in row for row in rows) else "loss"
        words = f"The best epoch was {report.best + 1}, by the {watched}. "
    if len(rates) == 1:
        words += f"The learning rate was {number(rates.pop())} throughout."
    columns = list(dict.fromkeys(name for row in rows for name in row))
    history = columns, [[_history_cell(name, row.get(name)) for name in columns] for row in rows]
    return {"curves": pictures, "curve_words": words, "history": history}


def _history_cell(name: str, value: float | None) -> str:
    return str(int(value)) if name == "epoch" and value is not None else number(value)


def _curve_words(rows: Sequence[Mapping[str, float | None]], name: str) -> str:
    last = next((row[name] for row in reversed(rows) if row.get(name) is not None), None)
    held = next((row[f"val_{name}"] for row in reversed(rows) if row.get(f"val_{name}") is not None), None)
    if name == "learning_rate":
        return f"The learning rate of each epoch; the last was {number(last)}."
    words = f"The {name.replace('_', ' ')} of each epoch; at last {number(last)} in training"
    return words + (f" and {number(held)} in validation." if held is not None else ".")


def _timings(report: Report) -> dict[str, Any]:
    speed = report.speed()
    if not speed:
        return {"timing_words": "", "timing": ""}
    words = f"An epoch took {speed['seconds_per_epoch']:.3g} seconds, as the median of {len(report.seconds)}"
    if "samples_per_second" in speed:
        words += f": {speed['samples_per_second']:,.0f} training samples a second, validation included"
    words += f". All epochs together took {_duration(speed['seconds'])}."
    return {"timing_words": words, "timing": charts.bars("seconds per epoch", report.seconds, "epoch", "seconds")}


# ------------------------------------------------------------------ predictions, data, model


def _results(report: Report) -> dict[str, Any]:
    chosen = {"test": "the test data", "validation": "the validation data, for there is no test split"}
    part = chosen.get(report.split, "the training data")
    if report.split == "validation" and "test" in report.sizes:
        part = "the validation data"
    if report.split == "train" and len(report.sizes) == 1:
        part = "the training data, for no others were held back: these figures say little about new data"
    which = "best" if report.weights == "best" else "last"
    words = f"What follows was measured on {part}, with the {which} weights of the training. Each sample counts once."
    return {"results": [section(result, report) for result in report.results], "result_words": words}


def _data(report: Report) -> dict[str, Any]:
    sizes = [f"{size:,} {'training' if name == 'train' else name}" for name, size in report.sizes.items()]
    listed = " and ".join(filter(None, (", ".join(sizes[:-1]), *sizes[-1:])))
    found = report.data
    if found is None:
        known = report.signature
        arrays: list[tuple[str, InputInfo | TargetInfo]] = []
        if known:
            arrays = [*known.inputs.items(), *known.targets.items()]
        return {
            "data_words": f"It had {listed} samples." if sizes else "",
            "ranges": (("array", "shape", "type"), [(n, _shape(i.shape), i.dtype) for n, i in arrays]),
            **dict.fromkeys(("balances", "balance_tables", "columns", "findings"), ()),
        }
    pictures: list[Picture] = []
    tables: list[Table] = []
    for name, target in found.targets.items():
        if not target.counts:
            continue
        told = f"How often each class of {name} stands in each split."
        pictures.append((charts.balance(f"classes of {charts.cut(name)}", target.names, target.counts), told))
        rows = [(label, *(f"{n[k]:,}" for n in target.counts.values())) for k, label in enumerate(target.names)]
        tables.append((f"The samples of each class of {name}, counted.", ("class", *target.counts), rows))
    return {
        "data_words": f"The dataset is {found.dataset}: {listed} samples.",
        "balances": pictures,
        "balance_tables": tables,
        "ranges": (("array", "shape", "type", "split", "least", "largest", "mean"), list(_ranges(found))),
        "columns": _columns(found),
        "findings": found.findings,
    }


def _ranges(found: Inspection) -> Iterator[Sequence[str]]:
    """A line for each array and split; of texts there are lengths."""
    for name, facts in found.inputs.items():
        for split in facts.numbers:
            yield _range(name, facts.shape, facts.dtype, split, facts.numbers[split])
        for split, ids in facts.tokens.items():
            yield name, _shape(facts.shape), "token ids", split, number(ids.smallest), number(ids.largest), ""
        for split, texts in facts.texts.items():
            yield _range(name, facts.shape, "texts, in words", split, texts.words)
    for name, target in found.targets.items():
        for split, numbers in target.numbers.items():
            yield _range(name, target.shape, "target", split, numbers)


def _range(name: str, shape: Sequence[int], kind: str, split: str, numbers: Numbers) -> Sequence[str]:
    return name, _shape(shape), kind, split, number(numbers.minimum), number(numbers.maximum), number(numbers.mean)


def _columns(found: Inspection) -> tuple[Sequence[str], Sequence[Sequence[str]]] | None:
    """The columns of a table, as they were before they became numbers."""
    rows = []
    for name, column in found.columns.items():
        numbers, missing = column.numbers.get("train"), sum(column.missing.values())
        values = ", ".join(charts.cut(text) for text, _ in column.frequent)
        if numbers is not None:
            values = f"{number(numbers.minimum)} to {number(numbers.maximum)}, mean {number(numbers.mean)}"
        rows.append((name, column.kind, f"{column.distinct:,}", values, f"{missing:,}" if missing else "–"))
    return (("column", "kind", "distinct", "values in training", "missing"), rows) if rows else None


def _shape(shape: Sequence[int]) -> str:
    return "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}".join(map(str, shape)) or "one value"


def _model(report: Report) -> dict[str, Any]:
    card = report.model
    if card is None:
        return {"graph": "", "layers": "", "model_words": ""}
    fixed = card.parameters - card.trainable
    words = f"The model has {len(card.layers)} layers and {card.parameters:,} parameters"
    words += f", {fixed:,} of which are not trained" if fixed else ""
    words += f". Predicting one sample takes {card.flops:,} floating-point operations."
    rows = [
        (
            row.name,
            row.type,
            row.shape.replace(" ", "\N{NO-BREAK SPACE}"),
            f"{row.parameters:,}",
            ", ".join(row.inputs) or "–",
        )
        for row in card.layers
    ]
    picture = base64.b64encode(card.picture.encode()).decode()
    return {
        "model_words": words,
        "graph": f"data:image/svg+xml;base64,{picture}",
        "layers": (("layer", "type", "output shape", "parameters", "reads"), rows),
    }


def _environment(report: Report) -> list[tuple[str, str]]:
    facts = report.run
    if not facts:
        return []
    machine = facts.get("machine") or {}
    told: dict[str, Any] = {
        "run": report.path.name,
        "status": facts.get("status"),
        "started": facts.get("started"),
        "ended": facts.get("ended"),
        "resumed": ", ".join(facts.get("resumed") or ()),
        "engine": trained_by(facts),
        **{str(name): version for name, version in (facts.get("versions") or {}).items()},
        **{str(name): value for name, value in machine.items()},
        "threads": facts.get("threads"),
        "git commit": facts.get("git_commit"),
        "data fingerprint": facts.get("dataset"),
    }
    return [(name, str(value)) for name, value in told.items() if value not in (None, "")]


def _coloured(text: str) -> str:
    """The spec as HTML, escaped by Pygments."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, YamlLexer

    lexer = YamlLexer() if len(text) <= LARGEST_SPEC else TextLexer()
    return str(highlight(text, lexer, HtmlFormatter(nowrap=True)))
