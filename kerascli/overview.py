"""What there is to say about runs, as plain data and as plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerascli.files import finite
from kerascli.run import History, Run

Facts = dict[str, Any]


def row(run: Run) -> Facts:
    """A run in one line of a list."""
    return {
        "run": str(run.path),
        "status": run.status,
        "started": run.facts.get("started"),
        "epochs": len(History.load(run.history).rows),
        "best_epoch": run.facts.get("best_epoch"),
        "metrics": _metrics(run),
    }


def report(run: Run) -> Facts:
    """Everything `runs show` tells."""
    rows = History.load(run.history).rows
    sizes = {str(p.relative_to(run.path)): p.stat().st_size for p in sorted(run.path.rglob("*")) if p.is_file()}
    last = finite(rows[-1]) if rows else None
    return {"run": str(run.path), **run.facts, "last_epoch": last, "metrics": _metrics(run), "files": sizes}


def table(rows: Sequence[Facts]) -> str:
    """A list of runs in columns; empty where there are none."""
    lines = [
        [*(str(r[key] or "") for key in ("run", "status", "started", "epochs")), _figures(r["metrics"])] for r in rows
    ]
    if not lines:
        return ""
    return _columns([["run", "status", "started", "epochs", "figures"], *lines])


def lines(facts: Facts) -> str:
    """One run as text: a key a line, nested keys joined by dots."""
    return _columns([[key, _plain(value)] for key, value in _flat(facts) if not key.startswith("signature.")])


def _metrics(run: Run) -> Facts:
    try:
        found = json.loads(run.metrics.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _figures(metrics: Facts) -> str:
    """Of the split that was not trained on, if there is one."""
    name = next((name for name in ("test", "validation", "train") if isinstance(metrics.get(name), dict)), None)
    return " ".join(f"{name}_{key}={_plain(value)}" for key, value in metrics[name].items()) if name else ""


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows)
