"""Attention as ONNX nodes: products of matrices with a softmax between them.

Legend: n samples, H heads, G groups of R = H / G heads that share keys and values, T queries, S keys, D features of
queries and keys, F features of values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import attention, linear
from kerascli.ops.ir import Array, Value

LOWEST = float(np.finfo(np.float32).min)
"""What a score counts that is masked: nothing beside others, and alone as much as all."""


@reads(attention.Attention)
def _reads(v: Value) -> Sequence[Value]:
    """Without the columns of ones that the engine puts beside values, and the products that make them."""
    assert isinstance(v.op, attention.Attention)
    pairs = zip(v.op.roles, v.inputs, strict=True)
    return [x.inputs[0].inputs[0] if role in ("z", "v") else x for role, x in pairs]


@becomes(attention.Attention)
def _attention(g: Sheet, v: Value, *names: str) -> str:
    assert isinstance(v.op, attention.Attention)
    o, given = v.op, dict(zip(v.op.roles, names, strict=True))
    steps, keys = o.extent(v.inputs)
    if "z" in given:
        q, k, values = _projected(g, o, v.inputs[0], given["z"])
    else:
        q, k, values = given["q"], given["k"], given["v"]
    q = g.transpose(g.reshape(q, (-1, steps, o.heads, o.dim)), (0, 2, 1, 3))  # (n, H, T, D)
    k = g.transpose(g.reshape(k, (-1, keys, o.groups, o.dim)), (0, 2, 3, 1))  # (n, G, D, S)
    values = g.transpose(g.reshape(values, (-1, keys, o.groups, o.value_dim)), (0, 2, 1, 3))  # (n, G, S, F)
    shared, together = o.heads > o.groups, o.heads // o.groups * steps
    scores = g.node("MatMul", g.reshape(q, (-1, o.groups, together, o.dim)) if shared else q, k)
    if "mask" in given:
        scores = g.reshape(scores, (-1, o.heads, steps, keys)) if shared else scores
        scores = g.node("Where", given["mask"], scores, g.number(LOWEST))
        scores = g.reshape(scores, (-1, o.groups, together, keys)) if shared else scores
    y = g.node("MatMul", g.node("Softmax", scores, axis=-1), values)
    y = g.reshape(y, (-1, o.heads, steps, o.value_dim)) if shared else y
    if o.dead == "zero":
        some = g.node("ReduceMax", g.cast(given["mask"], "float"), g.whole_numbers([-1]), keepdims=1)
        y = g.node("Mul", y, some)
    return g.reshape(g.transpose(y, (0, 2, 1, 3)), (-1, steps, o.heads * o.value_dim))


def _projected(g: Sheet, o: attention.Attention, z: Value, x: str) -> tuple[str, str, str]:
    """Queries, keys and values in one product of x, whose weights the engine scales and widens."""
    product, tiled = z.inputs
    bias = tiled.inputs[0] if isinstance(tiled.op, linear.Tile) else tiled
    sizes = [o.heads * o.dim, o.groups * o.dim, o.groups * o.value_dim]
    matrix, vector = g.array(product.inputs[1]), g.array(bias)[None]
    scaled = product.inputs[1].inputs[0]  # of the queries
    scale = g.array(scaled.inputs[1])
    matrix, vector = (_narrow(each, o) for each in (matrix, vector))
    matrix[:, : sizes[0]] = g.array(scaled.inputs[0])
    y = g.node("MatMul", x, g.constant(matrix, f"{g.prefix}/kernel"))
    if vector.any():
        vector[:, : sizes[0]] = g.array(bias.inputs[0].inputs[0])
        y = g.node("Add", y, g.constant(vector[0], f"{g.prefix}/bias"))
    q, k, values = g.several("Split", 3, y, g.whole_numbers(sizes), axis=-1)
    return g.node("Mul", q, g.constant(scale)), k, values


def _narrow(columns: Array, o: attention.Attention) -> Array:
    """Columns of queries, keys and values, without the one beside those of every head."""
    before = (o.heads + o.groups) * o.dim
    values = columns[:, before:].reshape(len(columns), o.groups, -1)[..., :-1]
    return np.concatenate([columns[:, :before], values.reshape(len(columns), -1)], axis=1)
