"""What a model is made of: its layers with shapes and parameters, and its size in memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from kerascli.graph import Graph, Node, build, shown
from kerascli.layers.structure import _Part
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
    """0 where another layer's weights are shared."""
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
    if Path(target).suffix in SPECS:
        loaded = load(target, settings)
        return of(build(loaded), loaded.spec.name)
    stored = Stored(find(target, runs))
    return of(stored.graph, stored.loaded.spec.name)


def of(graph: Graph, name: str) -> Summary:
    values = prediction_program(graph).trace.values
    flops = sum(value.op.flops(value, 1) for value in values if not isinstance(value.op, LEAVES))
    total = graph.count()
    return Summary(
        name,
        tuple(_row(node) for node in graph.nodes if not isinstance(node.layer, _Part)),
        total,
        graph.count(trainable=True),
        4 * total,
        4 * sum(prod(node.shape) for node in graph.nodes),
        flops,
    )


def _row(node: Node) -> Row:
    own = 0 if node.shared else sum(prod(spec.shape) for spec in node.weights)
    return Row(node.name, type(node.layer).__name__, shown(node.shape), node.dtype, own, node.inputs)
