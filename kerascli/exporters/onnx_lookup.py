"""Layers that work on whole numbers before they enter the net, as the first nodes of an ONNX graph.

Of the layers that NumPy computes where samples are fed, these alone have a form: texts would need operators that not
every runtime has, and FarmHash has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kerascli.exporters.onnx_images import bins
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.graph import Graph
from kerascli.host import ENDS, hosted
from kerascli.layer import Layer
from kerascli.layers.discretization import Discretization
from kerascli.layers.lookup import IntegerLookup
from kerascli.ops.ir import Shape

NEVER = -1
"""The place of what leaves no trace in vectors."""


def refusal(layer: Layer) -> str:
    """Why a layer that works on the data has no form; empty where it has one."""
    if isinstance(layer, (Discretization, *ENDS)):
        return ""
    if not isinstance(layer, IntegerLookup):
        return "it works on the data before they enter the net"
    if not layer.invert and not layer.num_oov_indices:
        return "ONNX cannot stop at a number that its vocabulary lacks; let `num_oov_indices` be 1"
    if not layer.invert and layer.num_oov_indices > 1 and layer.oov_method == "farmhash":
        return "ONNX has no FarmHash; let `oov_method` be `floormod`"
    return ""


def served(g: Sheet, graph: Graph) -> Mapping[str, str]:
    """The tensors of what is made of the data, by layer."""
    names = {name: name for name in graph.inputs}
    for node in hosted(graph.nodes):
        (source,) = node.inputs
        g.prefix, x, shape, layer = node.name, names[source], graph.node(source).shape, node.layer
        if isinstance(layer, Discretization):
            numbers = bins(g, g.cast(x, "float"), layer.bin_boundaries or ())
            names[node.name] = _encoded(g, numbers, shape, layer.output_mode, layer.depth)
        elif isinstance(layer, IntegerLookup):
            names[node.name] = _looked_up(g, g.cast(x, "int64"), shape, layer)
        else:
            names[node.name] = x
    return names


def _looked_up(g: Sheet, x: str, shape: Shape, layer: IntegerLookup) -> str:
    if layer.invert:
        return _inverted(g, x, layer)
    words = g.constant(np.array(layer.words, np.int64))
    same = g.node("Equal", g.node("Unsqueeze", x, g.whole_numbers([-1])), words)
    numbers = g.constant(np.arange(layer.first, layer.first + len(layer.words), dtype=np.int32))
    place = g.node("Where", same, numbers, g.number(NEVER, "int32"))
    place = g.node("ReduceMax", place, g.whole_numbers([-1]), keepdims=0)
    count, start = layer.num_oov_indices, layer.first - layer.num_oov_indices
    other = g.cast(g.node("Mod", x, g.number(count, "int64")), "int32")
    other = g.node("Add", other, g.number(start, "int32"))
    place = g.node("Where", g.node("Less", place, g.number(0, "int32")), other, place)
    if layer.mask_token is not None:
        masked = g.number(0 if layer.output_mode == "int" else NEVER, "int32")
        place = g.node("Where", g.node("Equal", x, g.number(layer.mask_token, "int64")), masked, place)
    y = _encoded(g, place, shape, layer.output_mode, layer.depth)
    rarity = layer.weighted(np.ones(layer.depth, np.float32))
    return g.node("Mul", y, g.constant(rarity)) if layer.output_mode == "tf_idf" else y


def _inverted(g: Sheet, x: str, layer: IntegerLookup) -> str:
    """The word at each place; places that have none give the token that stands for others."""
    table = np.full(layer.first + len(layer.words) + 1, layer.oov_token, np.int64)
    table[layer.first : -1] = layer.words
    if layer.mask_token is not None:
        table[0] = layer.mask_token
    last = g.number(len(table) - 1, "int64")
    outside = g.node("Less", x, g.number(0, "int64"))
    place = g.node("Where", outside, last, g.node("Min", x, last))
    return g.cast(g.node("Gather", g.constant(table), place), "int32")


def _encoded(g: Sheet, ids: str, shape: Shape, mode: str, depth: int) -> str:
    """Numbers as they are, or as vectors: see layers/host.py."""
    if mode == "int":
        return ids
    if mode == "one_hot" and shape[-1:] == (1,):
        ids = g.node("Squeeze", ids, g.whole_numbers([-1]))
    same = g.node(
        "Equal", g.node("Unsqueeze", ids, g.whole_numbers([-1])), g.constant(np.arange(depth, dtype=np.int32))
    )
    ones = g.cast(same, "float")
    if mode == "one_hot":
        return ones
    return g.node("ReduceMax" if mode == "multi_hot" else "ReduceSum", ones, g.whole_numbers([1]), keepdims=0)
