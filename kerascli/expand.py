"""The layers as written out: names given, structure (`Repeat`, `Residual`, `Model`, …) replaced by what it stands for.

The layers of a nested model `encoder` are called `encoder/dense`; its inputs and outputs are steps of the graph of
their own, so that Keras's view of it, where it is one layer, can be found again.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

from kerascli.draft import MAX_LAYERS, Draft
from kerascli.errors import Problem, SpecFailure
from kerascli.layer import Layer
from kerascli.layers.structure import Input, Model, Repeat, Residual, Reuse, _Entry, _Exit, _Part
from kerascli.reuse import shared
from kerascli.spec import Loaded
from kerascli.yamltext import Place

PART = re.compile(r"(.+):(\d+)")
"""`name:1` is the second output of the layer `name`."""
STRUCTURE = (Input, Model, Repeat, Residual, Reuse)


@dataclass
class _Nest:
    """A nested model that is being written, and what it reads."""

    name: str
    inputs: tuple[str, ...]
    places: tuple[Place, ...]
    entries: int = 0
    """How many Inputs it has so far."""


@dataclass(frozen=True)
class _Scope:
    """What names mean inside one time of a Repeat or one nested model, and whether its layers are trained."""

    names: dict[str, str]
    outer: _Scope | None = None
    trainable: bool = True
    nest: _Nest | None = None
    """The nested model around it; names in it mean its own layers alone."""

    def meaning(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        if part := PART.fullmatch(name):
            return f"{self.meaning(part[1])}:{part[2]}"
        if self.outer and self.outer.nest is self.nest:
            return self.outer.meaning(name)
        return self.prefix + name

    @property
    def prefix(self) -> str:
        return f"{self.nest.name}/" if self.nest else ""

    def within(self, names: dict[str, str], layer: Layer) -> _Scope:
        """The same for the layers of a Repeat or Residual."""
        return _Scope(names, self, self.trainable and layer.trainable, self.nest)


def expand(loaded: Loaded, problems: list[Problem]) -> list[Draft]:
    """Every layer call of the spec in the order of writing; what is wrong with names is added to `problems`."""
    writer = _Writer(loaded, problems)
    layers = loaded.spec.layers
    first = None
    if not any(isinstance(layer, Input) for layer in _all(layers)):
        first = writer.automatic(Input)
        writer.drafts.append(Draft(first, Input(), (), ("layers",), position=-1))
    writer.stack(layers, ("layers",), first, _Scope({}))
    return [*_parts(shared(writer.drafts, writer.aliases, loaded, problems), loaded)]


def _all(layers: list[Layer], nested: bool = False) -> Iterator[Layer]:
    """Every layer written in a model; with those of nested models, or without."""
    for layer in layers:
        yield layer
        if isinstance(layer, (Repeat, Residual)) or (nested and isinstance(layer, Model)):
            yield from _all(layer.layers, nested)


def frozen(layer: Layer) -> Layer:
    """The layer, and those that it wraps, as Keras makes them when something around them is not trained."""
    parts = {key: getattr(layer, key) for key in type(layer).model_fields}
    inner: dict[str, Any] = {key: frozen(part) for key, part in parts.items() if isinstance(part, Layer)}
    return layer.model_copy(update={"trainable": False, **inner})


def _names(layers: list[Layer]) -> Iterator[str]:
    """Names that mean a layer of their own in each time of a Repeat; a Repeat inside sees to its own."""
    for layer in layers:
        if layer.name:
            yield layer.name
        if isinstance(layer, Residual):
            yield from _names(layer.layers)


def _parts(drafts: list[Draft], loaded: Loaded) -> Iterator[Draft]:
    """The drafts, and one for each further output of a layer that another, or `outputs`, reads."""
    names = {draft.name for draft in drafts}
    asked = [name for name in loaded.spec.outputs or () if name not in names]
    wanted: dict[str, Place] = dict.fromkeys(asked, ("outputs",))
    wanted |= {name: place for d in drafts for name, place in zip(d.inputs, d.places, strict=True) if name not in names}
    for draft in drafts:
        yield replace(draft, inputs=tuple(_first(name, names) for name in draft.inputs))
        for name, place in wanted.items():
            part = PART.fullmatch(name)
            if part and part[1] == draft.name and int(part[2]):
                reads, number = (draft.name,), int(part[2])
                yield Draft(name, _Part(number=number), reads, place, (place,), position=-1, inside=draft.inside)


def _first(name: str, names: Container[str]) -> str:
    """`name:0` is the layer itself."""
    return name[:-2] if name.endswith(":0") and name not in names else name


class _Writer:
    def __init__(self, loaded: Loaded, problems: list[Problem]) -> None:
        self.loaded, self.problems = loaded, problems
        self.drafts: list[Draft] = []
        self.aliases: dict[str, str] = {}
        """Names of Repeats, which mean their last layer."""
        self.counts: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        """How often each name of a repeated layer was numbered."""
        self.explicit = {layer.name for layer in _all(loaded.spec.layers, nested=True) if layer.name}
        self.given: dict[str, Place] = {}

    def stack(self, layers: list[Layer], place: Place, previous: str | None, scope: _Scope) -> str | None:
        """Write layers one after the other; returns the name of the last."""
        for index, layer in enumerate(layers):
            previous = self.layer(layer, (*place, index), previous, scope)
        return previous

    def layer(self, layer: Layer, path: Place, previous: str | None, scope: _Scope) -> str:
        if len(self.drafts) >= MAX_LAYERS:
            raise SpecFailure(self.problem("E305", f"the spec has more than {MAX_LAYERS:,} layers", path))
        if isinstance(layer, Input):
            return self.entry(layer, path, scope.nest, scope) if scope.nest else self.add(layer, path, (), (), scope)
        inputs, places = self.inputs(layer, path, previous, scope)
        if isinstance(layer, Repeat):
            return self.repeat(layer, path, inputs, scope)
        if isinstance(layer, Residual):
            return self.residual(layer, path, inputs, scope)
        if isinstance(layer, Model):
            return self.model(layer, path, inputs, places, scope)
        return self.add(layer, path, inputs, places, scope)

    def inputs(
        self, layer: Layer, path: Place, previous: str | None, scope: _Scope
    ) -> tuple[tuple[str, ...], tuple[Place, ...]]:
        found: list[tuple[str, Place]] = []
        if layer.inputs is None and previous is None:
            help = "begin with an Input, or say `inputs:`"
            self.problems.append(self.problem("E309", f"{type(layer).__name__} has no layer before it", path, help))
        elif layer.inputs is None:
            found.append((str(previous), path))
        elif not layer.inputs:
            self.problems.append(self.problem("E309", f"{type(layer).__name__} has no inputs", (*path, "inputs")))
        for key in ("inputs", *layer.references):
            given = getattr(layer, key)
            if isinstance(given, str):
                found.append((scope.meaning(given), (*path, key)))
            else:
                found += [(scope.meaning(name), (*path, key, k)) for k, name in enumerate(given or ())]
        return tuple(name for name, _ in found), tuple(place for _, place in found)

    def repeat(self, layer: Repeat, path: Place, inputs: tuple[str, ...], scope: _Scope) -> str:
        previous = self.single(layer, path, inputs)
        for _ in range(layer.times):
            names = {name: self.fresh(scope.prefix + name) for name in _names(layer.layers)}
            previous = self.stack(layer.layers, (*path, "layers"), previous, scope.within(names, layer))
        if layer.name:
            self.aliases[scope.meaning(layer.name)] = str(previous)
        return str(previous)

    def residual(self, layer: Residual, path: Place, inputs: tuple[str, ...], scope: _Scope) -> str:
        start = self.single(layer, path, inputs)
        end = self.stack(layer.layers, (*path, "layers"), start, scope.within({}, layer))
        add = Layer.parse({"type": "Add", "name": layer.name})
        return self.add(add, path, (str(start), str(end)), (path, path), scope)

    def single(self, layer: Layer, path: Place, inputs: tuple[str, ...]) -> str | None:
        if len(inputs) > 1:
            message = f"{type(layer).__name__} takes one input, not {len(inputs)}"
            self.problems.append(self.problem("E303", message, path, "join them first, with Concatenate or Add"))
        return inputs[0] if inputs else None

    def model(
        self, layer: Model, path: Place, inputs: tuple[str, ...], places: tuple[Place, ...], scope: _Scope
    ) -> str:
        """Its layers, between an entry for each input and an exit for each output."""
        name = self.named(layer, path, scope)
        nest = _Nest(name, inputs, places)
        inner = _Scope({}, scope, scope.trainable and layer.trainable, nest)
        first = None
        if not any(isinstance(part, Input) for part in _all(layer.layers)):
            first = self.entry(Input(), path, nest, inner)
        last = self.stack(layer.layers, (*path, "layers"), first, inner)
        if nest.entries != len(inputs) and inputs:
            has = f"has {nest.entries} Input{'s' * (nest.entries > 1)}" if first is None else "has no Input"
            message = f"Model `{name}` reads {len(inputs)} layer{'s' * (len(inputs) > 1)} and {has}"
            help = "name a layer for each of its Inputs in `inputs: [a, b]`, in their order"
            help = help if first is None else "begin its `layers` with an Input for each"
            self.problems.append(self.problem("E303", message, path, help))
        given = layer.outputs
        outputs = [str(last)] if given is None else [inner.meaning(each) for each in given]
        for number, output in enumerate(outputs):
            place = path if given is None else (*path, "outputs", number)
            if output in outputs[:number]:
                where = self.loaded.document.span(place)
                self.problems.append(Problem("E305", f"`outputs` of Model `{name}` names one layer twice", where))
            exit = _Exit(number=number, count=len(outputs), model=name, trainable=inner.trainable)
            title, position = (f"{name}:{number}", -1) if number else (name, len(self.drafts))
            around = scope.nest.name if scope.nest else ""
            self.drafts.append(Draft(title, exit, (output,), path, (place,), position=position, inside=around))
        return name

    def entry(self, layer: Input, path: Place, nest: _Nest, scope: _Scope) -> str:
        """An Input of a nested model, fed by what the model reads."""
        name, number = self.named(layer, path, scope), nest.entries
        nest.entries += 1
        reads = slice(number, number + 1)
        entry = _Entry(number=number, declared=layer)
        self.drafts.append(
            Draft(name, entry, nest.inputs[reads], path, nest.places[reads], position=-1, inside=nest.name)
        )
        return name

    def add(self, layer: Layer, path: Place, inputs: tuple[str, ...], places: tuple[Place, ...], scope: _Scope) -> str:
        for inner in self.wrapped(layer):
            if isinstance(inner, STRUCTURE):
                kind, held = type(layer).__name__, type(inner).__name__
                help = f"write {kind} around each layer of it" if not isinstance(inner, (Input, Reuse)) else ""
                self.problems.append(self.problem("E205", f"{kind} cannot hold a {held}", path, help))
            if inner.name is None:
                self.automatic(type(inner))
        name = self.named(layer, path, scope)
        layer = layer if scope.trainable else frozen(layer)
        position, inside = len(self.drafts), scope.nest.name if scope.nest else ""
        self.drafts.append(Draft(name, layer, inputs, path, places, position=position, inside=inside))
        return name

    def named(self, layer: Layer, path: Place, scope: _Scope) -> str:
        """The layer's own name or an automatic one, noted as given."""
        name = scope.meaning(layer.name) if layer.name else scope.prefix + self.automatic(type(layer))
        if "/" in (layer.name or ""):
            where = self.loaded.document.span((*path, "name"))
            message = f"the layer name `{layer.name}` holds a `/`, which stands between a nested model and its layers"
            self.problems.append(Problem("E205", message, where, help="use `_` instead"))
        if name in self.given:
            first = self.loaded.document.span(self.given[name])
            where = self.loaded.document.span((*path, "name"))
            label = f"first given at line {first.line}, column {first.column}"
            self.problems.append(Problem("E305", f"two layers are called `{name}`", where, label, "rename one of them"))
        self.given.setdefault(name, (*path, "name"))
        return name

    def wrapped(self, layer: Layer) -> Iterator[Layer]:
        """Layers that a wrapper holds: Keras names them first, and so counts them."""
        for key in type(layer).model_fields:
            inner = getattr(layer, key)
            if isinstance(inner, Layer):
                yield from self.wrapped(inner)
                yield inner

    def automatic(self, kind: type[Layer]) -> str:
        """Keras's automatic name: the class in snake_case, numbered from the second on."""
        base = {Input: "input_layer", Model: "functional"}.get(kind) or kind.keras_name()
        while True:
            count = self.counts.get(base, 0)
            self.counts[base] = count + 1
            name = f"{base}_{count}" if count else base
            if name not in self.explicit:
                return name

    def fresh(self, name: str) -> str:
        """A name for one more time of a repeated layer."""
        number, found = self.numbers.get(name, 0), name
        while found in self.given or found in self.aliases or (number and found.split("/")[-1] in self.explicit):
            number += 1
            found = f"{name}_{number}"
        self.numbers[name] = number
        return found

    def problem(self, code: str, message: str, place: Place, help: str = "") -> Problem:
        return Problem(code, message, self.loaded.document.type_span(place), help=help)
