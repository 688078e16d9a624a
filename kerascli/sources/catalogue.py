"""What is to be said of the bundled data sets, as data and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerascli.component import nearest
from kerascli.errors import Failure, Problem
from kerascli.sources.base import Source
from kerascli.sources.bundled import About

Facts = dict[str, Any]


def names() -> list[str]:
    """The names that the YAML has for the bundled sets, sorted."""
    return sorted(_bundled())


def describe(name: str) -> Facts:
    """Everything about one bundled set that can be known without reading it whole."""
    sets = _bundled()
    if name not in sets:
        near = nearest(name, list(sets))
        raise Failure(
            Problem(
                "E409",
                f"there is no bundled data set `{name}`",
                label=f"did you mean `{near}`?" if near else "",
                help=f"the sets are {', '.join(sorted(sets))}",
            ),
            exit_code=2,
        )
    member, about = sets[name]
    signature = member().peek(Path())
    target, info = next(iter(signature.targets.items()))
    (shape, dtype) = next((each.shape, each.dtype) for each in signature.inputs.values())
    return {
        "name": name,
        "title": about.title,
        "splits": about.rows,
        "shape": list(shape),
        "dtype": dtype,
        "target": target,
        "classes": info.classes,
        "class_names": list(info.class_names),
        "licence": about.licence,
        "origin": about.origin,
        "note": about.note,
    }


def table(sets: list[Facts]) -> str:
    """One line a set, in columns."""
    rows = [("name", "samples", "shape", "classes", "what it is")]
    rows += [(s["name"], _splits(s, short=True), _shape(s), str(s["classes"]), s["title"]) for s in sets]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def lines(facts: Facts) -> str:
    """One set, a fact a line."""
    pairs = [
        ("name", facts["name"]),
        ("what it is", facts["title"]),
        ("splits", _splits(facts)),
        ("one sample", f"{_shape(facts)} {facts['dtype']}"),
        ("target", f"{facts['target']}: {facts['classes']} classes ({', '.join(facts['class_names'])})"),
        ("licence", facts["licence"]),
        ("source", facts["origin"]),
        *([("note", facts["note"])] if facts["note"] else []),
        ("in a spec", f"dataset: {facts['name']}"),
    ]
    return "\n".join(f"{label:<11} {value}" for label, value in pairs)


def _bundled() -> dict[str, tuple[type[Source], About]]:
    Source.names()
    sources = [member for member in Source.members.values() if issubclass(member, Source)]
    return {member.type_name(): (member, member.about) for member in sources if hasattr(member, "about")}


def _splits(facts: Facts, short: bool = False) -> str:
    rows = facts["splits"].items()
    return " + ".join(f"{count:,}" for _, count in rows) if short else ", ".join(f"{s} {n:,}" for s, n in rows)


def _shape(facts: Facts) -> str:
    return "×".join(map(str, facts["shape"]))
