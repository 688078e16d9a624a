"""Keras's JSON of a model as a network of calls, whatever version wrote it. Nothing of it is ever executed.

Keras 3 writes each call as `args` and `kwargs` with tensors in them; Keras 2 (and files in the legacy HDF5 form) as
lists of `[layer, call, output, kwargs]`. Both become `Call`s whose tensors are `Ref`s; a Sequential becomes a chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kerascli.errors import Failure, Problem

Config = dict[str, Any]
MODELS = ("Functional", "Model", "Sequential")
OPERATIONS = {"NotEqual", "Any", "LogicalOr", "ConvertToTensor", "ExpandDims", "Squeeze", "Transpose", "GetItem"}
OPERATIONS |= {"Mean", "Max", "Cast", "Divide", "TrueDivide", "Negative", "Relu", "Sigmoid", "Tanh", "Gelu", "Silu"}
AMBIGUOUS = {"Add", "Subtract", "Multiply", "Maximum", "Minimum", "Reshape"}
"""Classes of operations in files that do not say whether a class is one, and names that layers have as well."""
MAX_NESTING = 20
"""Models in models in models."""


@dataclass(frozen=True)
class Ref:
    """An output of a call of a layer."""

    name: str
    call: int = 0
    index: int = 0
    shape: tuple[int | None, ...] | None = field(default=None, compare=False)
    """With the batch axis, where the file says it."""


@dataclass(frozen=True)
class Call:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def refs(self) -> Iterator[Ref]:
        yield from refs((*self.args, *self.kwargs.values()))


@dataclass
class Entry:
    """A layer, a nested model or an array operation, with every call of it."""

    name: str
    kind: str
    """Its class."""
    module: str
    """The module of the class; empty in the legacy form."""
    registered: str | None
    config: Config
    calls: list[Call] = field(default_factory=list)
    build: Config = field(default_factory=dict)
    inner: Net | None = None
    """What a nested model is inside."""

    @property
    def is_operation(self) -> bool:
        if self.module:
            return ".ops." in self.module
        if self.kind in ("TFOpLambda", "SlicingOpLambda"):
            return True
        # The legacy form names no modules. The layer Add reads one list, the operation two tensors.
        return self.kind in OPERATIONS or (self.kind in AMBIGUOUS and any(len(call.args) > 1 for call in self.calls))

    @property
    def is_input(self) -> bool:
        return self.kind == "InputLayer"


@dataclass
class Net:
    """A model: entries in the file's order, which is that of its weights."""

    name: str
    entries: list[Entry]
    inputs: list[Ref]
    outputs: list[Ref]
    trainable: bool = True

    def __post_init__(self) -> None:
        self.by_name = {entry.name: entry for entry in self.entries}

    @property
    def layers(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.is_operation]


def refs(parts: Iterable[Any]) -> Iterator[Ref]:
    """The tensors in arguments, in Keras's order."""
    for part in parts:
        if isinstance(part, Ref):
            yield part
        elif isinstance(part, Mapping):
            yield from refs(part.values())
        elif isinstance(part, (list, tuple)):
            yield from refs(part)


class Malformed(ValueError):
    """The JSON is not what Keras writes."""


