"""Where Keras keeps each variable: the layout of its weight files, and the order of its optimizers.

Keras 3 keeps the variables of a layer as `layers/<class>_<count>/vars/<n>`, counted over the layers in its own order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from kerascli.component import snake_case
from kerascli.graph import Graph, Node
from kerascli.keras_graph import Operation, is_stack, layers
from kerascli.layer import WeightSpec
from kerascli.layers.structure import Input, _Entry
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer
from kerascli.schedules import Schedule

Weights = Mapping[str, Array]


@dataclass(frozen=True)
class Place:
    """Where one weight lies in Keras's file."""

    path: str
    """Ours: `conv2d/kernel`."""
    group: str
    """The layer's group in the file: `layers/conv2d`, and `layers/functional/layers/dense` in a nested model."""
    inner: str
    """The group of the variable below it: `` or `cell`."""
    index: int
    node: Node
    spec: WeightSpec

    @property
    def dataset(self) -> str:
        return "/".join(part for part in (self.group, self.inner, "vars", str(self.index)) if part)

    @property
    def trained(self) -> bool:
        return self.spec.trainable and self.node.trainable


@dataclass(frozen=True)
class OptimizerState:
    """What training needs to go on, in the order Keras keeps it."""

    name: str
    variables: Weights
    """By Keras's variable name: `iteration`, `learning_rate`, `conv2d_kernel_momentum` …"""


@dataclass(frozen=True)
class Slot:
    """One variable of an optimizer that belongs to a weight."""

    variable: str
    """Keras's name."""
    slot: str
    path: str
    shape: Shape


def places(graph: Graph) -> list[Place]:
    """Every weight of the graph, in Keras's order."""
    found: list[Place] = []
    for operation, group in groups(graph):
        node = operation.node
        if node is not None and not operation.view:
            found += placed(node, group)
    return found


def placed(node: Node, group: str) -> Iterator[Place]:
    """The weights of one layer, which lies in `group`."""
    counts: Counter[str] = Counter()
    for spec in node.weights:
        yield Place(f"{node.name}/{spec.name}", group, spec.group, counts[spec.group], node, spec)
        counts[spec.group] += 1
        if spec.also is not None:
            counts[spec.also] += 1


def copies(graph: Graph) -> Iterator[tuple[str, str]]:
    """The path of each weight that Keras's file keeps twice, and its second place."""
    for operation, group in groups(graph):
        counts: Counter[str] = Counter()
        for spec in operation.node.weights if operation.node and not operation.view else ():
            counts[spec.group] += 1
            if spec.also is not None:
                assert operation.node
                parts = (group, spec.also, "vars", str(counts[spec.also]))
                yield f"{operation.node.name}/{spec.name}", "/".join(part for part in parts if part)
                counts[spec.also] += 1


def trainable_paths(graph: Graph) -> list[str]:
    """In the order of Keras's `model.trainable_variables`, which its optimizers follow."""
    return [place.path for place in places(graph) if place.trained]


def by_layer(graph: Graph) -> dict[str, list[Place]]:
    """The weights of each layer of the model itself, as Keras's legacy files have them: trained ones first."""
    found: dict[str, list[Place]] = {operation.name: [] for operation in layers(graph)}
    for place in sorted(places(graph), key=lambda place: not place.trained):
        found[place.node.name.partition("/")[0]].append(place)
    return found


def optimizer_slots(graph: Graph, name: str, optimizer: Optimizer) -> list[Slot]:
    """The slots of an optimizer on the model called `name`, in Keras's order."""
    prefix = f"{name}_" if is_stack(graph) else ""
    by_path = {place.path: place for place in places(graph)}
    found: list[Slot] = []
    names: set[str] = set()
    for slot, path, shape in optimizer.variables({path: by_path[path].spec.shape for path in trainable_paths(graph)}):
        name = f"{prefix}{keras_path(by_path[path]).replace('/', '_')}_{slot}"
        while name in names:  # `a_b` beside `b` in the nested model `a`
            name += "_"
        names.add(name)
        found.append(Slot(name, slot, path, shape))
    return found


def optimizer_state(
    graph: Graph, name: str, optimizer: Optimizer, iteration: int, rate: float, slots: Mapping[str, Weights]
) -> OptimizerState:
    """The optimizer's variables; `slots` holds the arrays of each slot by weight path, `rate` is the rate now."""
    variables: dict[str, Array] = {"iteration": np.asarray(iteration, np.int32)}
    if not isinstance(optimizer.learning_rate, Schedule):
        variables["learning_rate"] = np.asarray(rate, np.float32)
    for own in optimizer_slots(graph, name, optimizer):
        variables[own.variable] = slots[own.slot][own.path].reshape(-1)[: prod(own.shape)].reshape(own.shape)
    variables |= {name: np.asarray(number, np.float32) for name, number in optimizer.totals(iteration).items()}
    return OptimizerState(optimizer.name or snake_case(type(optimizer).__name__), variables)


def groups(graph: Graph) -> Iterator[tuple[Operation, str]]:
    """Every layer and its group: Keras counts the layers of each class, whatever their names."""
    yield from _groups(layers(graph), "")


def _groups(made: Sequence[Operation], above: str) -> Iterator[tuple[Operation, str]]:
    counts: Counter[str] = Counter()
    for operation in made:
        kind = _class(operation)
        group = f"{above}layers/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        yield operation, group
        if operation.view:
            yield from _groups(operation.view.layers, f"{group}/")


def _class(operation: Operation) -> str:
    assert operation.node
    if operation.view:
        return "functional"
    layer = operation.node.layer
    return "input_layer" if isinstance(layer, (Input, _Entry)) else layer.keras_name()


def steps(group: str) -> list[str]:
    """`forward_layer/cell` → `forward_layer`, `forward_layer/cell`."""
    parts = group.split("/") if group else []
    return ["/".join(parts[: k + 1]) for k in range(len(parts))]


def inner_name(node: Node, inner: str) -> str:
    """The name Keras gives a layer inside a layer: `lstm_cell`, `forward_lstm`."""
    part: Any = node.layer
    name = node.name
    named = node.layer.keras_groups()
    for path in steps(inner):
        step = path.rpartition("/")[2]
        if path in named:
            name, part = named[path], getattr(part, step, part)
        elif step == "cell" and type(part).__name__ == "RNN":
            part = part.cell
            name = part.name or snake_case(type(part).__name__)
        elif step == "cells":
            name = ""  # a list, which has no name
        elif type(part).__name__ == "StackedRNNCells":
            part = part.named()[step]
            name = part.name or step
        elif step == "cell":
            kind = type(part).__name__
            name = "conv_lstm_cell" if kind.startswith("ConvLSTM") else snake_case(kind) + "_cell"
        else:
            own = "layer" if step == "forward_layer" else step
            part = part.keras_config().get(own) or getattr(part, own)
            name = part.name or snake_case(type(part).__name__)
    return name


def keras_path(place: Place) -> str:
    inner = [inner_name(place.node, step) for step in steps(place.inner)]
    ways = (step.removesuffix("layer") for step in place.inner.split("/") if step.endswith("_layer"))
    way = place.inner.strip("_").removesuffix("dense") if place.inner.endswith("_dense") else next(ways, "")
    cell = f"{place.inner.rpartition('/')[2]}_"
    own = place.spec.name.removeprefix(way).removeprefix(cell)
    return "/".join([place.node.name, *filter(None, inner), own])
