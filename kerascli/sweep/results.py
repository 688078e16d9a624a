"""What the trials of a sweep came to: the values in the order of their worth, statistics over seeds, the best spec."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerascli import yamltext
from kerascli.component import plain
from kerascli.errors import Failure, Problem
from kerascli.overview import plain as shown
from kerascli.overview import sparkline
from kerascli.sweep.folder import Sweep
from kerascli.sweep.ledger import FINISHED, Entry
from kerascli.sweep.space import Goal, Space, Value

NO_FIGURES = ("epoch", "learning_rate")


@dataclass(frozen=True)
class Candidate:
    """Some values, and what their trainings came to."""

    number: int
    """Of its first trial."""
    values: Mapping[str, Value]
    entries: tuple[Entry, ...]
    """A trial for each seed."""

    @property
    def found(self) -> list[float]:
        """The figure of every training that was completed."""
        return [e.value for e in self.entries if e.state == "completed" and e.value is not None]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.found) if self.found else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds, of a sample: n - 1."""
        return statistics.stdev(self.found) if len(self.found) > 1 else None

    @property
    def state(self) -> str:
        """Of its trials together: what is furthest from the end."""
        states = [entry.state for entry in self.entries]
        order = ("running", "waiting", "interrupted", "died", "failed", "diverged", "pruned")
        return next((state for state in order if state in states), "completed")

    def statistics(self) -> dict[str, dict[str, float]]:
        """Mean, deviation, lowest and highest of every figure, over the seeds that were trained to the end."""
        logs = [e.notes["figures"] for e in self.entries if e.state == "completed" and "figures" in e.notes]
        names = [n for n in (logs[0] if logs else ()) if n not in NO_FIGURES and all(n in each for each in logs)]
        found = {}
        for name in names:
            values = [float(each[name]) for each in logs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            found[name] = {
                "mean": statistics.fmean(values),
                "deviation": spread,
                "lowest": min(values),
                "highest": max(values),
            }
        return found


def candidates(entries: Sequence[Entry]) -> list[Candidate]:
    """The trials of the same values together, in the order in which they were begun."""
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.leader, []).append(entry)
    made = [
        Candidate(leader, group[0].values, tuple(sorted(group, key=lambda e: e.replica)))
        for leader, group in groups.items()
    ]
    return sorted(made, key=lambda candidate: candidate.number)


def ranked(found: Sequence[Candidate], goal: Goal) -> list[Candidate]:
    """The best first: those trained with every seed, by the mean; then what is not, by their last figures."""
    sign = -1 if goal.direction == "maximize" else 1
    states = ("completed", "running", "pruned", "waiting", "interrupted", "diverged", "failed", "died")

    def key(candidate: Candidate) -> tuple[Any, ...]:
        mean = candidate.mean if candidate.mean is not None else _last(candidate)
        missing = 0 if candidate.state == "completed" else 1 + states.index(candidate.state)
        return missing, sign * mean if mean is not None else math.inf, candidate.number

    return sorted(found, key=key)


def best(found: Sequence[Candidate], goal: Goal) -> Candidate | None:
    """The values to take: trained with every seed if any were, else with some."""
    done = [candidate for candidate in ranked(found, goal) if candidate.mean is not None]
    return done[0] if done else None


def require_best(sweep: Sweep, entries: Sequence[Entry]) -> Candidate:
    """The same; a Problem where there is none yet."""
    found = best(candidates(entries), sweep.goal)
    if found is None:
        help = f"go on with it: `{sweep.resume_command}`"
        raise Failure(Problem("E520", f"no trial of `{sweep.name}` is completed", sweep.folder, help=help))
    return found


def best_spec(space: Space, candidate: Candidate) -> str:
    """The spec with the values put in, as YAML; relative paths are made absolute, for it may be saved anywhere."""
    document = space.document(candidate.values)
    found = space.spec(candidate.values).spec
    written = {
        key: _absolute(value, plain(getattr(found, key, None)), space.origin.resolve().parent)
        for key, value in document.value.items()
    }
    return yamltext.dump(written)


def _absolute(written: Any, resolved: Any, base: Path) -> Any:
    """What was written, but for paths, which a loaded spec has in full."""
    if isinstance(written, dict) and isinstance(resolved, dict):
        return {key: _absolute(value, resolved.get(key), base) for key, value in written.items()}
    if isinstance(written, list) and isinstance(resolved, list) and len(written) == len(resolved):
        return [_absolute(*pair, base) for pair in zip(written, resolved, strict=True)]
    if isinstance(written, str) and written:
        whole = str(base / Path(written).expanduser())
        return whole if whole in _texts(resolved) else written
    return written


def _texts(value: Any) -> set[str]:
    """All texts in a value: one path may be resolved to one for each split."""
    if isinstance(value, dict):
        return {text for part in value.values() for text in _texts(part)}
    if isinstance(value, list):
        return {text for part in value for text in _texts(part)}
    return {value} if isinstance(value, str) else set()


# ---- in words


