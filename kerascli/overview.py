"""What there is to say about runs, as plain data and as plain text."""

from __future__ import annotations

import fnmatch
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerascli.files import finite
from kerascli.run import History, Run, resume_command, trained_by

Facts = dict[str, Any]

SIGNS = "▁▂▃▄▅▆▇█"
WIDTH = 20
"""Signs of a sparkline, at most."""
INDENT = "    "


def row(run: Run) -> Facts:
    """A run in one line of a list."""
    rows = History.load(run.history).rows
    return {
        "run": str(run.path),
        "status": run.standing,
        "started": run.facts.get("started"),
        "epochs": len(rows),
        "curve": sparkline([each.get("val_loss", each.get("loss")) for each in rows]),
        "best_epoch": run.facts.get("best_epoch"),
        "metrics": _metrics(run),
    }


def chosen(runs: Sequence[Run], status: str | None, pattern: str | None) -> list[Run]:
    """The runs that have this status and whose name fits this pattern of the shell."""
    kept = [run for run in runs if status in (None, run.standing)]
    return [run for run in kept if pattern is None or fnmatch.fnmatch(run.name, pattern)]


def report(run: Run) -> Facts:
    """Everything `runs show` tells."""
    rows = History.load(run.history).rows
    sizes = {str(p.relative_to(run.path)): p.stat().st_size for p in sorted(run.path.rglob("*")) if p.is_file()}
    last = finite(rows[-1]) if rows else None
    facts = {**run.facts, "status": run.standing}
    return {"run": str(run.path), **facts, "last_epoch": last, "metrics": _metrics(run), "files": sizes}


def table(rows: Sequence[Facts], marked: str | None = None, width: int | None = None) -> str:
    """A list of runs in columns, the run called `marked` with a star; empty where there are none.

    What does not fit a terminal's width: first the start goes, which the name tells, then the figures stand below.
    """
    if not rows:
        return ""
    for keys in (("status", "started", "epochs", "curve"), KEYS):
        found = columns(_listed(rows, marked, keys))
        if _fits(found, width):
            return found
    assert width is not None
    heads = columns([line[:-1] for line in _listed(rows, marked, KEYS)])
    if not _fits(heads, width):
        heads = "\n".join(["run", *(each["run"] + " *" * (each["run"] == marked) for each in rows)])
        below = [
            [str(each["status"]), f"{each['epochs']} epoch{'s' * (each['epochs'] != 1)}", str(each["curve"])]
            for each in rows
        ]
    else:
        below = [[] for _ in rows]
    first, *others = heads.splitlines()
    told = [first]
    for head, each, more in zip(others, rows, below, strict=True):
        told += [head, *_wrapped([*more, *_measured(each)], width)]
    return "\n".join(told)


KEYS = ("status", "epochs", "curve")


def _listed(rows: Sequence[Facts], marked: str | None, keys: Sequence[str]) -> list[list[str]]:
    """The cells of the list, the head first, the figures last."""
    cells = [
        [str(each["run"]) + " *" * (each["run"] == marked), *(_cell(key, each[key]) for key in keys)] for each in rows
    ]
    figured = [[*line, "  ".join(_measured(each))] for line, each in zip(cells, rows, strict=True)]
    return [["run", *keys, "figures"], *figured]


def _cell(key: str, value: Any) -> str:
    """The start of a run to the minute; all else as it is."""
    return str(value or "")[:16].replace("T", " ") if key == "started" else str(value or "")


def _measured(each: Facts) -> list[str]:
    return [f"{name}={plain(value)}" for name, value in figures(each["metrics"]).items()]


def _wrapped(words: Sequence[str], width: int) -> list[str]:
    """Words in lines below another."""
    found, line = [], INDENT
    for word in filter(None, words):
        if len(line) + len(word) > width and line != INDENT:
            found.append(line.rstrip())
            line = INDENT
        line += f"{word}  "
    return [*found, line.rstrip()] if line != INDENT else found


