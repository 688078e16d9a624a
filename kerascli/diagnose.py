"""From pydantic's complaints to Problems: located, merged where one mistake makes several, and with the mend."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from kerascli import slips
from kerascli.component import MODULES, Component, nearest
from kerascli.docs import sentences
from kerascli.errors import Problem, Span
from kerascli.left_out import reason, without
from kerascli.yamltext import Document, Node, Place, describe, inline

KEYS = ("missing", "extra_forbidden", "invalid_key")


@dataclass(frozen=True)
class Complaint:
    """One of pydantic's errors, with its way through the text."""

    kind: str
    place: Place
    """The part of `loc` that the text has: what validators and unions added is left out."""
    name: Any
    """The last element of `loc`: the key that is missing or unknown."""
    given: Any
    context: dict[str, Any]
    message: str

    @property
    def of_key(self) -> bool:
        """Whether a mapping's key is wrong rather than the value under it."""
        return bool(self.name == "[key]")

    @property
    def about_key(self) -> bool:
        return self.kind in KEYS and not (self.kind == "missing" and isinstance(self.name, int))


def diagnose(error: ValidationError, document: Document, top: type[BaseModel]) -> list[Problem]:
    """The Problems behind a ValidationError of `top`, whose values `document` holds."""
    found = [_complaint(e, document) for e in error.errors(include_url=False)]
    found = [c for c in found if not _outdone(c, found)]
    reader = _Reader(document, top)
    keys = [c for c in found if c.about_key]
    problems = list(reader.keys(keys))
    for group in _by_place([c for c in found if not c.about_key]):
        problems += reader.values(group)
    return list(dict.fromkeys(problems))


def _complaint(error: Any, document: Document) -> Complaint:
    loc: tuple[Any, ...] = error["loc"]
    keyed = error["type"] in KEYS and not (error["type"] == "missing" and isinstance(loc[-1], int))
    way = loc[:-1] if keyed else loc
    place = tuple(step for step, _ in document.trail(way))
    kind = error["type"]
    return Complaint(kind, place, loc[-1] if loc else "", error["input"], error.get("ctx", {}), error["msg"])


def _outdone(complaint: Complaint, others: Iterable[Complaint]) -> bool:
    """Whether it only says that a value is not of the branch of a union whose other branch got further."""
    if complaint.about_key or complaint.kind in ("value_error", "assertion_error"):
        return False
    at = complaint.place
    component = complaint.kind.startswith("component_")
    for other in others:
        further = other.place[: len(at)] == at and (len(other.place) > len(at) or other.about_key)
        if further and not component:
            return True
        if other.place == at and other.kind in ("component_unknown", "component_untyped") and not component:
            return isinstance(other.given, dict) or bool(other.context.get("near"))
    return False


def _by_place(complaints: list[Complaint]) -> Iterator[list[Complaint]]:
    groups: dict[Place, list[Complaint]] = {}
    for complaint in complaints:
        groups.setdefault(complaint.place, []).append(complaint)
    yield from groups.values()


