"""Spec to Graph: names as Keras gives them, layers in an order they can run in, and the shape of everything.

Every error of shapes, names and connections arises here, before any data is read: E301 a layer does not fit its input,
E302 an Input does not fit the dataset, E303 the wrong number of inputs, E304 an unknown name, E305 a name given twice,
E306 a cycle, E307 a layer that nothing reads, E308 shared weights that do not fit, E309 no input.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from kerascli.component import nearest
from kerascli.errors import Failure, Problem, Span, SpecFailure
from kerascli.expand import Draft, expand
from kerascli.layer import Layer, WeightSpec
from kerascli.layers.structure import Input, _Part
from kerascli.ops.ir import Shape, ShapeError
from kerascli.sources.base import Signature
from kerascli.spec import Loaded
from kerascli.yamltext import Place


@dataclass(frozen=True)
class Node:
    """One call of a layer."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    """Names of the nodes it reads."""
    path: Place
    """Where the spec writes it."""
    shape: Shape
    """Of one sample of its output."""
    dtype: str
    """`float`, or the name of an integer type."""
    weights: tuple[WeightSpec, ...] = ()
    further: tuple[Shape, ...] = ()
    """Shapes of the outputs after the first, which nodes called `name:1` … stand for."""
    shared: str | None = None
    """The node whose weights it uses, where it has none of its own."""
    trainable: bool = True

    @property
    def title(self) -> str:
        """As messages call it: Conv2D `last`."""
        return f"{type(self.layer).__name__} `{self.name}`"


@dataclass(frozen=True)
class Graph:
    """The model: nodes in an order they can run in, inputs first."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def weights(self) -> dict[str, WeightSpec]:
        """The model's weights by path, such as `conv2d/kernel`; shared ones once."""
        return {f"{node.name}/{spec.name}": spec for node in self.nodes if not node.shared for spec in node.weights}

    def count(self, trainable: bool | None = None) -> int:
        """Numbers in the weights: those that training changes, those that it does not, or all."""
        return sum(
            prod(spec.shape)
            for node in self.nodes
            if not node.shared
            for spec in node.weights
            if trainable is None or trainable == (spec.trainable and node.trainable)
        )


@dataclass(frozen=True)
class Outline:
    """The graph before shapes are known."""

    drafts: tuple[Draft, ...]
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(draft.name for draft in self.drafts if isinstance(draft.layer, Input))

    @property
    def writes_inputs(self) -> bool:
        """Whether the spec has Input layers; else there is one that nobody wrote."""
        return any(draft.position >= 0 for draft in self.drafts if isinstance(draft.layer, Input))


def build(loaded: Loaded, signature: Signature | None = None) -> Graph:
    """The graph of a spec, on what its dataset says of its data (or said, when `signature` was noted)."""
    found = outline(loaded)
    return infer(loaded, found, signature or peek(loaded, found))


def outline(loaded: Loaded) -> Outline:
    """Names, order and connections."""
    problems: list[Problem] = []
    drafts = _ordered(expand(loaded, problems), loaded, problems)
    outputs = _outputs(drafts, loaded, problems)
    if not problems:
        _unused(drafts, outputs, loaded, problems)
    if problems:
        raise SpecFailure(problems)
    return Outline(tuple(drafts), tuple(outputs))


def peek(loaded: Loaded, outline: Outline) -> Signature:
    """What the dataset says of its data; its problems without a place get that of `dataset`."""
    where = _span(loaded, ("dataset",))
    try:
        names = outline.inputs if outline.writes_inputs else ()
        found = loaded.spec.dataset.peek(loaded.base, names, outline.outputs)
    except Failure as failure:
        problems = [p if p.where else replace(p, where=where) for p in failure.problems]
        raise Failure(problems, failure.exit_code) from failure
    if not outline.writes_inputs and len(found.inputs) != 1:
        listed = ", ".join(f"`{name}`" for name in found.inputs)
        help = f"begin `layers` with an Input for each, such as {{type: Input, name: {next(iter(found.inputs))}}}"
        where = loaded.document.key_span(("layers",))
        raise SpecFailure(Problem("E309", f"the dataset has several inputs: {listed}", where, help=help))
    return found


def infer(loaded: Loaded, outline: Outline, signature: Signature) -> Graph:
    """The graph with shapes, dtypes and weights."""
    problems: list[Problem] = []
    builder = _Builder(loaded, signature, problems)
    nodes = tuple(node for draft in outline.drafts if (node := builder.node(draft)))
    if problems:
        raise SpecFailure(problems)
    return Graph(nodes, outline.inputs, outline.outputs)


