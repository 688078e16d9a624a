"""From Keras's network to steps: what a spec's layer is for each call, what it reads, and all that cannot be said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerascli.errors import Problem
from kerascli.importer import operations
from kerascli.importer.network import Call, Config, Entry, Net, Ref, refs, shape_of
from kerascli.importer.values import Refusal, custom, mapping
from kerascli.keras_graph import HEADED, IMAGES, STATEFUL
from kerascli.layer import Layer

Key = tuple[str, int, int]
"""The layer's name in the file, its call, and the place among the layers that stand for one operation."""

MASKS = ("mask", "query_mask", "value_mask", "key_mask")
ORDER = ("query", "value", "key")
"""What attention layers may be given by name."""
DTYPES = {"float32": None, "float64": None, "float16": None, "bfloat16": None, "string": "string", "uint8": "uint8"}


@dataclass
class Step:
    """A layer of the spec."""

    key: Key
    entry: Entry
    spec: Config
    """`type` and arguments, without what it reads."""
    reads: list[Ref] = field(default_factory=list)
    named: dict[str, Ref | list[Ref]] = field(default_factory=dict)
    """Layers that it reads by an argument's name."""
    inner: Plan | None = None
    mask: Ref | None = None
    """The mask that the file passes to it."""

    @property
    def all_reads(self) -> list[Ref]:
        return [*self.reads, *refs(self.named.values())]


@dataclass
class Plan:
    """The steps of a model in the file's order; Inputs first, in the order in which they are fed."""

    net: Net
    steps: list[Step]
    outputs: list[Ref]

    def __post_init__(self) -> None:
        self.by_key = {step.key: step for step in self.steps}


def plan(net: Net, problems: list[Problem], above: str = "") -> Plan:
    """Every layer that cannot be said is added to `problems`; all are found at once."""
    return _Planner(net, problems, above).plan()


