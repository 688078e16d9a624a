"""Products, windows, tables, attention and recurrent nets, written out."""

from __future__ import annotations

import string
from collections.abc import Sequence

from kerascli.exporters.spelling import OPERANDS, number, spells
from kerascli.ops import (
    adaptive,
    attention,
    depthwise,
    digitize,
    einsum,
    gru,
    image_levels,
    index,
    layer_norm,
    linear,
    lstm,
    pooling,
    recurrent,
    row_norm,
    sample_product,
    shape,
    simple_rnn,
    transposed,
    window,
    window3d,
)
from kerascli.ops.ir import Op, Value


# ---------------------------------------------------------------- products
@spells(linear.MatMul)
def _matmul(v: Value, x: str, w: str) -> str:
    windows = v.inputs[0].op
    if isinstance(windows, window3d.GatherWindows3):
        return _convolve(v, x, w)
    return f"np.tensordot({x}, {w}, (0, 0))" if v.op.columns else f"{x} @ {w}"  # type: ignore[attr-defined]


def _matmul_operands(v: Value) -> Sequence[Value]:
    windows, w = v.inputs
    if not isinstance(windows.op, (window.Im2Col, window3d.GatherWindows3)):
        return v.inputs
    return windows.inputs[0], w.inputs[0] if _kernel_as_is(v) else w


def _kernel_as_is(v: Value) -> bool:
    """Whether the matrix is nothing but the layer's kernel seen in another shape."""
    w = v.inputs[1]
    return isinstance(w.op, shape.Reshape) and w.inputs[0].shape == _kernel_shape(v)


def _kernel_shape(v: Value) -> tuple[int, ...]:
    windows, w = v.inputs
    return (*_geometry(windows.op).kernel, windows.inputs[0].shape[-1], w.shape[1])


def _geometry(op: Op) -> window.Windows:
    assert isinstance(op, (window.Im2Col, window3d.GatherWindows3))
    return op.windows


@spells(window.ConvolutionProduct)
def _convolve(v: Value, x: str, w: str) -> str:
    windows = v.inputs[0].op
    if not isinstance(windows, (window.Im2Col, window3d.GatherWindows3)):
        return f"np.tensordot({x}, {w}, (0, 0))" if v.op.columns else f"{x} @ {w}"  # type: ignore[attr-defined]
    geometry = _geometry(windows)
    kernel = w if _kernel_as_is(v) else f"{w}.reshape({', '.join(map(str, _kernel_shape(v)))})"
    return f"convolve({x}, {kernel}, strides={geometry.strides}, dilation={geometry.dilation})"


OPERANDS[linear.MatMul] = OPERANDS[window.ConvolutionProduct] = _matmul_operands


@spells(depthwise.DepthwiseConvolution)
def _depthwise(v: Value, x: str, kernel: str) -> str:
    assert isinstance(v.op, depthwise.DepthwiseConvolution)
    channels, windows = v.inputs[0].shape[-1], v.op.windows
    part = f"{kernel}[..., :{channels}]" if v.op.times > 1 else kernel
    return f"convolve_channels({x}, {part}, strides={windows.strides}, dilation={windows.dilation})"


@spells(transposed.SpreadRows, window3d.SpreadWindows3)
def _spread_rows(v: Value, x: str) -> str:
    assert isinstance(v.op, (transposed.SpreadRows, window3d.SpreadWindows3))
    w = v.op.windows
    return f"spread_windows({x}, {w.kernel}, strides={w.strides}, dilation={w.dilation}, shape={v.shape})"


@spells(linear.BiasAdd)
def _bias_add(v: Value, x: str, b: str) -> str:
    return f"{x} + {b}"


OPERANDS[linear.BiasAdd] = lambda v: (
    v.inputs[0],
    v.inputs[1].inputs[0] if isinstance(v.inputs[1].op, linear.Tile) else v.inputs[1],
)


@spells(einsum.Einsum)
def _einsum(v: Value, x: str, w: str) -> str:
    assert isinstance(v.op, einsum.Einsum)
    batch = next(letter for letter in string.ascii_letters if letter not in v.op.x + v.op.w + v.op.y)
    equation = f"{batch}{v.op.x},{v.op.w}->{batch}{v.op.y}"
    return f"np.einsum({equation!r}, {x}, {w})"


@spells(sample_product.SampleProduct)
def _sample_product(v: Value, a: str, b: str) -> str:
    assert isinstance(v.op, sample_product.SampleProduct)
    left = f"{a}.swapaxes(-1, -2)" if v.op.left else a
    return f"{left} @ {b}.swapaxes(-1, -2)" if v.op.right else f"{left} @ {b}"


# ---------------------------------------------------------------- windows, rows, tables
@spells(pooling.MaxPool)
def _max_pool(v: Value, x: str) -> str:
    pool = v.op.pool  # type: ignore[attr-defined]
    return f"max_pool({x}, {pool}, strides={pool})"