def shown(shape: Sequence[int | None]) -> str:
    """A sample's shape with the batch axis, as Keras writes it."""
    return f"({', '.join(str(n) for n in (None, *shape))}{',' * (not shape)})"


def _span(loaded: Loaded, place: Place) -> Span:
    """A layer's place: that of its type, where it says one."""
    node = loaded.document.node(place)
    return node.parts["type"].span if "type" in node.parts else node.span


def _ordered(drafts: list[Draft], loaded: Loaded, problems: list[Problem]) -> list[Draft]:
    """Inputs first, then every layer after those it reads, else as written. Unknown names and cycles are problems."""
    by_name = {draft.name: draft for draft in drafts}
    for draft in drafts:
        for index, name in enumerate(draft.inputs):
            if name not in by_name:
                where = _span(loaded, draft.places[index])
                problems.append(unknown(name, list(by_name), where, f"{draft.title} reads"))
    if problems:
        return drafts
    done: dict[str, Draft] = {d.name: d for d in drafts if isinstance(d.layer, Input)}
    waiting = [d for d in drafts if d.name not in done]
    while waiting:
        ready = next((d for d in waiting if all(name in done for name in d.inputs)), None)
        if ready is None:
            problems.append(_cycle(waiting, done, loaded))
            return drafts
        done[ready.name] = ready
        waiting.remove(ready)
    return list(done.values())


def _cycle(waiting: list[Draft], done: Mapping[str, Draft], loaded: Loaded) -> Problem:
    by_name = {draft.name: draft for draft in waiting}
    way = [waiting[0].name]
    while way.count(way[-1]) < 2:
        way.append(next(name for name in by_name[way[-1]].inputs if name not in done))
    ring = way[way.index(way[-1]) :]
    start = min((by_name[name] for name in ring), key=lambda d: _span(loaded, d.path))
    words = " reads ".join(f"`{name}`" for name in ring)
    return Problem("E306", f"the layers go round in a circle: {words}", _span(loaded, start.path))


def unknown(name: str, names: Sequence[str], where: Span, who: str) -> Problem:
    """An unknown layer's name, with the one that was probably meant."""
    near = nearest(name, names)
    few = f"there are {', '.join(f'`{n}`' for n in names)}" if len(names) <= 12 else ""
    help = few or "`kerascli summary` shows the names of all layers"
    return Problem(
        "E304", f"{who} `{name}`, and no layer is called so", where, f"did you mean `{near}`?" * bool(near), help
    )


def _outputs(drafts: list[Draft], loaded: Loaded, problems: list[Problem]) -> list[str]:
    names = loaded.spec.outputs
    if names is None:
        last = max(drafts, key=lambda d: d.position)
        return [last.name]
    known = [draft.name for draft in drafts]
    for index, name in enumerate(names):
        where = loaded.document.span(("outputs", index))
        if name not in known:
            problems.append(unknown(name, known, where, "`outputs` names"))
        elif name in names[:index]:
            problems.append(Problem("E305", f"`outputs` names `{name}` twice", where, help="name it once"))
    return names


def _unused(drafts: list[Draft], outputs: list[str], loaded: Loaded, problems: list[Problem]) -> None:
    needed = set(outputs)
    for draft in reversed(drafts):
        if draft.name in needed:
            needed.update(draft.inputs)
    read = {name for draft in drafts for name in draft.inputs}
    for draft in drafts:
        if draft.name not in needed and draft.name not in read:
            message = f"{draft.title} is read by no layer and is no output"
            help = f"the outputs are {', '.join(outputs)}: add it to `outputs` or to a layer's `inputs`, or remove it"
            problems.append(Problem("E307", message, _span(loaded, draft.path), help=help))


