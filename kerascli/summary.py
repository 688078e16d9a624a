"""What a model is made of: its layers with shapes and parameters, and its size in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from kerascli.graph import Graph, Node, build, shown
from kerascli.layers.structure import _Entry, _Exit, _Part
from kerascli.ops.ir import LEAVES
from kerascli.program.build import prediction_program
from kerascli.run import find
from kerascli.spec import load
from kerascli.stored import Stored

SPECS = (".yaml", ".yml")


@dataclass(frozen=True)
class Row:
    """One layer, as Keras's summary shows it."""

    name: str
    type: str
    shape: str
    dtype: str
    parameters: int
    """0 where another layer's weights are shared, and for a nested model, whose layers have rows of their own."""
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The layers of a model and their totals. Bytes are those of float32."""

    name: str
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    weight_bytes: int
    sample_bytes: int
    """Of one sample's outputs of all layers together."""
    flops: int
    """Of predicting one sample: floating-point operations of the program that runs."""


def summarise(target: str, settings: tuple[str, ...] = (), runs: Path = Path("runs")) -> Summary:
    """Of a spec, or of a run or model file."""
    return of(*_named_graph(target, settings, runs))


def graph_of(target: str, settings: tuple[str, ...] = (), runs: Path = Path("runs")) -> Graph:
    """The graph of a spec, or of a run or model file."""
    return _named_graph(target, settings, runs)[0]


def _named_graph(target: str, settings: tuple[str, ...], runs: Path) -> tuple[Graph, str]:
    if Path(target).suffix in SPECS:
        loaded = load(target, settings)
        return build(loaded), loaded.spec.name
    stored = Stored(find(target, runs))
    return stored.graph, stored.loaded.spec.name


def of(graph: Graph, name: str) -> Summary:
    values = prediction_program(graph).trace.values
    flops = sum(value.op.flops(value, 1) for value in values if not isinstance(value.op, LEAVES))
    total = graph.count()
    return Summary(
        name,
        tuple(_rows(graph, "")),
        total,
        graph.count(trainable=True),
        4 * total,
        4 * sum(prod(node.shape) for node in graph.layers),
        flops,
    )


def _rows(graph: Graph, inside: str) -> Iterator[Row]:
    """A nested model's layers stand below it; those of a further call of it would say nothing new."""
    for node in graph.nodes:
        if node.inside != inside or isinstance(node.layer, _Part):
            continue
        if not isinstance(node.layer, _Exit):
            yield _row(node, node.inputs)
        elif node.layer.number == 0:
            yield _row(node, _reads(graph, node.layer.model))
            if not node.shared:
                yield from _rows(graph, node.name)


def _reads(graph: Graph, model: str) -> tuple[str, ...]:
    entries = [n for n in graph.nodes if isinstance(n.layer, _Entry) and n.inside == model]
    return tuple(name for entry in entries for name in entry.inputs)


def _row(node: Node, inputs: tuple[str, ...]) -> Row:
    own = 0 if node.shared else sum(prod(spec.shape) for spec in node.weights)
    return Row(node.name, node.layer.type_name(), shown(node.shape), node.dtype, own, inputs)