def read(model: Any, path: Any) -> Net:
    """The network of a model's JSON."""
    try:
        return _model(model, 0)
    except (Malformed, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        said = str(error) if isinstance(error, Malformed) else f"{type(error).__name__}: {error}"
        help = "was it written by `model.save()` or `model.to_json()`?"
        raise Failure(Problem("E506", f"`{path}` holds no config of a Keras model: {said}", path, help=help)) from error


def _model(entry: Any, depth: int) -> Net:
    kind, config = entry.get("class_name"), entry.get("config")
    if depth > MAX_NESTING:
        raise Malformed(f"models are nested more than {MAX_NESTING} deep")
    if kind == "Sequential":
        return _sequential(config, entry.get("build_config") or {}, depth)
    if isinstance(config, Mapping) and {"layers", "input_layers", "output_layers"} <= set(config):
        return _functional(config, depth)
    raise Malformed(f"`{kind}` is neither Sequential nor Functional: a model in Python code has no config to read")


def is_model(entry: Config) -> bool:
    """Whether a layer's JSON is that of a nested model."""
    config = entry.get("config")
    return isinstance(config, Mapping) and (entry.get("class_name") in MODELS or "input_layers" in config)


def _entry(data: Any, depth: int) -> Entry:
    if not isinstance(data, Mapping) or not isinstance(data.get("class_name"), str):
        raise Malformed("a layer has no `class_name`")
    data = dict(data)
    config = data.get("config")
    if not isinstance(config, (Mapping, list)):
        raise Malformed(f"a layer of class {data['class_name']} has no `config`")
    inner = _model(data, depth + 1) if is_model(data) or isinstance(config, list) else None
    config = dict(config) if isinstance(config, Mapping) else {}
    name = data.get("name") or config.get("name") or (inner.name if inner else None)
    if not isinstance(name, str) or not name or len(name) > 1000:
        raise Malformed(f"a layer of class {data['class_name']} has no name")
    registered = data.get("registered_name")
    build = data.get("build_config")
    return Entry(
        name,
        data["class_name"],
        str(data.get("module") or ""),
        registered if isinstance(registered, str) else None,
        config,
        build=dict(build) if isinstance(build, Mapping) else {},
        inner=inner,
    )


# ── Sequential ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _sequential(config: Any, build: Mapping[str, Any], depth: int) -> Net:
    data = config if isinstance(config, list) else config["layers"]
    about = {} if isinstance(config, list) else config
    entries = [_entry(each, depth) for each in data]
    if not entries or not entries[0].is_input:
        shape = _first_shape(entries, about, build)
        taken = {entry.name for entry in entries}
        name = "input_layer" if "input_layer" not in taken else "input_layer_of_the_stack"
        dtype = entries[0].config.get("dtype") if entries and entries[0].kind == "InputLayer" else None
        entries.insert(0, Entry(name, "InputLayer", "keras.layers", None, {"batch_shape": shape, "dtype": dtype}))
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise Malformed("two layers have one name")
    entries[0].calls = [Call((), {})]
    for before, entry in pairwise(entries):
        entry.calls = [Call((Ref(before.name),), {})]
    return Net(
        str(about.get("name") or "sequential"),
        entries,
        [Ref(entries[0].name)],
        [Ref(entries[-1].name)],
        about.get("trainable") is not False,
    )


def _first_shape(entries: list[Entry], about: Mapping[str, Any], build: Mapping[str, Any]) -> Any:
    """What the stack reads, with the batch axis; None where the file does not say."""
    first = entries[0].config if entries else {}
    inner = entries[0].inner if entries else None
    given = first.get("batch_input_shape") or first.get("batch_shape")
    given = given or about.get("build_input_shape") or build.get("input_shape")
    if not given and entries and entries[0].build:
        given = entries[0].build.get("input_shape")
    if not given and inner:
        given = shape_of(inner.by_name[inner.inputs[0].name])
    return given


def shape_of(entry: Entry) -> Any:
    """The shape of an InputLayer as it is written, with the batch axis."""
    return plain(entry.config.get("batch_shape") or entry.config.get("batch_input_shape"))


def plain(item: Any) -> Any:
    """Tuples as Keras marks them, as lists."""
    if isinstance(item, Mapping) and item.get("class_name") in ("__tuple__", "TensorShape"):
        item = item.get("items", item.get("config"))
    return [plain(each) for each in item] if isinstance(item, (list, tuple)) else item


# ── Functional ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _functional(config: Mapping[str, Any], depth: int) -> Net:
    entries = [_entry(each, depth) for each in config["layers"]]
    by_name = {entry.name: entry for entry in entries}
    if len(by_name) < len(entries):
        raise Malformed("two layers have one name")
    if not entries:
        raise Malformed("a model has no layers")
    written = [each.get("inbound_nodes") or [] for each in config["layers"]]
    old = any(isinstance(node, list) for nodes in written for node in nodes)
    inputs, outputs = ([*_ends(config[key])] for key in ("input_layers", "output_layers"))
    if old:
        for entry, nodes in zip(entries, written, strict=True):
            entry.calls = [_old_call(node) for node in nodes] or [Call((), {})]
        _count_from_zero(by_name, outputs)
    else:
        for entry, nodes in zip(entries, written, strict=True):
            entry.calls = [_call(node) for node in nodes] or [Call((), {})]
        outputs = [_own(end, by_name) for end in outputs]
    net = Net(str(config.get("name") or "functional"), entries, inputs, outputs, config.get("trainable") is not False)
    _check(net)
    return net


def _check(net: Net) -> None:
    for ref in [*net.inputs, *net.outputs, *(ref for e in net.entries for call in e.calls for ref in call.refs)]:
        entry = net.by_name.get(ref.name)
        if entry is None:
            raise Malformed(f"a layer reads `{ref.name[:80]}`, and there is none of that name")
        if not 0 <= ref.call < len(entry.calls) or ref.index < 0:
            raise Malformed(f"a layer reads call {ref.call} of `{ref.name[:80]}`, which has {len(entry.calls)}")
    for ref in net.inputs:
        if not net.by_name[ref.name].is_input:
            raise Malformed(f"the model begins with `{ref.name[:80]}`, which is no InputLayer")
    if not net.inputs or not net.outputs:
        raise Malformed("a model has no input or no output")


def _call(node: Any) -> Call:
    return Call(tuple(argument(each) for each in node["args"]), {k: argument(v) for k, v in node["kwargs"].items()})


def argument(item: Any) -> Any:
    """An argument of a call, with tensors as Refs."""
    if isinstance(item, Mapping):
        kind, config = item.get("class_name"), item.get("config")
        if kind == "__keras_tensor__":
            if not isinstance(config, Mapping):
                raise Malformed("a tensor has no config")
            name, call, index = config["keras_history"]
            shape = config.get("shape")
            known = tuple(plain(shape)) if isinstance(plain(shape), list) else None
            return Ref(str(name), int(call), int(index), known)
        if kind == "__tuple__":
            return [argument(each) for each in plain(item)]
        return {str(key): argument(value) for key, value in item.items()}
    return [argument(each) for each in item] if isinstance(item, (list, tuple)) else item


def _own(end: Ref, by_name: Mapping[str, Entry]) -> Ref:
    """Keras counts the calls of nested functional models from 1 where a model ends, and only there."""
    entry = by_name.get(end.name)
    if entry is None or entry.inner is None or entry.kind == "Sequential":
        return end
    return Ref(end.name, max(end.call - 1, 0), end.index)


def _ends(written: Any) -> Iterator[Ref]:
    """`[name, call, output]`, and lists or mappings of them."""
    if isinstance(written, Mapping) and written.get("class_name") == "__tuple__":
        written = plain(written)
    if isinstance(written, Mapping):
        for key in sorted(written):
            yield from _ends(written[key])
    elif isinstance(written, list) and len(written) == 3 and isinstance(written[0], str):
        yield Ref(written[0], int(written[1]), int(written[2]))
    elif isinstance(written, list):
        for each in written:
            yield from _ends(each)
    else:
        raise Malformed("an end of the model is not `[layer, call, output]`")


def _old_call(node: Any) -> Call:
    """Of Keras 2: `[[layer, call, output, kwargs], …]`; arguments by name hold `[layer, call, output]` as well."""
    if isinstance(node, Mapping):
        return _call(node)
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]  # one tensor alone, as operations have it
    reads: list[Any] = []
    kwargs: Config = {}
    for part in node:
        reads.append(_old_ref(part))
        if len(part) > 3 and isinstance(part[3], Mapping):
            kwargs |= {str(key): _old_argument(value) for key, value in part[3].items()}
    return Call(tuple(reads) if len(reads) == 1 else (reads,), kwargs)


