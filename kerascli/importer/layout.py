"""From steps to `layers` as a person would write them: one after the other where they are a stack, names only where
they are read or mean something, Residual where a stack is added to its input.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kerascli.component import snake_case
from kerascli.importer.network import Config, Net, Ref
from kerascli.importer.plan import Key, Plan, Step
from kerascli.layer import Layer

Place = tuple[str | int, ...]
MODEL_NAMES = ("functional", "model", "sequential")


@dataclass
class Item:
    """An entry of `layers`."""

    step: Step
    """Of a Residual: its sum."""
    reads: list[Ref]
    body: list[Item] = field(default_factory=list)
    """The layers of a Residual or Model."""
    outputs: list[Ref] = field(default_factory=list)
    """Of a Model, where they are not its last layer alone."""
    names: _Names | None = None
    """Of a Model."""

    @property
    def key(self) -> Key:
        return self.step.key


def key_of(ref: Ref) -> Key:
    """The step that a tensor comes from."""
    return ref.name, ref.call, max(-ref.index, 0)


@dataclass(frozen=True)
class Written:
    """The layers of a model, and which step each is."""

    layers: list[Any]
    outputs: list[str] | None
    steps: dict[Place, tuple[str, ...]]
    """By the place in the spec: the names of the layer in the file, from the outermost model on."""
    names: dict[Key, str]
    """What the top level's layers are called, where they have a name."""


def written(plan: Plan) -> Written:
    """The whole model."""
    items, outputs = _arranged(plan)
    names = _Names(plan, items, outputs)
    steps: dict[Place, tuple[str, ...]] = {}
    layers = _written(items, names, ("layers",), (), steps)
    listed = [names.of(ref) for ref in plan.outputs] if outputs else None
    return Written(layers, listed, steps, names.given)


def _arranged(plan: Plan) -> tuple[list[Item], list[Ref]]:
    """The items in order, and the outputs where they are not the last item alone."""
    items = _folded(_ordered(plan), plan.outputs)
    last = items[-1]
    alone = len(plan.outputs) == 1 and key_of(plan.outputs[0]) == last.key and plan.outputs[0].index <= 0
    return items, [] if alone else plan.outputs


def _ordered(plan: Plan) -> list[Item]:
    """Inputs first, then each layer after the one that it reads, as far as that goes; else in the file's order."""
    waiting = {step.key: step for step in plan.steps}
    done: set[Key] = set()
    order: list[Step] = []

    def put(step: Step) -> None:
        order.append(step)
        done.add(step.key)
        del waiting[step.key]

    for step in [step for step in plan.steps if step.spec["type"] == "Input"]:
        put(step)
    while waiting:
        ready = [s for s in waiting.values() if all(key_of(ref) in done for ref in s.all_reads) and _owned(s, done)]
        if not ready:
            raise ValueError("the layers go round in a circle")
        following = [s for s in ready if order and any(key_of(ref) == order[-1].key for ref in s.all_reads)]
        ends = {key_of(ref) for ref in plan.outputs[-1:]}
        put(min(following or ready, key=lambda s: s.key in ends and len(ready) > 1))
    items = []
    for step in order:
        item = Item(step, step.reads)
        if step.inner:
            item.body, item.outputs = _arranged(step.inner)
            item.names = _Names(step.inner, item.body, item.outputs)
        items.append(item)
    return items


def _owned(step: Step, done: set[Key]) -> bool:
    """Whether the layer that a Reuse shares stands before it."""
    return step.spec["type"] != "Reuse" or any(key[0] == step.key[0] for key in done)


def _folded(items: list[Item], outputs: list[Ref]) -> list[Item]:
    """The items with Residual in the place of `x + layers(x)`."""
    counts = Counter(key_of(ref) for item in items for ref in item.step.all_reads)
    counts.update(key_of(ref) for ref in outputs)
    shared = {item.key[0] for item in items if item.step.spec["type"] == "Reuse"}
    found: list[Item] = []
    for item in items:
        found.append(item)
        start = _start(found, counts, shared)
        if start is not None:
            body = found[start:-1]
            del found[start:]
            found.append(Item(item.step, body[0].reads, body))
    return found


def _start(found: list[Item], counts: Counter[Key], shared: set[str]) -> int | None:
    """Where the stack begins that the last item adds to what that stack reads."""
    add = found[-1]
    if add.step.spec != {"type": "Add"} or len(add.reads) != 2 or add.key[0] in shared:
        return None
    for x, end in (add.reads, add.reads[::-1]):
        place = len(found) - 2
        if x == end or place < 0 or end != _output(found[place]):
            continue
        while place >= 0:
            item = found[place]
            single = len(item.reads) == 1 and not item.step.named and counts[item.key] == 1
            if not single or item.step.spec["type"] == "Input" or item.key[0] in shared:
                break
            if item.reads[0] == x:
                # `x + 2 * x` is no residual block.
                return place if any(not each.step.entry.is_operation for each in found[place:-1]) else None
            if not place or item.reads[0] != _output(found[place - 1]):
                break
            place -= 1
    return None


