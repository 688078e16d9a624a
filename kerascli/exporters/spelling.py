"""Each op as a line of plain NumPy: how the program of a prediction is written out.

A spelling gets the value and its operands' texts, which can stand anywhere in an expression, and gives an expression.
It may call functions of `plain`. `OPERANDS` names the ops that read something else than their inputs when they are
written out: what the engine does for speed alone (repeated biases, windows as rows) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kerascli.ops import (
    activation,
    broadcast,
    elementwise,
    fold,
    image_move,
    linear,
    recurrent,
    reduction,
    shape,
    softmax,
    window,
)
from kerascli.ops.ir import Constant, Op, Scope, Value

Spelling = Callable[..., str]
SPELLINGS: dict[type[Op], Spelling] = {}
OPERANDS: dict[type[Op], Callable[[Value], Sequence[Value]]] = {}


def spells(*kinds: type[Op]) -> Callable[[Spelling], Spelling]:
    """Registers how these ops are written."""

    def register(spelling: Spelling) -> Spelling:
        SPELLINGS.update(dict.fromkeys(kinds, spelling))
        return spelling

    return register


def operands(value: Value) -> Sequence[Value]:
    """What the value's text reads."""
    found = OPERANDS.get(type(value.op))
    return value.inputs if found is None else found(value)


def scalar(value: Value) -> bool:
    """Whether the value is written as a number."""
    return isinstance(value.op, Constant) and value.shape == ()


def number(value: float | int | bool) -> str:
    """A number as Python writes it."""
    if isinstance(value, float) and not np.isfinite(value):
        return "np.nan" if np.isnan(value) else "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def dtype(name: str) -> str:
    return "np.float32" if name == "float" else "bool" if name == "bool" else f"np.{name}"


def whole(v: Value) -> str:
    """The shape to give to `reshape`."""
    return ", ".join(map(str, v.whole(-1))) or "()"


def _slices(rank: int, cuts: dict[int, tuple[int, int, int]], sizes: Sequence[int]) -> str:
    """The text between the brackets: `:, 2:5`."""
    parts = []
    for axis in range(max(cuts, default=-1) + 1):
        start, stop, step = cuts.get(axis, (0, sizes[axis], 1))
        end = "" if stop >= sizes[axis] > -1 or axis not in cuts else str(stop)
        parts.append(f"{start or ''}:{end}" + (f":{step}" if step != 1 else ""))
    return ", ".join(parts) or "..."


# ---------------------------------------------------------------- elementwise
OPERATORS: dict[type[Op], str] = {
    elementwise.Add: "+",
    elementwise.Subtract: "-",
    elementwise.Multiply: "*",
    elementwise.Divide: "/",
    elementwise.Equal: "==",
    elementwise.NotEqual: "!=",
    elementwise.Greater: ">",
    elementwise.LogicalAnd: "&",
    elementwise.LogicalOr: "|",
}
FUNCTIONS: dict[type[Op], str] = {
    elementwise.Arctan2: "np.arctan2",
    elementwise.Maximum: "np.maximum",
    elementwise.Minimum: "np.minimum",
    elementwise.Square: "np.square",
    elementwise.Sqrt: "np.sqrt",
    elementwise.Exp: "np.exp",
    elementwise.Log: "np.log",
    elementwise.Abs: "np.abs",
    elementwise.Sign: "np.sign",
    elementwise.LogicalNot: "np.logical_not",
    activation.Tanh: "np.tanh",
    activation.Sigmoid: "sigmoid_of",
    activation.Silu: "silu_of",
    activation.Gelu: "gelu_of",
}


@spells(*OPERATORS)
def _operator(v: Value, a: str, b: str) -> str:
    return f"{a} {OPERATORS[type(v.op)]} {b}"


@spells(*FUNCTIONS)
def _function(v: Value, *inputs: str) -> str:
    return f"{FUNCTIONS[type(v.op)]}({', '.join(inputs)})"


@spells(elementwise.Negative)
def _negative(v: Value, x: str) -> str:
    return f"-{x}"


@spells(elementwise.Where)
def _where(v: Value, condition: str, a: str, b: str) -> str:
    if scalar(v.inputs[1]) and scalar(v.inputs[2]):
        a = f"{dtype(v.dtype)}({a})"
    return f"np.where({condition}, {a}, {b})"


@spells(elementwise.Power)
def _power(v: Value, x: str) -> str:
    return f"{x} ** {number(v.op.exponent)}"  # type: ignore[attr-defined]


@spells(elementwise.Clip)
def _clip(v: Value, x: str) -> str:
    return f"np.clip({x}, {number(v.op.low)}, {number(v.op.high)})"  # type: ignore[attr-defined]


@spells(elementwise.Cast)
def _cast(v: Value, x: str) -> str:
    return f"{x}.astype({dtype(v.dtype)})"


@spells(activation.Relu)
def _relu(v: Value, x: str) -> str:
    return f"np.maximum({x}, 0)"


@spells(activation.LeakyRelu)
def _leaky_relu(v: Value, x: str) -> str:
    return f"leaky_relu_of({x}, slope={v.op.slope})"  # type: ignore[attr-defined]


