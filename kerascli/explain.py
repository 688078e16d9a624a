"""What every name of a spec means: components with their arguments, sections of the document, error codes."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kerascli.codes import CODES
from kerascli.component import Component, families, nearest, plain
from kerascli.docs import sentences
from kerascli.errors import Problem, SpecFailure
from kerascli.left_out import LEFT_OUT, Reason, reason
from kerascli.spec import Spec
from kerascli.yamltext import inline

WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Argument:
    """One argument of a component."""

    name: str
    kind: str
    default: str
    """As YAML; empty where it must be given."""
    about: str


@dataclass(frozen=True)
class Entry:
    """What is known under one name."""

    name: str
    family: str
    """`layer`, `loss`, …; `section` of the spec; `error`."""
    about: str
    arguments: tuple[Argument, ...] = ()
    aliases: tuple[str, ...] = ()
    example: str = ""


def listing() -> dict[str, list[str]]:
    """Every family with its members: the names that a spec says."""
    found = {}
    for name, family in families().items():
        family.names()
        found[name] = sorted({member.type_name() for member in family.members.values()})
    return found


def explain(name: str) -> list[Entry]:
    """All that a name may mean; a loss and a metric often share one. An unknown name is a SpecFailure."""
    if name.upper() in CODES:
        return [Entry(name.upper(), "error", CODES[name.upper()])]
    found = [_component(member, name) for family in families().values() if (member := family.find(name))]
    found += [_section(name, model) for model in _sections().get(name, [])]
    found += [_left_out(name, family, why) for family in LEFT_OUT if (why := reason(family, name))]
    if not found and name in listing():
        members = ", ".join(listing()[name])
        found.append(Entry(name, "family", f"{_docs(families()[name])}\n\nThere are {members}."))
    if not found:
        known = [word for family in families().values() for word in family.spellings()] + [*_sections(), *CODES]
        near = nearest(name, known)
        help = f"did you mean `{near}`?" if near else "`kerascli explain` lists all names"
        raise SpecFailure(Problem("E208", f"nothing is called `{name}`", help=help))
    return found


def _sections() -> dict[str, list[type[BaseModel]]]:
    """Parts of the document that are no components: the spec itself, `training`, `search`."""
    sections = {
        name: [kind]
        for name, field in Spec.model_fields.items()
        for kind in (field.annotation, *typing.get_args(field.annotation))  # one may be left out: `Search | None`
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Component)
    }
    return {"spec": [Spec], **sections}


def _section(name: str, model: type[BaseModel]) -> Entry:
    return Entry(name, "section of the spec", _docs(model), _arguments(model))


def _left_out(name: str, family: str, found: Reason) -> Entry:
    about = f"Left out of what Keras has: {found.why}.\nInstead: {found.instead}."
    return Entry(name, f"{family} of Keras, left out", about)


def _component(member: type[Component], typed: str) -> Entry:
    words = [word for word, other in member.loaded_names().items() if other is member]
    name = member.type_name()
    name = typed if name.startswith("_") else name  # a word for one of several classes, such as `accuracy`
    config = dict(member.examples[0].config) if member.examples else {}
    example = inline({"type": name, **plain(config)})
    aliases = tuple(word for word in dict.fromkeys((*words, *member.aliases)) if word != name)
    return Entry(name, member.family, _docs(member), _arguments(member), aliases, example)


def _docs(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _arguments(model: type[BaseModel]) -> tuple[Argument, ...]:
    """What must be given, then a component's own, then those of what it is a kind of, down to its family's."""
    order = {name: depth for depth, base in enumerate(model.__mro__) for name in inspect.get_annotations(base)}
    fields = sorted(model.model_fields.items(), key=lambda item: (not item[1].is_required(), order[item[0]]))
    about = sentences(model)
    return tuple(Argument(name, kind(f.annotation), _default(f), about.get(name, "")) for name, f in fields)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True) if not field.default_factory_takes_validated_data else None
    if value is PydanticUndefined:
        return ""
    if isinstance(value, Component):
        return type(value).type_name()
    return inline(plain(value))


def kind(annotation: Any) -> str:
    """A type in the words of YAML."""
    if annotation in WORDS:
        return WORDS[annotation]
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(part) for part in parts))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        many = len(set(parts) - {Ellipsis}) == 1
        words = kind(parts[0]) if many else " and ".join(kind(part) for part in parts)
        return f"{words}, or list of {len(parts)}" if many and Ellipsis not in parts else f"list of {words}"
    if origin in (list, set, frozenset):
        return f"list of {kind(parts[0])}" if parts else "list"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return f"mapping of {kind(parts[0])} to {kind(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Component):
        return annotation.family
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return "any"
