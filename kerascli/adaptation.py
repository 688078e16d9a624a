"""Layers that learn from the training data before training begins, such as Normalization."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kerascli.graph import Graph, Node
from kerascli.host import evaluate
from kerascli.ops.ir import Array
from kerascli.runner import Prediction, Runner
from kerascli.sources.base import Split

ROWS = 1024
"""Samples that are looked at at a time, at most."""
BYTES = 1 << 26
"""Their size, at most."""


def adapt(runner: Runner, train: Split) -> None:
    """Set the weights of every layer that adapts from what it would read on the training samples, in order."""
    graph = runner.model.graph
    for node in graph.nodes:
        if node.shared is None and hasattr(node.layer, "adapt") and node.weights:
            found = node.layer.adapt(_seen_by(node, graph, train, runner))
            runner.parameters.load({f"{node.name}/{name}": array for name, array in found.items()})


def _seen_by(node: Node, graph: Graph, train: Split, runner: Runner) -> Iterator[Array]:
    """The layer's input, in blocks: an input of the model, what NumPy made of one, or what the layers before make."""
    source = node.inputs[0]
    part = Graph(graph.nodes[: graph.nodes.index(graph.node(source)) + 1], graph.inputs, (source,), graph.batch)
    prediction: Prediction | None = None
    for inputs in _blocks(train, graph.batch):
        known = evaluate(graph.nodes, inputs)
        if source not in known:
            prediction = prediction or Prediction(runner, part)
            known = prediction.run(inputs)
        yield known[source]


def _blocks(train: Split, batch: int | None) -> Iterator[dict[str, Array]]:
    """The samples in order, whole batches where a stateful layer needs them; a block is small, however large one is."""
    sample = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in train.inputs.values())
    rows = max(1, min(ROWS, BYTES // max(sample, 1)))
    rows = -(-rows // batch) * batch if batch else rows
    for start in range(0, len(train), rows):
        yield {name: x[start : start + rows] for name, x in train.inputs.items()}