class _Builder:
    """Infers shapes node by node; what reads a layer that does not fit is left out, for it says nothing new."""

    def __init__(self, loaded: Loaded, signature: Signature, problems: list[Problem]) -> None:
        self.loaded, self.signature, self.problems = loaded, signature, problems
        self.nodes: dict[str, Node] = {}

    def node(self, draft: Draft) -> Node | None:
        if isinstance(draft.layer, Input):
            found = self.input(draft)
        else:
            found = self.part(draft, draft.layer) if isinstance(draft.layer, _Part) else self.inner(draft)
        if found:
            self.nodes[draft.name] = found
        return found

    def fail(self, code: str, draft: Draft, message: str, label: str = "", help: str = "") -> None:
        self.problems.append(Problem(code, message, _span(self.loaded, draft.path), label, help))

    def input(self, draft: Draft) -> Node | None:
        layer = draft.layer
        assert isinstance(layer, Input)
        infos = self.signature.inputs
        info = infos.get(draft.name) or next(iter(infos.values()))
        declared = layer.shape if layer.shape is not None else info.shape
        fits = len(declared) == len(info.shape)
        fits = fits and all(a in (None, b) for a, b in zip(declared, info.shape, strict=True))
        if not fits:
            given = f"the dataset gives {shown(info.shape)}"
            message = f"Input `{draft.name}` does not fit the dataset"
            self.fail("E302", draft, message, f"has {shown(declared)}, {given}", f"write `shape: {list(info.shape)}`")
            return None
        kind = "float" if info.dtype.startswith("float") else info.dtype
        if kind == "float" and layer.dtype is not None and not layer.dtype.startswith("float"):
            message = f"Input `{draft.name}` wants {layer.dtype}, the dataset gives {info.dtype}"
            self.fail("E302", draft, message, help="store the data as integers, or leave `dtype` out")
            return None
        return Node(draft.name, layer, (), draft.path, info.shape, kind)

    def part(self, draft: Draft, layer: _Part) -> Node | None:
        source = self.nodes.get(draft.inputs[0])
        if source is None:
            return None
        if layer.number > len(source.further):
            given = f"{source.title} has {len(source.further) + 1} outputs" if source.further else "it has one output"
            help = f"read `{source.name}`" + f" to `{source.name}:{len(source.further)}`" * bool(source.further)
            help += ", or give it `return_state: true`" * ("return_state" in type(source.layer).model_fields)
            self.fail("E304", draft, f"there is no output `{draft.name}`", given, help)
            return None
        shape = source.further[layer.number - 1]
        return Node(draft.name, layer, draft.inputs, draft.path, shape, "float")

    def inner(self, draft: Draft) -> Node | None:
        if any(name not in self.nodes for name in draft.inputs):
            return None
        sources = [self.nodes[name] for name in draft.inputs]
        layer = draft.layer
        if not self.takes(draft, len(layer.arguments(sources)[0])):
            return None
        shapes, named = layer.arguments([source.shape for source in sources])
        try:
            shape = layer.infer_shape(*shapes, **named)
            further = layer.infer_further(*shapes, **named)
            weights = layer.declare(*shapes, **named)
            dtype = layer.infer_dtype(*(source.dtype for source in sources))
            for spec in weights:
                for rule in (spec.initializer, spec.regularizer, spec.constraint):
                    if rule is not None:
                        rule.check(spec.shape)
        except ShapeError as error:
            given = " and ".join(f"{shown(s.shape)} from {s.title}" for s in sources)
            self.fail("E301", draft, f"{draft.title} does not fit its input", f"gets {given}: {error}", error.help)
            return None
        if not self.same_weights(draft, weights):
            return None
        return Node(
            draft.name,
            layer,
            draft.inputs,
            draft.path,
            shape,
            dtype,
            weights,
            further,
            draft.shared,
            draft.trainable and layer.trainable,
        )

    def takes(self, draft: Draft, count: int) -> bool:
        low, high = arity(type(draft.layer))
        if low <= count <= high:
            return True
        many = {1: "one input", 2: "two inputs"}
        wanted = many.get(low, f"{low} inputs") + (" or more" if high > low else "")
        names = ", ".join(f"`{name}`" for name in draft.inputs)
        help = "join them first, with Concatenate or Add" if count > high else "name them in `inputs: [a, b]`"
        self.fail("E303", draft, f"{draft.title} takes {wanted}, not {count}", f"reads {names}", help)
        return False

    def same_weights(self, draft: Draft, weights: tuple[WeightSpec, ...]) -> bool:
        owner = self.nodes.get(draft.shared or "")
        if owner is None:
            return True
        for own, other in zip(owner.weights, weights, strict=True):
            if own.shape != other.shape:
                label = f"`{own.name}` is {list(own.shape)} there, and would be {list(other.shape)} here"
                message = f"`{draft.name}` cannot share the weights of {owner.title}"
                self.fail("E308", draft, message, label, "the inputs of both must have the same last axis")
                return False
        return True


def arity(layer: type[Layer]) -> tuple[int, int]:
    """How many inputs its `call` and `infer_shape` take, at least and at most."""
    low, high = 1, 1_000_000
    for method, own in ((layer.call, 3), (layer.infer_shape, 1)):
        parameters = list(inspect.signature(method).parameters.values())[own:]
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        low = max(low, sum(p.default is p.empty for p in places))
        if not any(p.kind == p.VAR_POSITIONAL for p in parameters):
            high = min(high, len(places))
    return low, high