class _Reader:
    """Knows which model stands behind each place of the text."""

    def __init__(self, document: Document, top: type[BaseModel]) -> None:
        self.document, self.top = document, top

    def keys(self, complaints: list[Complaint]) -> Iterator[Problem]:
        """Unknown and missing keys; a misspelt required key is both, and becomes one Problem."""
        owners: dict[Place, list[Complaint]] = {}
        for complaint in complaints:
            owners.setdefault(complaint.place, []).append(complaint)
        for place, found in owners.items():
            missing = [c.name for c in found if c.kind == "missing"]
            value = self.document.node(place).value
            unknown = [c.name for c in found if c.kind != "missing" and not slips.is_rest(c.name, value)]
            model = self.model(place)
            for key in unknown:
                near = self.near(str(key), place, model, missing if len(unknown) == 1 else [])
                if near in missing:
                    missing.remove(near)
                yield self.unknown_key(key, near, place, model)
            for key in missing:
                yield self.missing_key(key, place, model)

    def near(self, key: str, place: Place, model: type[BaseModel], missing: list[str]) -> str:
        if without(getattr(model, "family", ""), key):
            return ""
        given = self.document.node(place).parts
        free = [name for name in model.model_fields if name not in given]
        if found := nearest(key, missing) or nearest(key, free) or slips.SYNONYMS.get(key, ""):
            return found if found in free else ""
        if len(missing) == 1 and model is not self.top:
            return missing[0]
        return nearest(key, [name for name in model.model_fields if name in given]) or ""

    def unknown_key(self, key: Any, near: str, place: Place, model: type[BaseModel]) -> Problem:
        owner = self.owner(place)
        where = self.document.key_span((*place, key))
        if why := without(getattr(model, "family", ""), key):
            return Problem("E203", f"`{key}` of {owner} is left out: {why.why}", where, help=why.instead)
        meant = f"`{near}`" if near else self.elsewhere(str(key), model)
        label = f"did you mean {meant}?" if meant else ""
        if issubclass(model, Component):
            help = f"see `kerascli explain {model.type_name()}`"
        else:
            listed = slips.CALLS.get(key, "") if model is self.top else ""
            help = "" if meant else listed or f"keys: {', '.join(model.model_fields)}"
        return Problem("E203", f"unknown key `{key}` in {owner}", where, label, help)

    def elsewhere(self, key: str, model: type[BaseModel]) -> str:
        """Where in the document a key belongs that was written one level too high or too low."""
        for name, field in self.top.model_fields.items():
            for part in _models(field.annotation):
                if model is self.top and not issubclass(part, Component) and key in part.model_fields:
                    return f"`{name}.{key}`"
                if model is part and not issubclass(part, Component) and key in self.top.model_fields:
                    return f"`{key}` at the top of the spec"
        return ""

    def missing_key(self, key: str, place: Place, model: type[BaseModel]) -> Problem:
        sentence = sentences(model).get(key)
        about = f"`{key}`: {sentence}" if sentence else ""
        more = f"see `kerascli explain {model.type_name()}`" if issubclass(model, Component) else ""
        help = "; ".join(part for part in (about.rstrip("."), more) if part)
        return Problem("E202", f"{self.owner(place)} needs `{key}`", self.owner_span(place), "", help)

    def values(self, complaints: list[Complaint]) -> list[Problem]:
        """What is said of one value; several types that it might have been are joined by `or`."""
        first, kinds = complaints[0], [c.kind for c in complaints]
        if first.kind.startswith("component_") and len(set(kinds)) == 1:
            return [self.component(first)]
        if own := [c for c in complaints if c.kind not in _PHRASES]:
            return [self.said(own[0])]
        phrases = list(dict.fromkeys(_phrase(c) for c in complaints))
        node = self.document.node(first.place)
        problem = self.wrong(first, " or ".join(phrases), _code(first))
        near = next((n for c in complaints if (n := _near_choice(c))), "")
        around, key = self.document.node(first.place[:-1]), first.place[-1] if first.place else ""
        label, help = ("", "") if first.of_key else slips.slip(node, around, key, kinds)
        label = f"did you mean `{near}`?" if near else label
        return [Problem(problem.code, problem.message, problem.where, label, help)]

    def wrong(self, complaint: Complaint, phrase: str, code: str) -> Problem:
        place, node = complaint.place, self.document.node(complaint.place)
        if complaint.of_key:
            message = f"the keys of {self.owner(place[:-1])} must be {phrase}; got {describe(place[-1])}"
            return Problem(code, message, self.document.key_span(place))
        return Problem(code, f"{self.subject(place)} must be {phrase}; got {describe(node.value)}", node.span)

    def said(self, complaint: Complaint) -> Problem:
        """A validator's own words, which begin with a verb (`must be …`, `needs …`) or are a sentence."""
        context_error = complaint.context.get("error")
        words = str(context_error) if context_error else complaint.message
        node = self.document.node(complaint.place)
        inside = isinstance(node.value, dict) or self.is_component(complaint.place)
        subject = self.owner(complaint.place) if inside else self.subject(complaint.place)
        if not words.startswith(("must ", "needs ", "takes ", "has ", "cannot ", "can ", "is ", "are ", "reads ")):
            message = f"{subject}: {words}"
        else:
            message = f"{subject} {words}"
        if not inside and words.startswith("must ") and "not " not in words:
            message += f"; got {describe(node.value)}"
        where = self.owner_span(complaint.place) if inside else node.span
        return Problem("E205", message, where)

    def component(self, complaint: Complaint) -> Problem:
        """What names no component."""
        node, family = self.document.node(complaint.place), complaint.context["family"]
        if complaint.kind == "component_type":
            return self.wrong(complaint, _phrase(complaint), "E204")
        if complaint.kind == "component_untyped":
            return self.untyped(node, family, complaint.place)
        name, near = complaint.context["name"], complaint.context["near"]
        where = node.parts["type"].span if "type" in node.parts else node.span
        if why := reason(family, name):
            return Problem("E201", f"the {family} `{name}` of Keras is left out: {why.why}", where, help=why.instead)
        label, names = (f"did you mean `{near}`?" if near else ""), complaint.context["names"]
        if meant := slips.called(name, _family(family)):
            return Problem("E201", f"`{name}` is a call in Python", where, f"write `{meant}`")
        other = "" if near else _other_family(name, family)
        if other:
            label = f"`{name}` is {other}"
        few = len(names) <= 12
        help = "" if label else f"there are {', '.join(names)}" if few else "`kerascli explain` lists them all"
        return Problem("E201", f"unknown {family} `{name}`", where, label, help)

    def untyped(self, node: Node, family: str, place: Place) -> Problem:
        label = help = ""
        if len(node.parts) == 1:
            ((key, part),) = node.parts.items()
            if _family(family).find(str(key)):
                inner = slips.rejoined(part.value) if isinstance(part.value, dict) else {}
                label = f"write `{inline({'type': key, **inner})}`"
        if not label:
            help = f"say which {family}, as in `type: {next(iter(_family(family).members), 'Name')}`"
        return Problem("E207", f"{self.subject(place)} needs a `type`", node.span, label, help)

    def subject(self, place: Place) -> str:
        """The value at a place in words: "`kernel_size[1]` of Conv2D", "`epochs` of `training`"."""
        named = list(place)
        cut = max((k for k, step in enumerate(named) if isinstance(step, str)), default=-1)
        if cut < 0:
            return "the spec"
        key = f"{named[cut]}{''.join(f'[{k}]' for k in named[cut + 1 :])}"
        owner = self.owner(place[:cut])
        return f"`{key}`" if owner == "the spec" else f"`{key}` of {owner}"

    def owner(self, place: Place) -> str:
        """The component or section at a place in words."""
        if not place:
            return "the spec"
        name = _type_name(self.document.node(place))
        if self.is_component(place):
            return str(name)
        return f"`{'.'.join(str(step) for step in place)}`"

    def is_component(self, place: Place) -> bool:
        """Whether the value at `place` is a component itself, not an argument of one."""
        around = self.model(place[:-1]) if place else self.top
        node = self.document.node(place)
        return any(issubclass(m, Component) and m.find(str(_type_name(node))) for m in self.candidates(place, around))

    def candidates(self, place: Place, model: type[BaseModel]) -> list[type[BaseModel]]:
        """The models that may stand at `place`, inside of `model`."""
        keys = [step for step in place if isinstance(step, str) and step in model.model_fields]
        return _models(model.model_fields[keys[-1]].annotation) if keys else []

    def owner_span(self, place: Place) -> Span:
        """Where a component says its type, or a section its key."""
        node = self.document.node(place)
        if "type" in node.parts:
            return node.parts["type"].span
        return self.document.key_span(place) if place and isinstance(place[-1], str) else node.span

    def model(self, place: Place) -> type[BaseModel]:
        """The model whose fields the value at `place` holds, or the nearest around it."""
        model: type[BaseModel] = self.top
        candidates: list[type[BaseModel]] = []
        for step, node in self.document.trail(place):
            if isinstance(step, str) and step in model.model_fields and not candidates:
                candidates = _models(model.model_fields[step].annotation)
            if found := _resolve(candidates, node):
                model, candidates = found, []
            elif not node.parts:
                candidates = []
        return model


