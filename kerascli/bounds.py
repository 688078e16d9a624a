"""Whole numbers that stand for something: classes of a loss and rows of an Embedding's table, checked once over arrays.

The ops take a number that is out of range for the nearest one that is in it, so that no memory is read that is not
theirs; what a net would learn from that nobody wants. Errors: E405 a target that is no class, E420 an id without a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.graph import Graph, Node
from kerascli.layers.embedding import Embedding
from kerascli.model import Model
from kerascli.ops.ir import Array

PASSING = {
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dropout",
    "Flatten",
    "Identity",
    "Permute",
    "RepeatVector",
    "Reshape",
}
"""Layers whose outputs are numbers of their input, no others."""
CHUNK = 1 << 20
"""Numbers that are compared at a time."""


def require_classes(model: Model, targets: Mapping[str, Array], rows: Array | None = None) -> None:
    """Raise E405 for each output whose targets number a class that the output does not have; `rows` number them."""
    problems = []
    for goal in model.objective.goals:
        count = goal.loss.numbered(model.graph.node(goal.output).shape)
        if count is None:
            continue
        ignored = getattr(goal.loss, "ignore_class", None)
        if found := _outside(targets[goal.output], count, ignored):
            place, value = found
            known = f"{goal.loss.label} knows 0 to {count - 1}"
            message = f"target `{goal.output}`: {_at(place, rows)} has class {value}, and {known}"
            help = "number the classes from 0; `ignore_class` leaves one out"
            if value >= count and value == int(value):
                help = f"give the last layer {int(value) + 1} units, or {help}"
            problems.append(Problem("E405", message, help=help))
    if problems:
        raise Failure(problems)


def require_ids(graph: Graph, inputs: Mapping[str, Array], rows: Array | None = None) -> None:
    """Raise E420 for each Embedding that an input goes to, where a number in it has no row in the table."""
    problems = []
    for node, layer in _embeddings(graph):
        source = _source(graph, node.inputs[0])
        if source is None or source not in inputs:
            continue
        if found := _outside(inputs[source], layer.input_dim):
            place, value = found
            table = f"{node.title} has input_dim {layer.input_dim}, for ids from 0 to {layer.input_dim - 1}"
            help = f"write `input_dim: {int(value) + 1}` or more" if value >= layer.input_dim else "number ids from 0"
            at = _at(place, rows)
            problems.append(Problem("E420", f"input `{source}`: {at} has the id {value}; {table}", help=help))
    if problems:
        raise Failure(problems)


def _embeddings(graph: Graph) -> Iterator[tuple[Node, Embedding]]:
    for node in graph.nodes:
        if isinstance(node.layer, Embedding) and node.inputs and not getattr(node.layer, "reverse", False):
            yield node, node.layer


def _source(graph: Graph, name: str) -> str | None:
    """The input whose numbers a node passes on, if it does nothing else to them."""
    while name not in graph.inputs:
        node = graph.node(name)
        if type(node.layer).__name__ not in PASSING or len(node.inputs) != 1:
            return None
        name = node.inputs[0]
    return name


def _outside(values: Array, count: int, ignored: int | None = None) -> tuple[tuple[int, ...], int | float] | None:
    """Place and value of the first number that is not a whole one from 0 to count - 1."""
    if values.dtype.kind not in "biuf" or not values.size:
        return None
    rows = max(1, CHUNK // max(1, values.size // len(values)))
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        wrong = (part < 0) | (part >= count)
        if part.dtype.kind == "f":
            wrong |= part != np.floor(part)
        if ignored is not None:
            wrong &= part != ignored
        if wrong.any():
            first, *rest = (int(k) for k in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
            value = part[(first, *rest)].item()
            return (start + first, *rest), int(value) if value == int(value) else value
    return None


def _at(place: tuple[int, ...], rows: Array | None) -> str:
    """Row 3, column 7: counted from 1, as people count."""
    row, *rest = (k + 1 for k in place)
    row = row if rows is None else int(rows[row - 1]) + 1
    return f"row {row}" + f", column {', '.join(map(str, rest))}" * bool(rest)
