"""Outline to Graph: the shape, type and weights of everything.

Every error of shapes arises here, before any data is read: E301 a layer does not fit its input, E302 an Input does not
fit the dataset or what a nested model reads, E303 the wrong number of inputs, E304 an output that a layer does not
have, E308 shared weights that do not fit, E309 no input, E316 batches that are not whole, E330 texts for numbers, E331
a layer that reads texts where the net computes already, E317 a layer without a gradient after one that is trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod

from kerascli.draft import Draft
from kerascli.errors import Failure, Problem, Span, SpecFailure
from kerascli.host import evaluate, hosted, learn, learnt, misplaced, misread, raw_inputs
from kerascli.layer import Layer, WeightSpec
from kerascli.layers.structure import PSEUDO, Input, _Entry, _Exit, _Part
from kerascli.learned import Learned
from kerascli.ops.ir import Array, Shape, ShapeError
from kerascli.outline import Outline, outline, span_of
from kerascli.sources.base import Signature, Split
from kerascli.spec import Loaded
from kerascli.yamltext import Place

MANY = 1_000_000
"""Inputs of a layer that takes any number."""


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
    """`float`, the name of an integer type, or `string`."""
    weights: tuple[WeightSpec, ...] = ()
    further: tuple[Shape, ...] = ()
    """Shapes of the outputs after the first, which nodes called `name:1` … stand for."""
    shared: str | None = None
    """The node whose weights it uses, where it has none of its own."""
    trainable: bool = True
    inside: str = ""
    """The nested model that it is a layer of, such as `encoder`, whose layers are called `encoder/dense`."""
    where: Span | None = None
    """Where messages say that it is written."""

    @property
    def title(self) -> str:
        """As messages call it: Conv2D `last`."""
        return f"{self.layer.type_name()} `{self.name}`"


@dataclass(frozen=True)
class Graph:
    """The model: nodes in an order they can run in, inputs first."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int | None = None
    """Samples of every batch, where a stateful layer needs all batches alike."""

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def layers(self) -> tuple[Node, ...]:
        """The nodes that are layers: all but those that only pass on what another made."""
        return tuple(node for node in self.nodes if not isinstance(node.layer, PSEUDO))

    def calls(self) -> Iterator[tuple[Node, list[Shape]]]:
        """Each layer that reads others, and the shapes of what it reads."""
        shapes = {node.name: node.shape for node in self.nodes}
        for node in self.layers:
            if node.inputs:
                yield node, [shapes[name] for name in node.inputs]

    @cached_property
    def computed(self) -> Graph:
        """What the engine computes: what NumPy makes of texts before is an input of it."""
        here = {node.name for node in hosted(self.nodes)}
        if not here:
            return self
        inner = [node for node in self.nodes if node.name not in {*here, *self.inputs}]
        read = {*self.outputs, *(name for node in inner for name in node.inputs)}
        given = [node for node in self.nodes if node.name in {*here, *self.inputs} & read]
        return Graph((*given, *inner), tuple(node.name for node in given), self.outputs, self.batch)

    def served(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the engine reads, made of the data."""
        values = evaluate(self.nodes, inputs)
        return dict(inputs) if self.computed is self else {name: values[name] for name in self.computed.inputs}

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


def build(loaded: Loaded, signature: Signature | None = None) -> Graph:
    """The graph of a spec, on what its dataset says of its data (or said, when `signature` was noted)."""
    found = outline(loaded)
    return infer(loaded, found, signature or peek(loaded, found))


def peek(loaded: Loaded, outline: Outline) -> Signature:
    """What the dataset says of its data; its problems without a place get that of `dataset`."""
    where = span_of(loaded, ("dataset",))
    try:
        raw = raw_inputs(outline.drafts)
        names = outline.inputs if outline.writes_inputs or raw else ()
        found = loaded.spec.dataset.peek(loaded.base, names, outline.outputs, raw)
    except Failure as failure:
        problems = [p if p.where else replace(p, where=where) for p in failure.problems]
        raise Failure(problems, failure.exit_code) from failure
    if not outline.writes_inputs and len(found.inputs) != 1:
        listed = ", ".join(f"`{name}`" for name in found.inputs)
        help = f"begin `layers` with an Input for each, such as {{type: Input, name: {next(iter(found.inputs))}}}"
        where = loaded.document.key_span(("layers",))
        raise SpecFailure(Problem("E309", f"the dataset has several inputs: {listed}", where, help=help))
    return replace(found, learned=_learned(loaded, outline))


def _learned(loaded: Loaded, outline: Outline) -> dict[str, Learned]:
    """What layers learn from the training split, which is read where one asks for it: shapes may depend on it."""
    if any(misplaced(outline.drafts)):
        return {}  # said once the shapes are looked at
    problems: list[Problem] = []
    unread: list[Failure] = []

    def fail(draft: Draft, failure: Failure) -> None:
        if failure in unread:
            raise failure
        where = span_of(loaded, draft.path)
        problems.extend(replace(p, message=f"{draft.title}: {p.message}", where=where) for p in failure.problems)

    @cache
    def train() -> Split:
        names = (outline.inputs, outline.outputs, raw_inputs(outline.drafts))
        try:
            return loaded.spec.dataset.load(loaded.base, loaded.spec.seed, None, *names).train
        except Failure as failure:
            where = span_of(loaded, ("dataset",))
            found = [p if p.where else replace(p, where=where) for p in failure.problems]
            unread.append(Failure(found, failure.exit_code))
            raise unread[0] from failure

    found = learn(outline.drafts, train, fail)
    if problems:
        raise Failure(problems)
    return found


def infer(loaded: Loaded, outline: Outline, signature: Signature) -> Graph:
    """The graph with shapes, dtypes and weights."""
    faults = list(misplaced(outline.drafts))
    problems = [Problem("E331", message, span_of(loaded, d.path), found, help) for d, message, found, help in faults]
    builder = _Builder(loaded, signature, problems)
    nodes = tuple(node for draft in outline.drafts if (node := builder.node(draft)))
    for draft in outline.drafts:
        builder.sharing(draft)
        node = builder.nodes.get(draft.name)
        if node and node.dtype == "string" and node.name in outline.outputs:
            help = "texts end before the net: let a layer of numbers read it"
            builder.fail("E330", draft, f"{draft.title} gives texts, and is an output", help=help)
    shapes = {node.name: node.shape for node in nodes}
    stateful = next((node for node in nodes if node.layer.carry(*(shapes[name] for name in node.inputs))), None)
    if stateful and not problems:
        problems += _whole_batches(loaded, stateful, signature.sizes)
    elsewhere = {d.name for d, *_ in faults}  # told already, with the better mend
    problems += _without_gradient([node for node in nodes if node.name not in elsewhere])
    if problems:
        raise SpecFailure(problems)
    return Graph(nodes, outline.inputs, outline.outputs, loaded.spec.training.batch_size if stateful else None)


def _without_gradient(nodes: Sequence[Node]) -> Iterator[Problem]:
    """Layers that no gradient goes through, where a layer before them is trained."""
    trained: dict[str, Node] = {}
    for node in nodes:
        before = next((trained[name] for name in node.inputs if name in trained), None)
        wrapped = getattr(node.layer, "layer", node.layer)  # of TimeDistributed
        if before and not (node.layer.differentiable and wrapped.differentiable):
            message = f"{node.title} has no gradient, and stands after a layer that is trained"
            label = f"{before.title} would not learn through it"
            help = f"put it before all layers that are trained, or give `{before.name}` `trainable: false`"
            yield Problem("E317", message, node.where, label, help)
        if any(spec.trainable for spec in node.weights) and node.trainable:
            trained[node.name] = node
        elif before:
            trained[node.name] = before


def _whole_batches(loaded: Loaded, node: Node, sizes: Mapping[str, int]) -> Iterator[Problem]:
    """A stateful layer has a state for each sample of a batch, so the last batch of a split must be whole as well."""
    batch = loaded.spec.training.batch_size
    given = {"validation_split", "test_split", "limit"} & loaded.spec.dataset.model_fields_set
    place = ("training", "batch_size") if "batch_size" in loaded.spec.training.model_fields_set else node.path
    for split, count in sizes.items():
        if count % batch:
            left = f"{count % batch} of {batch} in the last: {node.title} is stateful"
            fits = max(n for n in range(1, batch + 1) if not any(size % n for size in sizes.values()))
            help = f"the next smaller `batch_size` that fits all splits is {fits}; or change the size of the splits"
            help += f" (`{'`, `'.join(sorted(given))}`)" * bool(given)
            message = f"the {count:,} {split} samples do not fill whole batches of {batch}"
            yield Problem("E316", message, span_of(loaded, place), left, help)


def shown(shape: Sequence[int | None]) -> str:
    """A sample's shape with the batch axis, as Keras writes it."""
    return f"({', '.join(str(n) for n in (None, *shape))}{',' * (not shape)})"


class _Builder:
    """Infers shapes node by node; what reads a layer that does not fit is left out, for it says nothing new."""

    def __init__(self, loaded: Loaded, signature: Signature, problems: list[Problem]) -> None:
        self.loaded, self.signature, self.problems = loaded, signature, problems
        self.nodes: dict[str, Node] = {}

    def node(self, draft: Draft) -> Node | None:
        if isinstance(draft.layer, Input):
            found = self.input(draft)
        elif isinstance(draft.layer, _Part):
            found = self.part(draft, draft.layer)
        elif isinstance(draft.layer, (_Entry, _Exit)):
            found = self.end(draft, draft.layer)
        else:
            found = self.inner(draft)
        if found:
            found = self.nodes[draft.name] = replace(found, where=span_of(self.loaded, draft.path))
        return found

    def fail(self, code: str, draft: Draft, message: str, label: str = "", help: str = "") -> None:
        self.problems.append(Problem(code, message, span_of(self.loaded, draft.path), label, help))

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
            help = f"write `shape: {list(info.shape)}`"
            if (*declared, 1) == info.shape:
                help += f", and {{type: Reshape, target_shape: {list(declared)}}} after it for layers without channels"
            self.fail("E302", draft, message, f"has {shown(declared)}, {given}", help)
            return None
        kind = "float" if info.dtype.startswith("float") else info.dtype
        if layer.dtype is not None and (layer.dtype == "string") != (kind == "string"):
            message = f"Input `{draft.name}` wants {layer.dtype}, the dataset gives {info.dtype}"
            self.fail("E302", draft, message, help=f"write `dtype: {info.dtype}`, or leave `dtype` out")
            return None
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
            for key in ("return_state", "return_attention_scores"):
                help += f", or give it `{key}: true`" * (getattr(source.layer, key, None) is False)
            if isinstance(source.layer, _Exit) and source.layer.count > 1:
                given = f"{source.title} has {source.layer.count} outputs"
                help = f"read `{source.name}` to `{source.name}:{source.layer.count - 1}`"
            self.fail("E304", draft, f"there is no output `{draft.name}`", given, help)
            return None
        shape = source.further[layer.number - 1]
        return Node(draft.name, layer, draft.inputs, draft.path, shape, "float", inside=draft.inside)

    def end(self, draft: Draft, layer: _Entry | _Exit) -> Node | None:
        """Where a nested model begins or ends: it passes on what it reads."""
        source = self.nodes.get(draft.inputs[0])
        if source is None:
            return None
        if isinstance(layer, _Entry):
            wanted = layer.declared.shape
            fits = wanted is None or len(wanted) == len(source.shape)
            if wanted is not None and (
                not fits or any(a not in (None, b) for a, b in zip(wanted, source.shape, strict=True))
            ):
                label = f"has {shown(wanted)}, and gets {shown(source.shape)} from {source.title}"
                help = f"write `shape: {list(source.shape)}`, or leave `shape` out"
                self.fail("E302", draft, f"{draft.title} does not fit what it reads", label, help)
                return None
            kind = layer.declared.dtype
            if kind is not None and not kind.startswith("float") and source.dtype == "float":
                self.fail("E302", draft, f"{draft.title} wants {kind}, {source.title} gives numbers with a fraction")
                return None
        trained = source.trainable if isinstance(layer, _Entry) else layer.trainable
        more = (draft.shared, trained, draft.inside)
        return Node(draft.name, layer, draft.inputs, draft.path, source.shape, source.dtype, (), (), *more)

    def inner(self, draft: Draft) -> Node | None:
        if any(name not in self.nodes for name in draft.inputs):
            return None
        sources = [self.nodes[name] for name in draft.inputs]
        layer = learnt(draft.layer, self.signature.learned.get(draft.shared or draft.name))
        if not self.takes(draft, len(layer.arguments(sources)[0])):
            return None
        wrong, mend = misread(layer, draft.title, [source.dtype for source in sources])
        if wrong:
            self.fail("E330", draft, wrong, f"reads {' and '.join(source.title for source in sources)}", mend)
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
            layer.trainable,
            draft.inside,
        )

    def takes(self, draft: Draft, count: int) -> bool:
        low, high = arity(type(draft.layer))
        if low <= count <= high:
            return True
        many = {1: "one input", 2: "two inputs"}
        more = f"{low} to {high} inputs" if high < MANY else many.get(low, f"{low} inputs") + " or more"
        wanted = more if high > low else many.get(low, f"{low} inputs")
        names = ", ".join(f"`{name}`" for name in draft.inputs)
        help = "join them first, with Concatenate or Add" if count > high else "name them in `inputs: [a, b]`"
        self.fail("E303", draft, f"{draft.title} takes {wanted}, not {count}", f"reads {names}", help)
        return False

    def sharing(self, draft: Draft) -> None:
        """Weights are shared only where both inputs ask for the same shapes."""
        owner, node = self.nodes.get(draft.shared or ""), self.nodes.get(draft.name)
        if owner is None or node is None:
            return
        for own, other in zip(owner.weights, node.weights, strict=True):
            if own.shape != other.shape:
                label = f"`{own.name}` is {list(own.shape)} there, and would be {list(other.shape)} here"
                message = f"`{draft.name}` cannot share the weights of {owner.title}"
                self.fail("E308", draft, message, label, "the inputs of both must have the same last axis")
                return


def arity(layer: type[Layer]) -> tuple[int, int]:
    """How many inputs its `call` and `infer_shape` take, at least and at most."""
    low, high = 1, MANY
    for method, own in ((layer.call, 3), (layer.infer_shape, 1)):
        parameters = list(inspect.signature(method).parameters.values())[own:]
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        low = max(low, sum(p.default is p.empty for p in places))
        if not any(p.kind == p.VAR_POSITIONAL for p in parameters):
            high = min(high, len(places))
    return low, high
