"""The layers of a graph as Keras sees them: calls, masks, and the order that its files depend on.

Keras sorts the layers of a Functional model by depth (the longest way to an output), then by a walk back from the
outputs. Its weight files count layers of a class in that order, and its optimizers keep their slots in it. A nested
model is one layer there, with a view of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from typing import Any

from kerascli.component import snake_case
from kerascli.graph import Graph, Node
from kerascli.layer import MASKED, Context, Layer
from kerascli.layers.host import _Host
from kerascli.layers.structure import _Entry, _Exit, _Part
from kerascli.ops.ir import Input, Shape, Trace, Type, Value

Config = dict[str, Any]

MASKS = dict.fromkeys(("NotEqual", "Any", "LogicalOr"), "keras.src.ops.numpy") | {
    "ConvertToTensor": "keras.src.ops.core"
}
"""Modules of the operations that make masks."""
RECURRENT = {"SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
STATEFUL = {*RECURRENT, "Bidirectional"}
"""Layers whose further inputs are initial states."""
RANDOM = {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"}
RANDOM |= {"GaussianNoise", "GaussianDropout"}
ATTENTION = {"Attention", "AdditiveAttention"}
"""Layers that read a list of query, value and key."""
HEADED = {"MultiHeadAttention", "GroupQueryAttention"}
"""Layers that read query, value and key one by one."""
MERGES = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
"""Layers whose output counts where one of their inputs does."""
AUGMENTING = {"RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop"}
AUGMENTING |= {"RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale"}
AUGMENTING |= {"RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation"}
AUGMENTING |= {"RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom"}
AUGMENTING |= {"AugMix", "RandAugment", "Solarization"}
IMAGES = {*AUGMENTING, "Resizing", "CenterCrop", "AutoContrast", "Equalization"}
IMAGES |= {"ContrastLimitedAdaptiveHistogramEqualization"}
"""Layers whose `call` has `training=True`, which Keras writes likewise."""
LOOKING_UP = {"Embedding", "ReversibleEmbedding", "CategoryEncoding"}
"""Layers whose integers Keras takes for integers."""
TRAINING = {*RECURRENT, *RANDOM}
"""Layers whose `call` has `training=False`: Keras writes that default into the graph."""


@dataclass(frozen=True)
class Tensor:
    """The output of one call of a layer."""

    operation: str
    call: int
    shape: Shape
    dtype: str
    index: int = 0
    """Which of the call's outputs."""
    batch: int | None = None
    """Samples, where a stateful layer fixes them."""

    @property
    def config(self) -> Config:
        history = [self.operation, self.call, self.index]
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [self.batch, *self.shape], "dtype": self.dtype, "keras_history": history},
        }


@dataclass(frozen=True)
class Call:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> Iterator[Tensor]:
        """In Keras's order: the arguments, then those passed by name."""
        yield from _flat((*self.args, *self.kwargs.values()))

    @property
    def config(self) -> Config:
        return {"args": _written(self.args), "kwargs": _written(self.kwargs)}


@dataclass
class Operation:
    """A layer, a nested model, or an array operation that makes a mask, with every call of it."""

    name: str
    config: Config
    """Without that of a nested model's layers."""
    node: Node | None
    """The node that declares the layer and its weights, or ends the nested model; None for mask operations."""
    calls: list[Call] = field(default_factory=list)
    view: View | None = None
    """What a nested model is inside."""


@dataclass(frozen=True)
class View:
    """A model as Keras writes it down: its operations in Keras's order, and its ends."""

    operations: list[Operation]
    inputs: list[Tensor]
    outputs: list[Tensor]

    @property
    def layers(self) -> list[Operation]:
        """Without those that make masks."""
        return [operation for operation in self.operations if operation.node]