@spells(pooling.MaxWindows, pooling.SumWindows)
def _pool(v: Value, x: str) -> str:
    assert isinstance(v.op, (pooling.MaxWindows, pooling.SumWindows))
    name = "max_pool" if isinstance(v.op, pooling.MaxWindows) else "sum_pool"
    return f"{name}({x}, {v.op.windows.kernel}, strides={v.op.windows.strides})"


@spells(adaptive.AdaptiveMean, adaptive.AdaptiveMax)
def _adaptive(v: Value, x: str) -> str:
    assert isinstance(v.op, (adaptive.AdaptiveMean, adaptive.AdaptiveMax))
    largest = isinstance(v.op, adaptive.AdaptiveMax)
    return f"pool_evenly({x}, axis={v.op.axis}, places={v.op.places}, largest={largest})"


@spells(layer_norm.Standardise)
def _standardise(v: Value, x: str) -> str:
    assert isinstance(v.op, layer_norm.Standardise)
    return f"standardise({x}, axes={v.op.axes}, epsilon={v.op.epsilon})"


@spells(row_norm.ScaleRows)
def _scale_rows(v: Value, x: str) -> str:
    assert isinstance(v.op, row_norm.ScaleRows)
    o = v.op
    return f"scale_rows({x}, axes={o.axes}, share={o.share}, epsilon={o.epsilon}, floor={o.floor})"


@spells(index.Gather)
def _gather(v: Value, table: str, ids: str) -> str:
    return f"take_rows({table}, {ids})"


@spells(index.OneHot)
def _one_hot(v: Value, ids: str) -> str:
    return f"one_hot_of({ids}, depth={v.op.depth})"  # type: ignore[attr-defined]


@spells(digitize.Digitize)
def _digitize(v: Value, x: str) -> str:
    assert isinstance(v.op, digitize.Digitize)
    edges = [number(float(edge)) for edge in v.op.boundaries]
    return f'np.searchsorted(np.array([{", ".join(edges)}], np.float32), {x}, side="right").astype(np.int32)'


@spells(image_levels.EqualiseTiles)
def _equalise_tiles(v: Value, x: str) -> str:
    assert isinstance(v.op, image_levels.EqualiseTiles)
    return f"equalise_tiles({x}, tiles={v.op.tiles}, clip_limit={v.op.clip_limit})"


# ---------------------------------------------------------------- attention
@spells(attention.Attention)
def _attention(v: Value, *inputs: str) -> str:
    assert isinstance(v.op, attention.Attention)
    o = v.op
    a = dict(zip(o.roles, inputs, strict=True))
    if "z" in a:
        packed = f"*unpack_heads({a['z']}, heads={o.heads}, groups={o.groups}, dim={o.dim})"
    else:
        n, keys = "-1", v.inputs[o.roles.index("v")].shape[0]
        values = f"{a['v']}.reshape({n}, {keys}, {o.groups}, {o.value_dim + 1})[..., :-1]"
        packed = f"{a['q']}, {a['k']}, {values}"
    mask = a.get("mask", "None")
    return f'attend({packed}, heads={o.heads}, groups={o.groups}, mask={mask}, dead="{o.dead}")'


# ---------------------------------------------------------------- recurrent nets
PREPARED = ("ws", "us", "zs", "rbh")
"""The same weights as the engine wants them."""


def _roles(v: Value) -> tuple[str, ...]:
    return tuple(r for r in v.op.roles if r not in PREPARED)  # type: ignore[attr-defined]


def _sequence_operands(v: Value) -> Sequence[Value]:
    by_role = dict(zip(v.op.roles, v.inputs, strict=True))  # type: ignore[attr-defined]
    return [by_role[role] for role in _roles(v)]


@spells(simple_rnn.SimpleRnn, lstm.Lstm, gru.Gru)
def _sequence(v: Value, *inputs: str) -> str:
    assert isinstance(v.op, recurrent.SequenceOp)
    a = dict(zip(_roles(v), inputs, strict=True))
    z = a["z"] if "z" in a else f"{a['x']} @ {a['w']}" + (f" + {a['b']}" if "b" in a else "")
    name = {simple_rnn.SimpleRnn: "run_simple_rnn", lstm.Lstm: "run_lstm", gru.Gru: "run_gru"}[type(v.op)]
    given = {"b": a.get("rb")} if isinstance(v.op, gru.Gru) else {}
    given |= {role[0]: a.get(role) for role in v.op.initial} | {"mask": a.get("mask")}
    named = ", ".join(f"{key}={text}" for key, text in given.items())
    return f"{name}({z}, {a['u']}, {named}, backwards={v.op.backwards})"


for kind in (simple_rnn.SimpleRnn, lstm.Lstm, gru.Gru):
    OPERANDS[kind] = _sequence_operands


def picked(v: Value, number: int) -> str:
    """What is read of the result of an op with several outputs, of which number 0 is the first; empty: all of it."""
    if not isinstance(v.op, recurrent.SequenceOp):
        return ""
    if number == 0:
        return "[0]" if v.op.sequences else "[1]"
    last = len(v.further) - number  # the last states come last, the cell's state behind the output's
    return f"[{len(v.op.initial) - last}]"
