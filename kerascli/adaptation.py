"""Layers that learn from the training data before training begins, such as Normalization."""

from __future__ import annotations

from collections.abc import Iterator

from kerascli.graph import Graph, Node
from kerascli.host import evaluate
from kerascli.ops.ir import Array
from kerascli.runner import Prediction, Runner
from kerascli.sources.base import Split

ROWS = 1024


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
    known = evaluate(graph.nodes, train.inputs)
    if source in known:
        array = known[source]
        yield from (array[start : start + ROWS] for start in range(0, len(array), ROWS))
        return
    part = Graph(graph.nodes[: graph.nodes.index(graph.node(source)) + 1], graph.inputs, (source,))
    yield Prediction(runner, part).run(train.inputs)[source]