def is_stack(graph: Graph) -> bool:
    """One input, and every layer reads exactly the one before it: Keras calls that Sequential."""
    nodes = graph.nodes
    chained = all(node.inputs == (before.name,) for before, node in pairwise(nodes))
    chained = chained and not any(type(node.layer).__name__ in (*ATTENTION, *HEADED) for node in nodes)
    chained = chained and not any(getattr(n.layer, key) for n in nodes for key in n.layer.call_arguments)
    single = not nodes[0].inputs and not any(node.shared or node.inside or node.further for node in nodes)
    return len(nodes) > 1 and chained and single and tuple(graph.outputs) == (nodes[-1].name,)


Configure = Callable[[Node, tuple[Tensor, ...]], Config]
"""Makes the entry of a layer from its node and what it reads (an input: what it is)."""


def view(graph: Graph, config: Configure) -> View:
    """The whole model."""
    calls = _Calls(graph, "", config, _tokens(graph))
    if is_stack(graph):
        made = [operation for operation in calls.operations.values() if operation.node]
        return View(made, [calls.outputs[name] for name in graph.inputs], [calls.outputs[graph.outputs[0]]])
    return calls.view(graph.inputs, graph.outputs)


def written(graph: Graph) -> tuple[dict[str, Operation], dict[str, Tensor | None]]:
    """Every layer and operation of the model itself by its name, and the mask that goes with each node's output."""
    calls = _Calls(graph, "", lambda node, tensors: {}, _tokens(graph))
    return calls.operations, calls.masks


def layers(graph: Graph) -> list[Operation]:
    """The layers with weights or none, in the order of Keras's `model.layers`."""
    found = view(graph, lambda node, tensors: {}).layers
    return found[1:] if is_stack(graph) else found