def _family(name: str) -> type[Component]:
    return next(f for f in Component.__subclasses__() if f.family == name)


def _resolve(candidates: list[type[BaseModel]], node: Node) -> type[BaseModel] | None:
    name = _type_name(node)
    for candidate in candidates:
        if not issubclass(candidate, Component):
            if isinstance(node.value, dict):
                return candidate
        elif isinstance(name, str) and (member := candidate.find(name)):
            return member
    return None


def _type_name(node: Node) -> Any:
    return node.parts["type"].value if "type" in node.parts else node.value


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation, however deep in unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _other_family(name: str, family: str) -> str:
    """The family that does know the name, as words."""
    for other in MODULES:
        found = next((f for f in Component.__subclasses__() if f.family == other), None)
        if other != family and found is not None and found.find(name):
            return f"{'an' if other[0] in 'aio' else 'a'} {other}, not {'an' if family[0] in 'aio' else 'a'} {family}"
    return ""


_PHRASES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "missing": "a longer list",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "component_type": "the name of {article} {family} or a mapping with `type`",
    "component_unknown": "the name of {article} {family}",
}
_LIMITS = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "multiple_of",
    "finite_number",
    "literal_error",
    "too_short",
    "too_long",
    "missing",
}


def _phrase(complaint: Complaint) -> str:
    context = dict(complaint.context)
    family = str(context.get("family", " "))
    context["article"] = "an" if family[0] in "aio" else "a"
    if complaint.kind == "literal_error":
        context["expected"] = str(context["expected"]).replace("'", "`")
    return _PHRASES[complaint.kind].format(**context)


def _code(complaint: Complaint) -> str:
    return "E205" if complaint.kind in _LIMITS else "E204"


def _near_choice(complaint: Complaint) -> str:
    if complaint.kind != "literal_error" or not isinstance(complaint.given, str):
        return ""
    choices = str(complaint.context["expected"]).split("'")[1::2]
    return nearest(complaint.given, choices)
