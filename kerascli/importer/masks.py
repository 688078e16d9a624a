"""Masks of an imported model must be those of the file: Keras writes some into its graph, and operations end them.

`x + y` hands on no mask in Keras, where the layer Add does. Where a mask would reach a layer that heeds it, a Reshape
to the same shape ends it, as Keras's Reshape does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kerascli.errors import Problem
from kerascli.graph import Graph, Node
from kerascli.importer.network import Config, Ref
from kerascli.importer.plan import Plan
from kerascli.keras_graph import ATTENTION, HEADED, Operation, Tensor, written
from kerascli.layer import MASKED

HEEDING = {*MASKED, *ATTENTION, *HEADED}
Place = tuple[str | int, ...]


def ended(layers: list[Any], graph: Graph, steps: dict[Place, tuple[str, ...]], found: Plan, notes: list[str]) -> bool:
    """Put an end to masks behind operations, in `layers` and `steps`; whether there was any."""
    operations = {step.entry.name for step in found.steps if step.entry.is_operation}
    by_place = {node.path: node for node in graph.nodes}
    _, masks = written(graph)
    heeded = _heeded(graph)
    for number in reversed(range(len(layers))):
        place: Place = ("layers", number)
        node = by_place.get(place)
        if node is None or masks.get(node.name) is None or node.name not in heeded:
            continue
        if steps[place][-1] not in operations or len(steps[place]) > 1:
            continue
        layer: Config = layers[number]
        stop: Config = {"type": "Reshape", "target_shape": list(node.shape)}
        if "name" in layer:
            stop["name"] = layer["name"]
            layer = {key: item for key, item in layer.items() if key != "name"}
        layers[number : number + 1] = [layer, stop]
        _shift(steps, number)
        notes.append(
            f"`{steps[place][-1]}` is an operation in Keras, which hands on no mask: the Reshape after it ends the mask"
        )
    return any("ends the mask" in note for note in notes)


def _shift(steps: dict[Place, tuple[str, ...]], number: int) -> None:
    """One more layer stands after place `number`, for the same operation."""
    moved = {}
    for place, names in steps.items():
        at = place[1]
        assert isinstance(at, int)
        moved[(place[0], at + 1, *place[2:]) if at > number else place] = names
    moved["layers", number + 1] = steps["layers", number]
    steps.clear()
    steps.update(moved)


def _heeded(graph: Graph) -> set[str]:
    """Nodes before an output or a layer to which a mask makes a difference."""
    found: set[str] = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in found or type(node.layer).__name__ in HEEDING:
            found.update(node.inputs)
    return found


def faults(found: Plan, graph: Graph, steps: Mapping[Place, tuple[str, ...]]) -> list[Problem]:
    """Layers that the file gives another mask than the one that goes with what they read."""
    operations, masks = written(graph)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        if len(node.path) == 2 and not node.shared and node.path in steps:
            nodes[steps[node.path][0]] = node
    names = {own: node.name for own, node in nodes.items()}
    problems = list(_inner_faults(found, graph, steps, masks))
    for step in found.steps:
        if step.entry.kind not in MASKED or len(step.entry.calls) > 1 or step.entry.name not in nodes:
            continue
        call = step.entry.calls[0]
        mine = operations[names[step.entry.name]].calls[0].kwargs.get("mask")
        if "mask" in call.kwargs and _theirs(call.kwargs["mask"], found, names) != _ours(mine, operations):
            message = f"{step.entry.kind} `{step.entry.name}`: it is given another mask than that of what it reads"
            help = "a spec has no masks of its own: let Embedding or Masking make them"
            problems.append(Problem("E604", message, help=help))
    return problems


def _inner_faults(
    found: Plan, graph: Graph, steps: Mapping[Place, tuple[str, ...]], masks: Mapping[str, Tensor | None]
) -> Iterator[Problem]:
    """Operations within a Residual that would hand on a mask."""
    operations = {step.entry.name for step in found.steps if step.entry.is_operation}
    heeded = _heeded(graph)
    for node in graph.nodes:
        own = steps.get(node.path, ())
        inside = len(node.path) > 2 and len(own) == 1 and own[0] in operations
        if inside and masks.get(node.name) is not None and node.name in heeded:
            message = f"operation `{own[0]}`: it ends a mask, and stands within a sum"
            yield Problem("E604", message, help="use layers in the place of operations, and save the model again")


def _theirs(item: Any, found: Plan, names: Mapping[str, str], depth: int = 0) -> Any:
    """A mask as a term of operations on layers, which have our names."""
    if not isinstance(item, Ref) or depth > 100:
        return item
    entry = found.net.by_name[item.name]
    if not entry.is_operation or item.name in names:
        return names.get(item.name, item.name)
    call = entry.calls[item.call]
    return entry.kind, [_theirs(each, found, names, depth + 1) for each in call.args]


def _ours(item: Any, operations: Mapping[str, Operation], depth: int = 0) -> Any:
    if not isinstance(item, Tensor) or depth > 100:
        return item
    operation = operations[item.operation]
    if operation.node is not None:
        return item.operation
    args = operation.calls[item.call].args
    return operation.config["class_name"], [_ours(each, operations, depth + 1) for each in args]
