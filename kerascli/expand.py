"""The layers as written out: names given, structure (`Repeat`, `Residual`, `Reuse`) replaced by what it stands for."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from kerascli.component import Component, nearest, snake_case
from kerascli.errors import Problem, SpecFailure
from kerascli.layer import Layer
from kerascli.layers.structure import Input, Repeat, Residual, Reuse, _Part
from kerascli.spec import Loaded
from kerascli.yamltext import Place

MAX_LAYERS = 10_000
PART = re.compile(r"(.+):(\d+)")
"""`name:1` is the second output of the layer `name`."""


@dataclass(frozen=True)
class Draft:
    """A layer with its name and inputs, before shapes are known."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    path: Place
    places: tuple[Place, ...] = ()
    """Where each input's name is written, or the layer's place where it follows from the order."""
    shared: str | None = None
    trainable: bool = True
    position: int = 0
    """Its place in the order of writing; an Input that nobody wrote has -1."""

    @property
    def title(self) -> str:
        return f"{type(self.layer).__name__} `{self.name}`"


@dataclass(frozen=True)
class _Scope:
    """What names mean inside one time of a Repeat, and whether its layers are trained."""

    names: dict[str, str]
    outer: _Scope | None = None
    trainable: bool = True

    def meaning(self, name: str) -> str:
        if name in self.names:
            return self.names[name]
        if part := PART.fullmatch(name):
            return f"{self.meaning(part[1])}:{part[2]}"
        return self.outer.meaning(name) if self.outer else name


def expand(loaded: Loaded, problems: list[Problem]) -> list[Draft]:
    """Every layer call of the spec in the order of writing; what is wrong with names is added to `problems`."""
    writer = _Writer(loaded, problems)
    layers = loaded.spec.layers
    first = None
    if not any(isinstance(layer, Input) for layer in _all(layers)):
        first = writer.automatic(Input)
        writer.drafts.append(Draft(first, Input(), (), ("layers",), position=-1))
    writer.stack(layers, ("layers",), first, _Scope({}))
    return [*_parts(writer.shared(), loaded)]