def _fits(text: str, width: int | None) -> bool:
    return width is None or max(map(len, text.splitlines())) <= width


def sparkline(values: Sequence[float | None]) -> str:
    """A curve in one line of text, at most WIDTH signs; `×` where the value is no number."""
    kept = [value for value in values if value is not None]
    count = min(len(kept), WIDTH)
    kept = [kept[round(k * (len(kept) - 1) / max(count - 1, 1))] for k in range(count)]
    known = [value for value in kept if math.isfinite(value)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    top = len(SIGNS) - 1
    return "".join(SIGNS[round((v - low) / span * top) if span else 0] if math.isfinite(v) else "×" for v in kept)


def lines(facts: Facts, width: int | None = None) -> str:
    """One run as text: what it was, what it came to, its files. Epochs count from 1, as on the screen."""
    best, epochs = facts.get("best_epoch"), facts.get("epochs") or 0
    versions, machine = facts.get("versions") or {}, facts.get("machine") or {}
    told = {
        "run": facts["run"],
        "status": _status(facts),
        "error": facts.get("error"),
        "started": facts.get("started"),
        "ended": facts.get("ended"),
        "seconds": facts.get("seconds"),
        "waited for data": _waited(facts.get("data_wait") or {}),
        "epochs": f"{epochs}, the best was {best + 1}" if epochs and best is not None else epochs,
        "stopped": facts.get("stopped"),
        **{name: _sentence(logs) for name, logs in facts["metrics"].items() if isinstance(logs, dict)},
        "last epoch": _sentence({k: v for k, v in (facts["last_epoch"] or {}).items() if k not in _NOT_FIGURES}),
        **{f"expected {e['figure']}": _verdict(e) for e in facts.get("expect") or ()},
        "engine": trained_by(facts),
        "git commit": facts.get("git_commit"),
        "dataset": facts.get("dataset"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "threads": facts.get("threads"),
        "machine": ", ".join(str(v) if k != "cores" else f"{v} cores" for k, v in machine.items()),
    }
    files = [[name, f"{size:>12,} bytes"] for name, size in facts["files"].items()]
    pairs = [[key, plain(value)] for key, value in told.items() if value]
    side = 2 + max(len(key) for key, _ in pairs)
    if width is not None and width > 2 * side:
        pairs = [line for key, value in pairs for line in _hanging(key, value, width - side)]
    return columns(pairs) + (f"\n\n{columns(files)}" if files else "")


def _hanging(key: str, value: str, width: int) -> list[list[str]]:
    """A pair in as many lines as it needs; a command stays whole, to be copied."""
    if key == "status":
        return [[key, value]]
    parts = textwrap.wrap(value, width, break_long_words=False, break_on_hyphens=False)
    return [["" if number else key, part] for number, part in enumerate(parts)]


def _waited(wait: Mapping[str, float]) -> str:
    """Nothing for data in memory."""
    return f"{wait['seconds']:g} s, {wait['share']:.1%} of the steps' time" if wait.get("seconds") else ""


def _status(facts: Facts) -> str:
    status = str(facts["status"])
    return f"{status}; go on with: {resume_command(Path(facts['run']))}" if status == "interrupted" else status


_NOT_FIGURES = ("epoch", "seconds")


def _sentence(figures: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {plain(value)}" for name, value in figures.items() if value is not None)


def _verdict(expected: Facts) -> str:
    return f"{expected['bound']}: {plain(expected['found']) or 'none'}, {'met' if expected['met'] else 'MISSED'}"


def _metrics(run: Run) -> Facts:
    try:
        found = json.loads(run.metrics.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def figures(metrics: Facts) -> Facts:
    """The figures of the split that was not trained on, if there is one: `test_accuracy` and so on."""
    name = next((name for name in ("test", "validation", "train") if isinstance(metrics.get(name), dict)), None)
    return {f"{name}_{key}": value for key, value in metrics[name].items()} if name else {}


def plain(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows)