def _output(item: Item) -> Ref:
    name, call, place = item.key
    return Ref(name, call, -place)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Names:
    """What the layers of one model are called in the spec."""

    def __init__(self, plan: Plan, items: list[Item], outputs: list[Ref]) -> None:
        self.given: dict[Key, str] = {}
        self.taken: set[str] = set()
        self.read = {key_of(ref) for ref in outputs}
        if len(plan.net.inputs) > 1:  # data go to several inputs by their names
            self.read.update(key_of(ref) for ref in plan.net.inputs)
        self._look(items, None)
        for step in plan.steps:
            if step.key[1] == 0 and (step.key in self.read or not automatic(step)):
                self.name(step.key, step.entry.name)
        for step in plan.steps:
            if step.spec["type"] == "Reuse":
                owner = (step.key[0], *min(key[1:] for key in plan.by_key if key[0] == step.key[0]))
                if owner not in self.given:
                    self.name(owner, step.entry.name)
        for step in plan.steps:
            if step.key in self.read and step.key not in self.given:
                self.name(step.key, f"{step.entry.name}_{step.key[1] + 1}")

    def _look(self, items: list[Item], before: Key | None) -> None:
        """Which layers are read by name: all that are not read by the next one alone."""
        for item in items:
            if not follows(item, before):
                self.read.update(key_of(ref) for ref in item.reads)
            self.read.update(key_of(ref) for ref in item.step.all_reads if ref not in item.step.reads)
            if item.body and not item.step.inner:
                self._look(item.body, key_of(item.reads[0]))
            before = item.key

    def name(self, key: Key, wanted: str) -> None:
        base = re.sub(r"[/\\\x00-\x1f\x7f]", "_", wanted).strip() or "layer"
        base = re.sub(r":(\d+)$", r"_\1", base)
        name, number = base, 1
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        self.given[key] = name

    def of(self, ref: Ref) -> str:
        name = self.given[key_of(ref)]
        return f"{name}:{ref.index}" if ref.index > 0 else name


def automatic(step: Step) -> bool:
    """Whether the name is one that Keras makes: `conv2d_12`."""
    kind = step.entry.kind
    member = Layer.find(kind) if not step.inner and not step.entry.is_operation else None
    bases = [snake_case(kind), *([member.keras_name()] if member is not None and issubclass(member, Layer) else [])]
    if step.entry.is_input:
        bases = ["input_layer", "input", "input_layer_of_the_stack"]
        bases += [f"{first}_input" for first in (step.entry.name.removesuffix("_input"),)]
    if step.inner:
        bases += MODEL_NAMES
    if step.entry.is_operation:
        return True
    return any(re.fullmatch(rf"{re.escape(base)}(_\d+)?", step.entry.name) for base in bases)


def follows(item: Item, before: Key | None) -> bool:
    """Whether an item reads the one before it and nothing else, so that it need not say so."""
    return item.step.spec["type"] == "Input" or (
        len(item.reads) == 1 and key_of(item.reads[0]) == before and item.reads[0].index <= 0
    )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _written(
    items: list[Item],
    names: _Names,
    place: Place,
    above: tuple[str, ...],
    steps: dict[Place, tuple[str, ...]],
    before: Key | None = None,
) -> list[Any]:
    found = []
    for number, item in enumerate(items):
        here = (*place, number)
        steps[here] = (*above, item.step.entry.name)
        spec: Config = dict(item.step.spec)
        if item.body and not item.step.inner:
            spec = {"type": "Residual"}
        kind = spec.pop("type")
        layer: Config = {"type": kind}
        if item.key in names.given:
            layer["name"] = names.given[item.key]
        if kind == "Reuse":
            owner = next(key for key in names.given if key[0] == item.key[0] and key[1] == 0 and key[2] == 0)
            spec["layer"] = names.given[owner]
        layer |= spec
        if not follows(item, before):
            reads = [names.of(ref) for ref in item.reads]
            layer["inputs"] = reads[0] if len(reads) == 1 else reads
        for key, given in item.step.named.items():
            layer[key] = names.of(given) if isinstance(given, Ref) else [names.of(ref) for ref in given]
        if item.step.inner:
            assert item.names
            body = item.body
            entry = body[0]
            if len(item.step.inner.net.inputs) == 1 and entry.key not in item.names.read and len(body) > 1:
                body = body[1:]  # what the model reads is clear without an Input
            inner = _written(body, item.names, (*here, "layers"), steps[here], steps, entry.key)
            layer["layers"] = inner
            if item.outputs:
                layer["outputs"] = [item.names.of(ref) for ref in item.step.inner.outputs]
        elif item.body:
            layer["layers"] = _written(item.body, names, (*here, "layers"), above, steps, key_of(item.reads[0]))
        found.append(layer)
        before = item.key
    return found


def nets(net: Net) -> list[Net]:
    """A model and all that are nested in it."""
    return [net, *(inner for entry in net.entries if entry.inner for inner in nets(entry.inner))]
