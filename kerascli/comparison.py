"""Runs side by side: what they came to, and in what their specs differ."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kerascli import yamltext
from kerascli.component import nearest
from kerascli.errors import Failure, Problem
from kerascli.overview import Facts, columns, figures, plain, row
from kerascli.run import Run

NOT_ASKED = ("name", "description", "expect", "search")
"""Keys of a spec that do not change what is trained."""
NEVER = "-"
"""Stands where a spec lacks the key, or a run the figure."""


def compare(runs: Sequence[Run]) -> Facts:
    """The figures of each run, which run is best in each, and the keys in which the specs differ."""
    rows = [row(run) | {"seconds": run.facts.get("seconds")} for run in runs]
    names = list(dict.fromkeys(name for each in rows for name in figures(each["metrics"])))
    best = {name: found for name in names if (found := _best(name, rows)) is not None}
    different = differences(runs)
    if any(each["key"].split(".")[0] in ("loss", "loss_weights") for each in different):
        best = {name: found for name, found in best.items() if not name.endswith("loss")}  # they measure other things
    return {"runs": rows, "figures": names, "best": best, "differences": different}


def differences(runs: Sequence[Run]) -> list[Facts]:
    """Every key of the resolved specs that has not the same value in all runs, such as `optimizer.learning_rate`.

    Of components of different types their types are told, and no arguments: those of the one are not the other's.
    """
    specs = [flat(_asked(run)) for run in runs]
    keys = dict.fromkeys(key for spec in specs for key in spec)
    found = {key: [spec.get(key) for spec in specs] for key in keys}
    other = {key: values for key, values in found.items() if any(value != values[0] for value in values)}
    changed = tuple(key.removesuffix("type") for key in other if key.endswith(".type"))
    kept = (key for key in other if key.endswith(".type") or not key.startswith(changed))
    return [{"key": key, "values": other[key]} for key in kept]


def diff(a: Run, b: Run) -> Facts:
    """Two runs: lines of their resolved specs, figures, versions and machine that differ."""
    old, new = (run.resolved.read_text("utf-8").splitlines() for run in (a, b))
    lines = difflib.unified_diff(old, new, f"{a.name}/resolved.yaml", f"{b.name}/resolved.yaml", lineterm="", n=2)
    measured = [figures(row(run)["metrics"]) for run in (a, b)]
    surroundings = [
        flat({k: run.facts.get(k) for k in ("versions", "machine", "git_commit", "dataset")}) for run in (a, b)
    ]
    return {
        "runs": [str(a.path), str(b.path)],
        "spec": list(lines),
        "figures": _pairs(*measured),
        "surroundings": {key: both for key, both in _pairs(*surroundings).items() if both[0] != both[1]},
    }


def ranked(rows: Sequence[Facts], figure: str) -> list[Facts]:
    """The rows of runs, the best in a figure first; those without it come last."""
    known = {name for each in rows for name in figures(each["metrics"])}
    if figure not in known:
        help = f"the runs have {', '.join(sorted(known)) or 'none'}"
        near = nearest(figure, sorted(known))
        label = f"did you mean `{near}`?" if near else ""
        raise Failure(Problem("E502", f"no run has a figure `{figure}`", label=label, help=help), exit_code=2)
    sign = -1 if direction(figure) == "up" else 1

    def key(each: Facts) -> tuple[bool, float]:
        value = figures(each["metrics"]).get(figure)
        if isinstance(value, (int, float)) and math.isfinite(value):
            return False, sign * value
        return True, 0.0

    return sorted(rows, key=key)


def comparison_text(found: Facts, width: int | None = None) -> str:
    """A table with a line a run, the best figures marked, and a table of the keys that differ.

    Where that is wider than a terminal, the runs are columns under letters.
    """
    head = ["run", "status", "epochs", "seconds", "curve", *found["figures"]]
    lines = [head]
    for number, each in enumerate(found["runs"]):
        cells = [_name(each["run"]), each["status"], str(each["epochs"]), plain(each["seconds"]), each["curve"]]
        measured = figures(each["metrics"])
        for name in found["figures"]:
            mark = "*" if found["best"].get(name) == number else ""
            cells.append((plain(measured.get(name)) or NEVER) + mark)
        lines.append(cells)
    text, names = columns(lines), [_name(each["run"]) for each in found["runs"]]
    if width is not None and max(map(len, text.splitlines())) > width:
        letters = [_letters(number) for number in range(len(names))]
        legend = [[letter, name] for letter, name in zip(letters, names, strict=True)]
        turned = [list(line) for line in zip(*lines, strict=True)]
        text = f"{columns(legend)}\n\n{columns([['', *letters], *turned[1:]])}"
        names = letters
    if found["differences"]:
        keys = [["key", *names]]
        keys += [[d["key"], *(_value(v) for v in d["values"])] for d in found["differences"]]
        text += f"\n\n{columns(keys)}"
    return f"{text}\n\n* the best of these runs" if found["best"] else text


def _letters(number: int) -> str:
    """A, B, … Z, A1, …"""
    rounds, place = divmod(number, 26)
    return chr(ord("A") + place) + (str(rounds) if rounds else "")


def diff_text(found: Facts) -> str:
    """What differs between two runs, the spec as a unified diff."""
    parts = ["\n".join(found["spec"]) or "the specs are the same"]
    names = [_name(run) for run in found["runs"]]
    for title in ("figures", "surroundings"):
        if found[title]:
            rows = [[key, *(_value(value) for value in both)] for key, both in found[title].items()]
            parts.append(columns([[title, *names], *rows]))
    return "\n\n".join(parts)


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Every plain value by its place: `layers[2].units`, `optimizer.learning_rate`."""
    if isinstance(value, Mapping) and value:
        return {
            k: v for name, part in value.items() for k, v in flat(part, f"{key}.{name}" if key else str(name)).items()
        }
    if isinstance(value, list) and value and isinstance(value[0], (Mapping, list)):
        return {k: v for n, part in enumerate(value) for k, v in flat(part, f"{key}[{n}]").items()}
    return {key: value}


def _asked(run: Run) -> dict[str, Any]:
    found = yamltext.read(run.resolved).value
    return {key: value for key, value in found.items() if key not in NOT_ASKED} if isinstance(found, dict) else {}


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {key: [a.get(key), b.get(key)] for key in dict.fromkeys((*a, *b))}


def _best(figure: str, rows: Sequence[Facts]) -> int | None:
    """Which run is best in a figure; None where nobody can say which way is better, or all are level."""
    way = direction(figure)
    known = [
        (value, number)
        for number, each in enumerate(rows)
        if isinstance(value := figures(each["metrics"]).get(figure), (int, float)) and math.isfinite(value)
    ]
    if way is None or len({value for value, _ in known}) < 2:
        return None
    return (max if way == "up" else min)(known, key=lambda pair: pair[0])[1]


def direction(figure: str) -> str | None:
    """Which way a figure such as `test_accuracy` is better, as far as its name tells."""
    from kerascli.metrics.base import Metric  # the metrics are many, and lists of runs need none

    name = figure.removeprefix("test_").removeprefix("validation_").removeprefix("train_").removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "down"
    known = Metric.find(name)
    return known.direction if known is not None and issubclass(known, Metric) else None


def _name(run: str) -> str:
    return run.replace("\\", "/").rsplit("/", 1)[-1]


def _value(value: Any) -> str:
    return NEVER if value is None else yamltext.inline(value) if isinstance(value, (list, dict)) else plain(value)