def _all(layers: list[Layer]) -> Iterator[Layer]:
    for layer in layers:
        yield layer
        if isinstance(layer, (Repeat, Residual)):
            yield from _all(layer.layers)


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
                yield Draft(name, _Part(number=int(part[2])), (draft.name,), place, (place,), position=-1)


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
        self.explicit = {layer.name for layer in _all(loaded.spec.layers) if layer.name}
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
            return self.add(layer, path, (), (), scope)
        inputs, places = self.inputs(layer, path, previous, scope)
        if isinstance(layer, Repeat):
            return self.repeat(layer, path, inputs, scope)
        if isinstance(layer, Residual):
            return self.residual(layer, path, inputs, scope)
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
            names = {name: self.fresh(name) for name in _names(layer.layers)}
            inner = _Scope(names, scope, scope.trainable and layer.trainable)
            previous = self.stack(layer.layers, (*path, "layers"), previous, inner)
        if layer.name:
            self.aliases[scope.meaning(layer.name)] = str(previous)
        return str(previous)

    def residual(self, layer: Residual, path: Place, inputs: tuple[str, ...], scope: _Scope) -> str:
        start = self.single(layer, path, inputs)
        inner = _Scope({}, scope, scope.trainable and layer.trainable)
        end = self.stack(layer.layers, (*path, "layers"), start, inner)
        add = Layer.parse({"type": "Add", "name": layer.name})
        return self.add(add, path, (str(start), str(end)), (path, path), scope)

    def single(self, layer: Layer, path: Place, inputs: tuple[str, ...]) -> str | None:
        if len(inputs) > 1:
            message = f"{type(layer).__name__} takes one input, not {len(inputs)}"
            self.problems.append(self.problem("E303", message, path, "join them first, with Concatenate or Add"))
        return inputs[0] if inputs else None

    def add(self, layer: Layer, path: Place, inputs: tuple[str, ...], places: tuple[Place, ...], scope: _Scope) -> str:
        for inner in self.wrapped(layer):
            self.automatic(type(inner))
        name = scope.meaning(layer.name) if layer.name else self.automatic(type(layer))
        if name in self.given:
            first = self.loaded.document.span(self.given[name])
            where = self.loaded.document.span((*path, "name"))
            label = f"first given at line {first.line}, column {first.column}"
            self.problems.append(Problem("E305", f"two layers are called `{name}`", where, label, "rename one of them"))
        self.given.setdefault(name, (*path, "name"))
        position = len(self.drafts)
        self.drafts.append(Draft(name, layer, inputs, path, places, trainable=scope.trainable, position=position))
        return name

    def wrapped(self, layer: Layer) -> Iterator[Layer]:
        """Layers without a name that a wrapper holds: Keras names them first, and so counts them."""
        for key in type(layer).model_fields:
            inner = getattr(layer, key)
            if isinstance(inner, Layer):
                yield from self.wrapped(inner)
                if inner.name is None:
                    yield inner

    def automatic(self, kind: type[Component]) -> str:
        """Keras's automatic name: the class in snake_case, numbered from the second on."""
        base = "input_layer" if kind is Input else "" if kind is Reuse else snake_case(kind.__name__)
        base = base or "reuse"
        while True:
            count = self.counts.get(base, 0)
            self.counts[base] = count + 1
            name = f"{base}_{count}" if count else base
            if name not in self.explicit:
                return name

    def fresh(self, name: str) -> str:
        """A name for one more time of a repeated layer."""
        number, found = self.numbers.get(name, 0), name
        while found in self.given or found in self.aliases or (number and found in self.explicit):
            number += 1
            found = f"{name}_{number}"
        self.numbers[name] = number
        return found

    def shared(self) -> list[Draft]:
        """The drafts with every Reuse replaced by the layer it means, and names of Repeats by their last layer's."""
        by_name = {draft.name: draft for draft in self.drafts}
        found = []
        for draft in self.drafts:
            inputs = tuple(self.aliases.get(name, name) for name in draft.inputs)
            layer, owner = draft.layer, draft.name
            seen = {owner}
            while isinstance(layer, Reuse) and layer.layer in by_name and layer.layer not in seen:
                owner = layer.layer
                seen.add(owner)
                layer = by_name[owner].layer
            if (isinstance(layer, (Reuse, Input)) and owner != draft.name) or isinstance(layer, Reuse):
                self.problems.append(self.unknown_reuse(draft, layer, by_name))
                continue
            shared = owner if owner != draft.name else None
            trainable = by_name[owner].trainable
            found.append(Draft(draft.name, layer, inputs, draft.path, draft.places, shared, trainable, draft.position))
        return found

    def unknown_reuse(self, draft: Draft, layer: Layer, by_name: dict[str, Draft]) -> Problem:
        place = (*draft.path, "layer")
        if isinstance(layer, Input):
            return self.problem("E308", f"Reuse `{draft.name}` means an Input, which has no weights to share", place)
        assert isinstance(layer, Reuse)
        names = [d.name for d in self.drafts if not isinstance(d.layer, (Input, Reuse))]
        near = nearest(layer.layer, names)
        where = self.loaded.document.span(place)
        if layer.layer in by_name:
            return Problem("E306", f"Reuse `{draft.name}` means itself", where, help="name another layer")
        message = f"Reuse `{draft.name}` means `{layer.layer}`, and no layer is called so"
        return Problem("E304", message, where, f"did you mean `{near}`?" if near else "")

    def problem(self, code: str, message: str, place: Place, help: str = "") -> Problem:
        node = self.loaded.document.node(place)
        span = node.parts["type"].span if "type" in node.parts else node.span
        return Problem(code, message, span, help=help)
