"""The weights of an imported model: where they lie in the file, in the file's own order of layers.

A spec may be written in another order than the file, so each layer is found by its name in the file's config; the file
keeps it as `layers/<class>_<count>`, counted over the layers of its model in the config's order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerascli import keras_files
from kerascli.component import snake_case
from kerascli.graph import Graph, Node
from kerascli.importer.network import Entry, Net
from kerascli.keras_layout import OptimizerState, Place, optimizer_slots, placed
from kerascli.layer import Layer
from kerascli.layers.structure import PSEUDO
from kerascli.ops.ir import Array, Shape
from kerascli.schedules import Schedule
from kerascli.spec import Spec

Names = tuple[str, ...]
"""A layer's name in the file, after those of the models around it."""


@dataclass(frozen=True)
class Layout:
    """Where the file keeps the weights of the graph."""

    places: list[Place]
    layers: dict[str, list[Place]]
    """Those of each layer of the model itself, trained ones first, as the legacy form has them."""


def layout(net: Net, graph: Graph, steps: Mapping[tuple[str | int, ...], Names]) -> Layout:
    """`steps` says which layer of the file each place of the spec is."""
    nodes: dict[Names, Node] = {}
    for node in graph.nodes:
        if node.weights and not node.shared and not isinstance(node.layer, PSEUDO):
            nodes[steps[node.path]] = node
    found: list[Place] = []
    layers: dict[str, list[Place]] = {entry.name: [] for entry in net.layers}
    for names, group in _groups(net, (), ""):
        if names in nodes:
            own = list(placed(nodes[names], group))
            found += own
            layers[names[0]] += own
    return Layout(found, {name: sorted(own, key=lambda p: not p.trained) for name, own in layers.items()})


def _groups(net: Net, above: Names, prefix: str) -> Iterator[tuple[Names, str]]:
    counts: Counter[str] = Counter()
    for entry in net.layers:
        kind = _class(entry)
        group = f"{prefix}layers/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        yield (*above, entry.name), group
        if entry.inner:
            yield from _groups(entry.inner, (*above, entry.name), f"{group}/")


def _class(entry: Entry) -> str:
    """What Keras calls the group of a layer: its class, under its first name."""
    member = None if entry.inner else Layer.find(entry.kind)
    return member.keras_name() if member is not None and issubclass(member, Layer) else snake_case(entry.kind)


def read(path: Path, where: Layout, graph: Graph, spec: Spec) -> tuple[dict[str, Array], OptimizerState | None]:
    """The weights, and the optimizer's state in our order; None where the file has none that fits."""
    ours = spec.optimizer
    trained = {place.path: place.spec.shape for place in where.places if place.trained}
    shapes: dict[str, Shape] = {"iteration": ()}
    if not isinstance(ours.learning_rate, Schedule):
        shapes["learning_rate"] = ()
    shapes |= {f"{slot} {own}": shape for slot, own, shape in ours.variables(trained)}
    shapes |= dict.fromkeys(ours.totals(0), ())
    arrays, found = keras_files.read_model(path, where.places, where.layers, shapes)
    if not found:
        return arrays, None
    head = {name: found[name] for name in ("iteration", "learning_rate") if name in found}
    slots = {each.variable: found[f"{each.slot} {each.path}"] for each in optimizer_slots(graph, spec.name, ours)}
    totals = {name: found[name] for name in ours.totals(0)}
    return arrays, OptimizerState(ours.name or snake_case(type(ours).__name__), head | slots | totals)


def not_finite(weights: Mapping[str, Array]) -> list[str]:
    """What to say of weights that are no numbers any more."""
    broken = [name for name, array in weights.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    return [f"the weight `{name}` holds NaN or infinity" for name in broken]