class _Calls:
    """Walks the graph, or a nested model in it, and writes down the calls that build the same model in Keras."""

    def __init__(self, graph: Graph, level: str, config: Configure, tokens: set[str]) -> None:
        self.graph, self.level, self.config, self.tokens = graph, level, config, tokens
        self.operations: dict[str, Operation] = {}
        self.outputs: dict[str, Tensor] = {}
        self.masks: dict[str, Tensor | None] = {}
        self.models: dict[str, int] = {}
        """Which call of its model each use of a nested model is."""
        for node in graph.nodes:
            if node.inside == level:
                self.add(node)

    def view(self, inputs: Sequence[str], outputs: Sequence[str]) -> View:
        ends = [self.outputs[name] for name in outputs]
        return View(_by_depth(self.operations, ends), [self.outputs[name] for name in inputs], ends)

    def local(self, name: str) -> str:
        """A layer's name within its model."""
        return name.rpartition("/")[2]

    def add(self, node: Node) -> None:
        if isinstance(node.layer, _Exit):
            return self.nested(node, node.layer)
        name = self.local(node.shared or node.name)
        inputs = [] if isinstance(node.layer, _Entry) else [self.outputs[i] for i in node.inputs]
        if isinstance(node.layer, _Part):
            self.outputs[node.name] = replace(inputs[0], shape=node.shape, dtype="float32", index=node.layer.number)
            self.masks[node.name] = None
            return
        if name not in self.operations:  # a Reuse may come before the layer whose weights it shares
            self.operations[name] = Operation(name, {}, self.graph.node(node.shared) if node.shared else node)
        operation = self.operations[name]
        kind, batch = self._dtype(node, inputs), self.graph.batch
        output = self.outputs[node.name] = Tensor(name, len(operation.calls), node.shape, kind, batch=batch)
        if not operation.calls:
            operation.config = self.config(operation.node or node, tuple(inputs) or (output,))
        # An input has one call without arguments, which Keras leaves out of its file.
        operation.calls.append(Call(*self._arguments(node, inputs)) if inputs else Call((), {}))
        self.masks[node.name] = self._mask(node, inputs)

    def nested(self, node: Node, end: _Exit) -> None:
        """One output of a nested model; the first that is met stands for the call."""
        owner = node.shared or end.model
        name = self.local(owner)
        if name not in self.operations:
            inner = _Calls(self.graph, owner, self.config, self.tokens)
            ends = [n.inputs[0] for n in self._ends(owner)]
            seen = inner.view([n.name for n in self._entries(owner)], ends)
            self.operations[name] = Operation(name, {}, self._ends(owner)[0], view=seen)
        operation = self.operations[name]
        assert operation.view
        if end.model not in self.models:
            self.models[end.model] = len(operation.calls)
            reads = [n.inputs[0] for n in self._entries(end.model)]
            inputs, masks = [self.outputs[i] for i in reads], [self.masks[i] for i in reads]
            several = len(reads) > 1
            args = (inputs,) if several else tuple(inputs)
            operation.calls.append(Call(args, {"mask": masks if several else masks[0]}))
        inside = operation.view.outputs[end.number]
        number = self.models[end.model]
        self.outputs[node.name] = Tensor(name, number, node.shape, inside.dtype, end.number, self.graph.batch)
        self.masks[node.name] = None  # Keras finds it again when the model runs

    def _entries(self, model: str) -> list[Node]:
        found = [(n.layer.number, n) for n in self.graph.nodes if isinstance(n.layer, _Entry) and n.inside == model]
        return [node for _, node in sorted(found, key=lambda item: item[0])]

    def _ends(self, model: str) -> list[Node]:
        found = [(n.layer.number, n) for n in self.graph.nodes if isinstance(n.layer, _Exit) and n.layer.model == model]
        return [node for _, node in sorted(found, key=lambda item: item[0])]

    def _arguments(self, node: Node, inputs: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kind = type(node.layer).__name__
        given, named = node.layer.arguments(inputs)
        args: tuple[Any, ...] = given
        kwargs = {key: list(item) if isinstance(item, tuple) else item for key, item in named.items()}
        if kind in STATEFUL and (len(args) > 1 or named):
            states = named.get("initial_state", args[1:])
            return args[:1], {"initial_state": states if isinstance(states, Tensor) else node.layer.nested(states)}
        kwargs |= {key: value for key in node.layer.call_arguments if (value := getattr(node.layer, key))}
        if kind in (*ATTENTION, *HEADED) and len(args) == 1:
            args = args * 2
        if len(args) > 1 and kind not in HEADED:
            args = (list(args),)
        if kind in TRAINING:
            kwargs["training"] = False
        if kind in IMAGES:
            kwargs["training"] = True
        if kind in MASKED:
            kwargs["mask"] = self.masks[node.inputs[0]]
        return args, kwargs

    def _dtype(self, node: Node, inputs: list[Tensor]) -> str:
        """Keras reads numbers as float32 unless they are tokens, whatever integers the data is stored in."""
        if node.dtype == "string":
            return "string"
        if isinstance(node.layer, _Host) and node.dtype != "float":
            return "int32" if node.layer.in_engine else "int64"
        if node.dtype == "float" or not inputs:
            return "int32" if node.name in self.tokens else "float32"
        return inputs[0].dtype

    def _mask(self, node: Node, inputs: list[Tensor]) -> Tensor | None:
        """The mask that goes with a node's output. One that the layer itself makes is an operation in Keras."""
        masks = [self.masks[name] for name in node.inputs] if inputs else []
        found = _passed(node.layer, node.name, inputs, masks)
        if type(node.layer).__name__ in ATTENTION and isinstance(found, Tensor):
            return self._operation(
                "ConvertToTensor", {"dtype": None, "sparse": None, "ragged": None}, found.shape, found
            )
        if found is None or isinstance(found, Tensor):
            return found
        if type(node.layer).__name__ in MERGES:
            given = [mask for mask in masks if mask]
            return reduce(lambda one, other: self._operation("LogicalOr", {}, one.shape, one, other), given)
        if type(node.layer).__name__ == "Embedding":
            return self._operation("NotEqual", {}, inputs[0].shape, inputs[0], 0)
        if type(node.layer).__name__ == "Masking":
            wrong = float(getattr(node.layer, "mask_value", 0.0))
            unequal = self._operation("NotEqual", {}, inputs[0].shape, inputs[0], wrong)
            return self._operation("Any", {"axis": -1, "keepdims": False}, inputs[0].shape[:-1], unequal)
        return None  # Keras finds it again when it reads the model

    def _operation(self, kind: str, config: Config, shape: Shape, *args: Any) -> Tensor:
        count = sum(name == snake_case(kind) or name.startswith(snake_case(kind) + "_") for name in self.operations)
        name = snake_case(kind) + (f"_{count}" if count else "")
        entry = {"module": MASKS[kind], "class_name": kind, "config": {"name": name, **config}}
        entry["registered_name"] = kind
        self.operations[name] = Operation(name, entry, None, [Call(args, {})])
        return Tensor(name, 0, shape, "bool", batch=self.graph.batch)


def _passed(layer: Layer, name: str, inputs: list[Tensor], masks: list[Tensor | None]) -> Tensor | Value | None:
    """What the layer does with masks: it is asked, on a trace that is thrown away."""
    trace = Trace()
    xs = [
        trace.add(Input(f"x{k}", Type(t.shape, "float" if t.dtype == "float32" else t.dtype)))
        for k, t in enumerate(inputs)
    ]
    known = {trace.add(Input(f"mask{k}", Type(m.shape, "bool"))): m for k, m in enumerate(masks) if m}
    values = {tensor: value for value, tensor in known.items()}
    given = tuple(values[m] if m else None for m in masks)
    answer = layer.mask(Context(trace, False, given, name, {}, []), *xs)
    return known.get(answer, answer) if answer is not None else None


def _by_depth(made: dict[str, Operation], outputs: Sequence[Tensor]) -> list[Operation]:
    seen: dict[str, int] = {}
    finished: dict[tuple[str, int], None] = {}
    for output in outputs:
        _walk(made, output, seen, finished)
    depths: dict[str, int] = {}
    call_depths: dict[tuple[str, int], int] = {}
    for key in reversed(finished):
        name, call = key
        depth = max(call_depths.get(key, 0), depths.get(name, 0))
        depths[name] = depth
        for tensor in made[name].calls[call].tensors:
            parent = (tensor.operation, tensor.call)
            call_depths[parent] = max(depth + 1, call_depths.get(parent, 0))
    for name, operation in made.items():
        if name not in depths and not operation.calls[0].args:  # an input that no output needs
            depths[name], seen[name] = 0, -1
    return [made[name] for name in sorted(depths, key=lambda name: (-depths[name], seen[name]))]


def _walk(made: dict[str, Operation], top: Tensor, seen: dict[str, int], finished: dict[tuple[str, int], None]) -> None:
    """Depth first from an output to the inputs, without recursion: graphs may be deep."""
    stack: list[tuple[tuple[str, int], Iterator[Tensor]]] = []

    def enter(tensor: Tensor) -> None:
        key = (tensor.operation, tensor.call)
        if key not in finished:
            seen.setdefault(tensor.operation, len(seen))
            stack.append((key, made[tensor.operation].calls[tensor.call].tensors))

    enter(top)
    while stack:
        key, rest = stack[-1]
        following = next(rest, None)
        if following is not None:
            enter(following)
        else:
            finished[key] = None
            stack.pop()


def _tokens(graph: Graph) -> set[str]:
    """Nodes whose integers are looked up, hashed or counted."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        looks = isinstance(node.layer, _Host) and not node.layer.in_engine
        if looks or type(node.layer).__name__ in LOOKING_UP or node.name in found:
            found.update(name for name in node.inputs if graph.node(name).dtype != "float")
    return found


def _flat(parts: Iterable[Any]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, (list, tuple)):
            yield from _flat(part)


def _written(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.config
    if isinstance(part, dict):
        return {key: _written(value) for key, value in part.items()}
    return [_written(value) for value in part] if isinstance(part, (list, tuple)) else part
