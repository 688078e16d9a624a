"""What the installed Keras exports, with our state of each: `python -m tests.components_page` writes the page."""

from __future__ import annotations

import inspect
import os
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

import kerascli
from kerascli.component import Component, families
from kerascli.left_out import ARGUMENTS, BASE, Reason, reason

PAGE = Path(kerascli.__file__).parent / "COMPONENTS.md"
COMMAND = "python -m tests.components_page"
PLACES: dict[str, ModuleType] = {
    "layer": keras.layers,
    "loss": keras.losses,
    "metric": keras.metrics,
    "optimizer": keras.optimizers,
    "schedule": keras.optimizers.schedules,
    "callback": keras.callbacks,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
    "activation": keras.activations,
}
TITLES = {"loss": "Losses"}
TOOLS = ("serialize", "deserialize", "get")
"""Functions of every module, which make components from words; a spec is those words."""
PYTHON_S = {"self", "args", "kwargs"}


def exported(family: str) -> list[str]:
    """Keras's own names of what a family's module exports: a class or function once, whatever its aliases."""
    found: dict[int, list[str]] = {}
    for name, thing in vars(PLACES[family]).items():
        if callable(thing) and not name.startswith("_") and name not in TOOLS:
            found.setdefault(id(thing), []).append(name)
    named = []
    for names in found.values():
        own = getattr(PLACES[family], names[0]).__name__
        named.append(own if own in names else names[0])
    base = families()[family]
    classes = {base.find(name) for name in named if name[0].isupper()} - {None}
    return sorted((n for n in named if n[0].isupper() or not _same(base, n, classes)), key=str.lower)


def _same(base: type[Component], name: str, classes: set[type[Component] | None]) -> bool:
    """Whether a function, such as `huber` or `add`, is another form of a class that is listed."""
    member = base.find(name) or (base.find(name.capitalize()) if base.family == "layer" else None)
    return member is not None and member in classes


def state(family: str, name: str) -> tuple[type[Component] | None, Reason | None]:
    """Our member of that name, or why there is none."""
    base = families()[family]
    member = base.find(name)
    return member, None if member else reason(family, name)


def lines(family: str) -> Iterator[str]:
    """A family's table."""
    rows = []
    for name in exported(family):
        member, why = state(family, name)
        if member is not None:
            other = getattr(PLACES[family], name)
            rows.append((name, "here", " ".join([*_departures(member), *_arguments(member, other)])))
        elif why is None:
            rows.append((name, "**missing**", ""))
        elif why.why != BASE:
            rows.append((name, "left out", f"{why.why[0].upper()}{why.why[1:]}: {why.instead}."))
    here = sum(state == "here" for _, state, _ in rows)
    yield f"## {TITLES.get(family, family.capitalize() + 's')}: {here} of {len(rows)}"
    yield ""
    yield "| Keras | state | why not, what instead; departures |"
    yield "| --- | --- | --- |"
    yield from (f"| {name} | {word} | {note} |".replace("  |", " |") for name, word, note in rows)
    yield ""


def page() -> str:
    """The whole page."""
    text = [
        "# Every component of Keras, and what is here",
        "",
        f"What Keras {keras.__version__} exports, less base classes and helper functions of its Python interface. "
        "Names, arguments, defaults and values are Keras's but for what the last column says.",
        "",
        f"<!-- Written by `{COMMAND}`; a test compares it. -->",
        "",
    ]
    for family in PLACES:
        text += lines(family)
    text += ["## Arguments that components here lack", "", "| Keras | why not, what instead |", "| --- | --- |"]
    text += [f"| {n} | {why.why[0].upper()}{why.why[1:]}: {why.instead}. |" for n, why in sorted(ARGUMENTS.items())]
    text.append("")
    own = [member for member in families()["layer"].members.values() if not hasattr(keras.layers, member.__name__)]
    text += ["## Layers that Keras has no class for", "", "| layer | what it is |", "| --- | --- |"]
    text += [f"| {member.__name__} | {_first_sentence(member)} |" for member in sorted(own, key=lambda m: m.__name__)]
    return "\n".join(text) + "\n"


def _first_sentence(member: type[Component]) -> str:
    return " ".join(inspect.cleandoc(member.__doc__ or "").split("\n\n")[0].split())


def _departures(member: type[Component]) -> Iterator[str]:
    """What its documentation says after the word."""
    documents = [member.__doc__ or "", sys.modules[member.__module__].__doc__ or ""]
    for document in documents:
        for paragraph in inspect.cleandoc(document).split("\n\n"):
            if found := re.search(r"Departures?\b[^:,]*[:,].*", " ".join(paragraph.split())):
                yield _escaped(found[0])


def _arguments(member: type[Component], other: Any) -> Iterator[str]:
    """Keras's arguments that it does not take, and those that have one value alone."""
    fields = member.model_fields
    if shown := [name for name in absent(member, other) if name != "dtype"]:
        yield f"Without {', '.join(f'`{name}`' for name in shown)}."
    for name, field in fields.items():
        if typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1:
            yield f"`{name}` is `{str(typing.get_args(field.annotation)[0]).lower()}` alone."


def absent(member: type[Component], other: Any) -> list[str]:
    """Keras's arguments that it does not take."""
    if not inspect.isclass(other):
        return []
    return [n for n in inspect.signature(other.__init__).parameters if n not in {*member.model_fields, *PYTHON_S}]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
