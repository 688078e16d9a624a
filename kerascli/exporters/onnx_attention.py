"""Attention as ONNX nodes: products of matrices with a softmax between them.

Legend: n samples, H heads, G groups of R = H / G heads that share keys and values, T queries, S keys, D features of
queries and keys, F features of values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerascli.exporters.onnx_registry import becomes, reads
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import attention, linear, shape
from kerascli.ops.ir import Value

LOWEST = float(np.finfo(np.float32).min)
"""What a score counts that is masked: nothing beside others, and alone as much as all."""


@reads(attention.Attention)
def _reads(v: Value) -> Sequence[Value]:
    """Values without the column of ones that the engine puts beside them."""
    assert isinstance(v.op, attention.Attention)
    return [_alone(x) if role == "v" else x for role, x in zip(v.op.roles, v.inputs, strict=True)]


def _alone(v: Value) -> Value:
    joined = v.inputs[0] if isinstance(v.op, shape.Reshape) else v
    ones = isinstance(joined.op, shape.Concatenate) and isinstance(joined.inputs[-1].op, linear.SpreadOverBatch)
    return joined.inputs[0] if ones else v


@becomes(attention.Attention)
def _attention(g: Sheet, v: Value, *names: str) -> str:
    assert isinstance(v.op, attention.Attention)
    o, given = v.op, dict(zip(v.op.roles, names, strict=True))
    steps, keys = o.extent(v.inputs)
    together = o.heads // o.groups * steps
    if "z" in given:
        q, k, values = _unpacked(g, given["z"], o)
        bare = False
    else:
        q, k, values = given["q"], given["k"], given["v"]
        bare = _alone(v.inputs[o.roles.index("v")]) is not v.inputs[o.roles.index("v")]
    width = o.value_dim if bare else o.value_dim + 1
    q = g.transpose(g.reshape(q, (-1, steps, o.heads, o.dim)), (0, 2, 1, 3))  # (n, H, T, D)
    k = g.transpose(g.reshape(k, (-1, keys, o.groups, o.dim)), (0, 2, 3, 1))  # (n, G, D, S)
    values = g.transpose(g.reshape(values, (-1, keys, o.groups, width)), (0, 2, 1, 3))  # (n, G, S, F)
    if not bare:
        values = g.slice(values, 3, 0, o.value_dim)
    if o.heads > o.groups:
        q = g.reshape(q, (-1, o.groups, together, o.dim))
    scores = g.node("MatMul", q, k)
    if o.heads > o.groups:
        scores = g.reshape(scores, (-1, o.heads, steps, keys))
    if "mask" in given:
        scores = g.node("Where", given["mask"], scores, g.number(LOWEST))
    shares = g.node("Softmax", scores, axis=-1)
    if o.heads > o.groups:
        shares = g.reshape(shares, (-1, o.groups, together, keys))
    y = g.node("MatMul", shares, values)
    if o.heads > o.groups:
        y = g.reshape(y, (-1, o.heads, steps, o.value_dim))
    if o.dead == "zero":
        some = g.node("ReduceMax", g.cast(given["mask"], "float"), g.whole_numbers([-1]), keepdims=1)
        y = g.node("Mul", y, some)
    return g.reshape(g.transpose(y, (0, 2, 1, 3)), (-1, steps, o.heads * o.value_dim))


def _unpacked(g: Sheet, z: str, o: attention.Attention) -> tuple[str, str, str]:
    """Queries, keys and values that lie side by side."""
    a, b = o.heads * o.dim, o.groups * o.dim
    whole = a + b + o.groups * (o.value_dim + 1)
    return g.slice(z, 2, 0, a), g.slice(z, 2, a, a + b), g.slice(z, 2, a + b, whole)