def headings(space: Space) -> dict[str, str]:
    """A short name for each place: its last keys, as many as tell it from the others."""
    found: dict[str, str] = {}
    paths = [p.path for p in space.parameters]
    for path in paths:
        keys = path.split(".")
        for count in range(1, len(keys) + 1):
            name = ".".join(keys[-count:])
            if count == len(keys) or sum(name == ".".join(p.split(".")[-count:]) for p in paths) == 1:
                found[path] = name
                break
    return found


def values_words(space: Space, values: Mapping[str, Value]) -> str:
    """`units 16, learning_rate 0.003`"""
    return ", ".join(f"{name} {space.words(path, values)}" for path, name in headings(space).items())


def figure_words(candidate: Candidate) -> str:
    """`0.1234`, `0.1234 ± 0.0031` over several seeds, or the last figure of what is not completed."""
    if candidate.mean is None:
        last = _last(candidate)
        return "" if last is None else f"({last:.4g})"
    deviation = candidate.deviation
    return f"{candidate.mean:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")


def epochs_words(candidate: Candidate) -> str:
    """`3/10` of the trial that runs, else how many were trained."""
    entry = next((e for e in candidate.entries if e.state == "running"), candidate.entries[0])
    done = entry.notes.get("trained") or max(entry.curve, default=0)
    asked = entry.notes.get("epochs", 0)
    return f"{done}/{asked}" if asked and done != asked else str(done or "")


def curve_words(candidate: Candidate, width: int = 10) -> str:
    """The figure over the epochs as a small picture."""
    entry = next((e for e in candidate.entries if e.state == "running"), candidate.entries[0])
    values = [entry.curve[step] for step in sorted(entry.curve)]
    count = min(len(values), width)
    return sparkline([values[round(k * (len(values) - 1) / max(count - 1, 1))] for k in range(count)])


def state_words(candidate: Candidate, seeds: int) -> str:
    """`completed`, `completed, 2nd try`, `running, 2 of 5 seeds`."""
    words = candidate.state
    if any(entry.tries > 1 for entry in candidate.entries) and words != "died":
        words += ", 2nd try"
    done = sum(entry.state in FINISHED for entry in candidate.entries)
    return f"{words}, {done}/{seeds} seeds" if seeds > 1 and done < seeds else words


def _last(candidate: Candidate) -> float | None:
    curves = [entry.curve for entry in candidate.entries if entry.curve]
    return statistics.fmean(curve[max(curve)] for curve in curves) if curves else None


def progress_words(entries: Sequence[Entry], goal: Goal) -> str:
    """`7 of 20 trials: 1 running, 5 completed, 1 pruned`"""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.state] = counts.get(entry.state, 0) + 1
    done = sum(entry.state in FINISHED for entry in entries)
    told = [f"{counts[s]} {s}" for s in ("running", *FINISHED, "interrupted") if s in counts and s != "waiting"]
    return f"{done} of {goal.trials * goal.seeds} trials" + (f": {', '.join(told)}" if told else "")


def document(sweep: Sweep, space: Space, entries: Sequence[Entry]) -> dict[str, Any]:
    """All of it as one JSON document."""
    goal = sweep.goal
    groups = candidates(entries)
    chosen = best(groups, goal)
    facts = [
        {
            "number": c.number,
            "state": c.state,
            "values": space.values(c.values),
            "mean": c.mean,
            "deviation": c.deviation,
            "trainings": len(c.found),
            "statistics": c.statistics(),
            "trials": [_trial(sweep, space, entry) for entry in c.entries],
        }
        for c in ranked(groups, goal)
    ]
    return {
        "sweep": str(sweep.folder),
        "monitor": goal.monitor,
        "direction": goal.direction,
        "sampler": space.search.sampler,
        "trials_asked": goal.trials,
        "seeds": goal.seeds,
        "finished": sum(entry.state in FINISHED for entry in entries),
        "best": next((each for each in facts if chosen and each["number"] == chosen.number), None),
        "candidates": facts,
        "report": str(sweep.page) if sweep.page.exists() else None,
    }


def _trial(sweep: Sweep, space: Space, entry: Entry) -> dict[str, Any]:
    return {
        "trial": entry.number,
        "state": entry.state,
        "seed": space.seed + entry.replica,
        "value": entry.value,
        "run": str(sweep.runs / entry.run) if entry.run else None,
        "tries": entry.tries,
        "epochs": entry.notes.get("trained"),
        "seconds": entry.notes.get("seconds"),
        "error": entry.notes.get("error"),
    }


def statistics_rows(candidate: Candidate) -> list[list[str]]:
    """The table of `--seeds`: a row a figure."""
    return [
        [name, *(shown(each[key]) for key in ("mean", "deviation", "lowest", "highest"))]
        for name, each in candidate.statistics().items()
    ]


def errors(entries: Sequence[Entry]) -> dict[str, int]:
    """Why trials failed, and how many of each."""
    counts: dict[str, int] = {}
    for entry in entries:
        if entry.state == "failed":
            error = str(entry.notes.get("error"))
            counts[error] = counts.get(error, 0) + 1
    return counts
