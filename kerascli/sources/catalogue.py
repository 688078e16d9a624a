"""What is to be said of the data sets that have a name of their own, bundled or fetched, as data and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerascli.component import nearest
from kerascli.errors import Failure, Problem
from kerascli.sources.base import Source
from kerascli.sources.bundled import About
from kerascli.sources.download import fetch

Facts = dict[str, Any]


def names() -> list[str]:
    """The names that the YAML has for the sets, sorted."""
    return sorted(_known())


def describe(name: str) -> Facts:
    """Everything about one set that can be known without reading or fetching it."""
    member, about = _chosen(name)
    as_text = "sequence_length" in member.model_fields
    signature = member.model_validate({"sequence_length": 1} if as_text else {}).peek(Path())
    target, info = next(iter(signature.targets.items()))
    (shape, dtype) = next((each.shape, each.dtype) for each in signature.inputs.values())
    return {
        "name": name,
        "title": about.title,
        "where": _where(member),
        "splits": about.rows,
        "shape": ["sequence_length"] if as_text else list(shape),
        "dtype": dtype,
        "target": target,
        "classes": info.classes,
        "class_names": list(info.class_names),
        "licence": about.licence,
        "origin": about.origin,
        "note": about.note,
    }


def fetched(name: str) -> list[Path]:
    """The files of a set, fetched if they were not there; none for one that comes with the package."""
    return [fetch(remote) for remote in getattr(_chosen(name)[0], "remotes", ())]


def _chosen(name: str) -> tuple[type[Source], About]:
    sets = _known()
    if name in sets:
        return sets[name]
    near = nearest(name, list(sets))
    label = f"did you mean `{near}`?" if near else ""
    help = f"the sets are {', '.join(sorted(sets))}"
    raise Failure(Problem("E409", f"there is no data set `{name}`", label=label, help=help), exit_code=2)


def _where(member: type[Source]) -> str:
    """`bundled`, the file where it is kept, or `not here yet`."""
    remotes = getattr(member, "remotes", ())
    if not remotes:
        return "bundled"
    return str(remotes[0].path.parent) if all(r.path.is_file() for r in remotes) else "not here yet"


def table(sets: list[Facts]) -> str:
    """One line a set, in columns."""
    rows = [("name", "samples", "shape", "classes", "where", "what it is")]
    for s in sets:
        where = s["where"] if s["where"] in ("bundled", "not here yet") else "fetched"
        rows.append((s["name"], _splits(s, short=True), _shape(s), str(s["classes"] or "-"), where, s["title"]))
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
        ("target", _target(facts)),
        ("where", facts["where"]),
        ("licence", facts["licence"]),
        ("source", facts["origin"]),
        *([("note", facts["note"])] if facts["note"] else []),
        ("in a spec", f"dataset: {facts['name']}"),
    ]
    return "\n".join(f"{label:<11} {value}" for label, value in pairs)


def _target(facts: Facts) -> str:
    if not facts["classes"]:
        return f"{facts['target']}: a number"
    return f"{facts['target']}: {facts['classes']} classes ({', '.join(facts['class_names'])})"


def _known() -> dict[str, tuple[type[Source], About]]:
    Source.names()
    sources = [member for member in Source.members.values() if issubclass(member, Source)]
    return {member.type_name(): (member, member.about) for member in sources if hasattr(member, "about")}


def _splits(facts: Facts, short: bool = False) -> str:
    rows = facts["splits"].items()
    return " + ".join(f"{count:,}" for _, count in rows) if short else ", ".join(f"{s} {n:,}" for s, n in rows)


def _shape(facts: Facts) -> str:
    return "×".join(map(str, facts["shape"]))