@spells(activation.Elu)
def _elu(v: Value, x: str) -> str:
    assert isinstance(v.op, activation.Elu)
    return f"elu_of({x}, alpha={v.op.alpha}, scale={v.op.scale}, width={v.op.width})"


@spells(activation.Softplus)
def _softplus(v: Value, x: str) -> str:
    return f"np.logaddexp({x}, 0)"


@spells(softmax.Softmax)
def _softmax(v: Value, x: str) -> str:
    return f"softmax_of({x}, axis={v.op.axis})"  # type: ignore[attr-defined]


@spells(softmax.LogSoftmax)
def _log_softmax(v: Value, x: str) -> str:
    return f"log_softmax_of({x}, axis={v.op.axis})"  # type: ignore[attr-defined]


@spells(softmax.Sparsemax)
def _sparsemax(v: Value, x: str) -> str:
    return f"sparsemax_of({x}, axis={v.op.axis})"  # type: ignore[attr-defined]


# ---------------------------------------------------------------- shapes
@spells(shape.Reshape, broadcast.BesideBatch, fold.Fold, fold.Unfold)
def _reshape(v: Value, x: str) -> str:
    return f"np.full({v.shape}, {x}, {dtype(v.dtype)})" if scalar(v.inputs[0]) else f"{x}.reshape({whole(v)})"


@spells(shape.Transpose)
def _transpose(v: Value, x: str) -> str:
    return f"{x}.transpose({', '.join(map(str, v.op.perm))})"  # type: ignore[attr-defined]


@spells(linear.TransposeMatrix)
def _transpose_matrix(v: Value, x: str) -> str:
    return f"{x}.T"


@spells(shape.Concatenate)
def _concatenate(v: Value, *parts: str) -> str:
    return f"np.concatenate([{', '.join(parts)}], axis={v.op.axis})"  # type: ignore[attr-defined]


@spells(shape.Slice)
def _slice(v: Value, x: str) -> str:
    assert isinstance(v.op, shape.Slice)
    source = v.inputs[0].whole(-1)
    return f"{x}[{_slices(v.rank, {v.op.axis: (v.op.start, v.op.stop, v.op.step)}, source)}]"


@spells(recurrent.Reverse)
def _reverse(v: Value, x: str) -> str:
    return f"np.flip({x}, axis={v.op.axis})"  # type: ignore[attr-defined]


@spells(image_move.Pick)
def _pick(v: Value, x: str) -> str:
    assert isinstance(v.op, image_move.Pick)
    return f"{x}.take({list(v.op.places)}, axis={v.op.axis + 1})"


@spells(window.Pad)
def _pad(v: Value, x: str) -> str:
    assert isinstance(v.op, window.Pad)
    widths = ((0, 0),) * (v.rank - len(v.op.widths)) + tuple(v.op.widths)
    value = f", constant_values={number(v.op.value)}" if v.op.value else ""
    return f"np.pad({x}, {widths}{value})"


@spells(window.Crop)
def _crop(v: Value, x: str) -> str:
    assert isinstance(v.op, window.Crop)
    sizes, lead = v.inputs[0].whole(-1), v.rank - len(v.op.widths)
    cuts = {lead + k: (a, sizes[lead + k] - b, 1) for k, (a, b) in enumerate(v.op.widths) if a or b}
    return f"{x}[{_slices(v.rank, cuts, sizes)}]"


@spells(broadcast.BroadcastTo)
def _broadcast_to(v: Value, x: str) -> str:
    return f"repeat_to({x}, {v.shape})" if v.scope == Scope.BLOCK else f"np.broadcast_to({x}, {v.shape})"


@spells(linear.SpreadOverBatch)
def _spread_over_batch(v: Value, x: str, like: str) -> str:
    rows = f"{like}.shape[{v.inputs[1].batch_axis}]"
    sizes = [rows if k == v.batch_axis else str(size) for k, size in enumerate(v.whole(-1))]
    inner = x if scalar(v.inputs[0]) else f"np.expand_dims({x}, {v.batch_axis})" if v.batch_axis else x
    if scalar(v.inputs[0]):
        return f"np.full(({', '.join(sizes)},), {x}, {dtype(v.dtype)})"
    return f"np.broadcast_to({inner}, ({', '.join(sizes)},))"


# ---------------------------------------------------------------- reductions
@spells(broadcast.SumTo)
def _sum_to(v: Value, x: str) -> str:
    source, target = v.inputs[0].whole(-1), v.whole(-1)
    wide = (1,) * (len(source) - len(target)) + target
    axes = tuple(k for k, (a, b) in enumerate(zip(source, wide, strict=True)) if a != b)
    text = f"{x}.sum(axis={axes}, keepdims=True)"
    return text if wide == target else f"{text}.reshape({whole(v)})"


@spells(reduction.Max, reduction.Min)
def _extreme(v: Value, x: str) -> str:
    assert isinstance(v.op, (reduction.Max, reduction.Min))
    return f"{x}.{type(v.op).__name__.lower()}(axis={v.op.axes}, keepdims=True)"