def _old_ref(part: Any) -> Any:
    name, call, index = part[:3]
    if name == "_CONSTANT_VALUE":
        return index
    return Ref(str(name), int(call), int(index))


def _old_argument(item: Any) -> Any:
    if isinstance(item, list) and len(item) in (3, 4) and [type(part) for part in item[:3]] == [str, int, int]:
        return Ref(item[0], item[1], item[2])
    if isinstance(item, Mapping):
        return {str(key): _old_argument(value) for key, value in item.items()}
    return [_old_argument(each) for each in item] if isinstance(item, list) else item


def _count_from_zero(by_name: Mapping[str, Entry], outputs: list[Ref]) -> None:
    """Keras 2 counts the calls of nested models from 1, for their making was a call as well."""
    first: dict[str, int] = {}
    reads = [ref for entry in by_name.values() for call in entry.calls for ref in call.refs]
    for ref in [*reads, *outputs]:
        entry = by_name.get(ref.name)
        if entry is not None and entry.inner is not None:
            first[ref.name] = min(first.get(ref.name, ref.call), ref.call)

    def moved(item: Any) -> Any:
        if isinstance(item, Ref):
            return Ref(item.name, item.call - first.get(item.name, 0), item.index, item.shape)
        if isinstance(item, Mapping):
            return {key: moved(value) for key, value in item.items()}
        return [moved(each) for each in item] if isinstance(item, (list, tuple)) else item

    for entry in by_name.values():
        entry.calls = [Call(tuple(moved(each) for each in call.args), moved(call.kwargs)) for call in entry.calls]
    outputs[:] = [moved(end) for end in outputs]
