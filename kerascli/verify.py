"""Verification: train a run's resolved spec once more, and compare history, weights and figures bit for bit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.check import check
from kerascli.errors import Failure, Problem
from kerascli.launch import train
from kerascli.ops.ir import Array
from kerascli.run import History, Run, differing, trained_by, versions
from kerascli.stored import Stored
from kerascli.trainer import Progress


@dataclass(frozen=True)
class Comparison:
    """One thing that was compared."""

    what: str
    same: bool
    words: str
    """What of it is equal, or where it differs first and by how much."""


@dataclass(frozen=True)
class Verification:
    """A run against its own repetition."""

    run: Path
    comparisons: tuple[Comparison, ...]
    circumstances: tuple[str, ...]
    """What is another here than where the run was trained, and may round otherwise: versions, BLAS, processor, engine.
    """

    @property
    def same(self) -> bool:
        return all(c.same for c in self.comparisons)

    def facts(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "run": str(self.run),
            "same": self.same,
            "comparisons": [asdict(c) for c in self.comparisons],
            "circumstances": list(self.circumstances),
        }


def verify(run: Run, threads: int | None = None, progress: Progress | None = None) -> Verification:
    """Train the run's `resolved.yaml` anew, in a temporary folder, and compare what comes of it."""
    if run.status != "completed":
        help = f"`kerascli train --resume {run.path}` goes on with it"
        raise Failure(
            Problem("E515", f"`{run.path}` is {run.status}: there are no final weights yet", run.path, help=help)
        )
    if "epochs" not in run.facts:
        raise Failure(Problem("E515", f"`{run.path}` was not trained here: there is nothing to repeat", run.path))
    with tempfile.TemporaryDirectory(prefix="kerascli-verify-") as folder:
        outcome = train(check(run.resolved), folder, run.facts.get("name"), threads, progress)
        again = Run.open(outcome.run)
        circumstances = (*differing(run.facts), *_engines(run.facts, again.facts))
        return Verification(run.path, tuple(_comparisons(run, again)), circumstances)


def _engines(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is another of the engine that trained: itself, its devices, or the versions of its own packages."""
    if (was := trained_by(before)) and was != trained_by(now):
        yield f"engine {trained_by(now)}, was {was}"
    known = before.get("versions") or {}
    for name, version in now["versions"].items():
        if name not in versions() and known.get(name) not in (None, version):
            yield f"{name} {version}, was {known[name]}"


def _comparisons(run: Run, again: Run) -> Iterator[Comparison]:
    before, now = str(run.facts.get("dataset")), str(again.facts.get("dataset"))
    yield Comparison("data", before == now, now if before == now else f"{now}, was {before}")
    yield from _histories(History.load(run.history), History.load(again.history))
    yield from _weights(Stored(run.path), Stored(again.path))
    yield from _figures(_read(run.metrics), _read(again.metrics))


def _histories(before: History, now: History) -> Iterator[Comparison]:
    """Column by column; `seconds` is no result."""
    count = len(before.rows)
    for column in dict.fromkeys((*before.columns, *now.columns)):
        if column == "seconds":
            continue
        pairs = zip_longest(*([row.get(column) for row in history.rows] for history in (before, now)))
        other = [
            f"epoch {k + 1}: {_said(new)}, was {_said(old)}"
            for k, (old, new) in enumerate(pairs)
            if not _equal(old, new)
        ]
        yield Comparison(column, not other, other[0] if other else f"{count} epoch{'s' * (count != 1)}")


def _weights(before: Stored, now: Stored) -> Iterator[Comparison]:
    old, new = before.weights(), now.weights()
    other = [path for path in old if not _same_bits(old[path], new[path])]
    if not other:
        yield Comparison("weights", True, f"{sum(a.size for a in old.values()):,} numbers in {len(old)} arrays")
    for path in other:
        count = np.count_nonzero(old[path] != new[path])
        largest = float(np.max(np.abs(old[path].astype(float) - new[path])))
        words = f"{count:,} of {old[path].size:,} numbers, by {largest:.3g} at most"
        yield Comparison(f"weights of {path}", False, words)


def _figures(before: Any, now: Any) -> Iterator[Comparison]:
    """The final evaluation, split by split."""
    for split in dict.fromkeys((*before, *now)):
        old, new = before.get(split) or {}, now.get(split) or {}
        other = [f"{k} {_said(new.get(k))}, was {_said(v)}" for k, v in old.items() if not _equal(v, new.get(k))]
        yield Comparison(f"{split} figures", not other, "; ".join(other) or f"{len(old)} of the final evaluation")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(Problem("E503", f"cannot read `{path}`: {error}", path)) from error
    return found if isinstance(found, dict) else {}


def _equal(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # NaN is NaN here


def _said(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