class _Planner:
    def __init__(self, net: Net, problems: list[Problem], above: str) -> None:
        self.net, self.problems, self.above = net, problems, above
        self.aliases: dict[tuple[str, int], Ref] = {}
        self.scalings: dict[tuple[str, int], Config] = {}
        """Operations that became a Rescaling."""
        calls = [ref for entry in net.entries for call in entry.calls for ref in call.refs]
        self.uses = Counter((ref.name, ref.call) for ref in [*calls, *net.outputs])

    def plan(self) -> Plan:
        used = self.used()
        inputs = [ref.name for ref in self.net.inputs]
        entries = [self.net.by_name[name] for name in inputs]
        entries += [entry for entry in self.net.entries if entry.name not in inputs]
        steps = []
        for entry in entries:
            inner = None
            if entry.inner:
                inner = plan(entry.inner, self.problems, f"{self.above}{entry.name}/")
            for number, call in enumerate(entry.calls):
                if (entry.name, number) not in used:
                    continue
                try:
                    steps += self.steps(entry, number, call, inner)
                except Refusal as refusal:
                    if number == 0:
                        self.refuse(entry, refusal)
        self.unread(used)
        for step in steps:
            step.reads = [self.meant(ref) for ref in step.reads]
            step.named = {
                key: self.meant(item) if isinstance(item, Ref) else [self.meant(ref) for ref in item]
                for key, item in step.named.items()
            }
        return Plan(self.net, steps, [self.meant(ref) for ref in self.net.outputs])

    def refuse(self, entry: Entry, refusal: Refusal) -> None:
        kind = "operation" if entry.is_operation else entry.kind
        name = f"{self.above}{entry.name}"[:120]
        self.problems.append(Problem("E604", f"{kind[:60]} `{name}`: {refusal.why}", help=refusal.help))

    def used(self) -> set[tuple[str, int]]:
        """Calls that the outputs need; what makes masks alone is not among them."""
        found: set[tuple[str, int]] = {(ref.name, ref.call) for ref in self.net.inputs}
        waiting = list(self.net.outputs)
        while waiting:
            ref = waiting.pop()
            if (ref.name, ref.call) in found:
                continue
            found.add((ref.name, ref.call))
            entry = self.net.by_name[ref.name]
            call = entry.calls[ref.call]
            waiting += refs(call.args)
            waiting += refs(v for k, v in call.kwargs.items() if entry.is_operation or k not in MASKS)
        return found

    def unread(self, used: set[tuple[str, int]]) -> None:
        """Inputs that nothing of the spec would read."""
        read = {ref.name for ref in self.net.outputs}
        for name, number in used:
            entry = self.net.by_name[name]
            call = entry.calls[number]
            read.update(ref.name for ref in refs(call.args))
            given = [v for k, v in call.kwargs.items() if entry.is_operation or k not in MASKS]
            read.update(ref.name for ref in refs(given))
        for ref in self.net.inputs:
            if ref.name not in read:
                self.refuse(self.net.by_name[ref.name], Refusal("nothing reads it, or a mask that is given by hand"))

    def meant(self, ref: Ref) -> Ref:
        """The tensor behind operations that only pass one on."""
        for _ in range(10_000):
            if (ref.name, ref.call) not in self.aliases:
                break
            ref = self.aliases[ref.name, ref.call]
        return ref

    def steps(self, entry: Entry, number: int, call: Call, inner: Plan | None) -> list[Step]:
        if entry.is_input:
            return [Step((entry.name, 0, 0), entry, _input(entry))]
        if entry.is_operation:
            return self.operation(entry, number, call)
        why = custom({"class_name": entry.kind, "module": entry.module, "registered_name": entry.registered})
        if why and inner is None:
            help = "write that layer with layers of Keras, and save the model again"
            raise Refusal(why, help)
        return [self.layer(entry, number, call, inner)]

    def operation(self, entry: Entry, number: int, call: Call) -> list[Step]:
        found = operations.translated(entry, call)
        if isinstance(found, Ref):
            self.aliases[entry.name, number] = found
            return []
        layers, reads = found
        if self.joined(layers, reads):
            self.aliases[entry.name, number] = reads[0]
            return []
        steps = []
        for place, spec in enumerate(layers):
            last = len(layers) - 1 - place  # the last has the operation's own key
            steps.append(Step((entry.name, number, last), entry, spec, reads))
            reads = [Ref(entry.name, number, -last)]
        if layers[0]["type"] == "Rescaling":
            self.scalings[entry.name, number] = layers[0]
        return steps

    def joined(self, layers: list[Config], reads: list[Ref]) -> bool:
        """Whether an offset goes into the Rescaling before it: `x / 255 - 0.5` is one layer."""
        spec, x = layers[0], reads[0]
        before = self.scalings.get((x.name, x.call))
        if spec["type"] != "Rescaling" or spec["scale"] != 1 or before is None or "offset" in before:
            return False
        if self.uses[x.name, x.call] > 1:
            return False
        before["offset"] = spec["offset"]
        return True

    def layer(self, entry: Entry, number: int, call: Call, inner: Plan | None) -> Step:
        kind = entry.kind
        if number:
            spec: Config = {"type": "Reuse", "layer": entry.name}
        elif inner:
            spec = {"type": "Model"} | ({"trainable": False} if not entry.inner or not entry.inner.trainable else {})
        else:
            spec = mapping("layer", kind, {**entry.config, "name": None})
            if (entry.config.get("sparse") is True) or (entry.config.get("ragged") is True):
                raise Refusal("sparse and ragged tensors are not known here", "use dense ones of fixed shape")
            if (
                spec.get("output_mode") in ("tf_idf", "tf-idf")
                and spec.get("vocabulary")
                and not spec.get("idf_weights")
            ):
                raise Refusal(
                    "its `idf_weights` are not in its config", "give the layer its `idf_weights`, and save it"
                )
        step = Step((entry.name, number, 0), entry, spec, inner=None if number else inner)
        self.arguments(step, call, Layer.find(kind) if inner is None else None)
        if number and (step.named or any(e.kwargs.get("initial_state") for e in entry.calls)):
            raise Refusal("it is called several times with arguments beside its inputs, which `Reuse` does not take")
        return step

    def arguments(self, step: Step, call: Call, member: Any) -> None:
        """What the call reads, and what it says beside that."""
        entry, args, kwargs = step.entry, list(call.args), dict(call.kwargs)
        kind = entry.kind
        if kind in STATEFUL and len(args) > 1:
            kwargs |= dict(zip(("initial_state", "mask", "training"), args[1:], strict=False))
            args = args[:1]
        if kind in HEADED:
            args += [kwargs.pop(name) for name in ORDER[len(args) :] if kwargs.get(name) is not None]
            kwargs = {key: item for key, item in kwargs.items() if key not in ORDER}
        if entry.inner and not args and "inputs" in kwargs:
            args = [kwargs.pop("inputs")]
        step.reads = list(refs(args))
        if any(not isinstance(ref, Ref) and ref is not None for ref in _leaves(args)):
            raise Refusal("it reads a constant, and a spec's layers read layers")
        if (
            len(step.reads) > 1
            and len(set(step.reads)) == 1
            and (kind in HEADED or kind in ("Attention", "AdditiveAttention"))
        ):
            step.reads = step.reads[:1]
        for key, item in kwargs.items():
            self.argument(step, key, item, member)

    def argument(self, step: Step, key: str, item: Any, member: Any) -> None:
        kind, given = step.entry.kind, list(refs([item]))
        if key in MASKS:
            step.mask = given[0] if given and key == "mask" and len(given) == 1 else None
        elif member is not None and key in member.references and given:
            step.named[key] = item if isinstance(item, Ref) else given
        elif member is not None and key in member.call_arguments and isinstance(item, bool):
            if item and (step.key[1] == 0 or key == "reverse"):
                step.spec[key] = item
        elif item in (None, False) or item == [] or item == {} or (key == "training" and kind in IMAGES):
            return
        elif key == "training":
            raise Refusal("it is called with `training=True`: it would stay in training when the model predicts")
        else:
            raise Refusal(f"it is called with `{key[:60]}`, which a spec cannot say")


def _leaves(parts: Any) -> list[Any]:
    if isinstance(parts, (list, tuple)):
        return [leaf for part in parts for leaf in _leaves(part)]
    return [leaf for part in parts.values() for leaf in _leaves(part)] if isinstance(parts, Mapping) else [parts]


def _input(entry: Entry) -> Config:
    shape = shape_of(entry)
    found: Config = {"type": "Input"}
    if isinstance(shape, list) and shape:
        if any(n is not None and (type(n) is not int or n < 1) for n in shape[1:]):
            raise Refusal(f"its shape is {shape}")
        found["shape"] = shape[1:]
    if entry.config.get("sparse") or entry.config.get("ragged"):
        raise Refusal("sparse and ragged tensors are not known here", "use dense ones of fixed shape")
    dtype = entry.config.get("dtype")
    if isinstance(dtype, Mapping):
        dtype = (dtype.get("config") or {}).get("name")
    kind = DTYPES.get(str(dtype), "int32" if str(dtype).startswith(("int", "uint", "bool")) else None)
    return found | ({"dtype": kind} if kind else {})
