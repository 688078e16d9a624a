"""Which layers of the network an input's values meet first."""

from __future__ import annotations

from collections.abc import Iterator

from kerascli.bounds import PASSING
from kerascli.graph import Graph, Node
from kerascli.layers.embedding import Embedding
from kerascli.layers.structure import _Entry, _Exit, _Part

_KEEPING = ("ZeroPadding", "Cropping", "MaxPooling", "AveragePooling", "UpSampling", "Random", "Center", "Resizing")
"""Beginnings of the names of layers that leave values in their range, as those of `PASSING` do."""
_JOINING = {"Concatenate", "Maximum", "Minimum", "Average", "SpatialDropout1D", "SpatialDropout2D", "Masking"}
_NORMALIZING = ("Normalization", "Discretization", "CategoryEncoding", "Hashing", "Embedding")
"""Ends of the names of layers that make no matter of how large the values are."""


def first_readers(graph: Graph, name: str) -> Iterator[Node]:
    """The layers that an input's values meet first, behind those that leave them in their range."""
    waiting, seen = [name], {name}
    while waiting:
        source = waiting.pop(0)
        for node in graph.nodes:
            if source not in node.inputs or node.name in seen:
                continue
            seen.add(node.name)
            kind = type(node.layer).__name__
            passes = kind in PASSING | _JOINING or kind.startswith(_KEEPING)
            if passes or isinstance(node.layer, (_Entry, _Exit, _Part)):
                waiting.append(node.name)
            else:
                yield node


def embeddings(graph: Graph, name: str) -> list[tuple[Node, Embedding]]:
    """The tables whose rows an input's numbers are."""
    return [(n, n.layer) for n in first_readers(graph, name) if isinstance(n.layer, Embedding)]


def learns_unscaled(graph: Graph, name: str) -> Node | None:
    """The first layer with weights that takes the values as they are."""
    for node in first_readers(graph, name):
        inner = getattr(node.layer, "layer", node.layer)  # of TimeDistributed, Bidirectional
        if node.weights and not type(inner).__name__.endswith(_NORMALIZING):
            return node
    return None
