"""Arithmetic and activations as ONNX nodes."""

from __future__ import annotations

from math import sqrt

import numpy as np

from kerascli.exporters.onnx_registry import becomes
from kerascli.exporters.onnx_sheet import Sheet
from kerascli.ops import activation, elementwise
from kerascli.ops.ir import Op, Value

BINARY: dict[type[Op], str] = {
    elementwise.Add: "Add",
    elementwise.Subtract: "Sub",
    elementwise.Multiply: "Mul",
    elementwise.Divide: "Div",
    elementwise.Maximum: "Max",
    elementwise.Minimum: "Min",
    elementwise.Equal: "Equal",
    elementwise.NotEqual: "Equal",
    elementwise.Greater: "Greater",
}
LOGIC: dict[type[Op], str] = {elementwise.LogicalAnd: "And", elementwise.LogicalOr: "Or"}
UNARY: dict[type[Op], str] = {
    elementwise.Negative: "Neg",
    elementwise.Sqrt: "Sqrt",
    elementwise.Exp: "Exp",
    elementwise.Log: "Log",
    elementwise.Abs: "Abs",
    elementwise.Sign: "Sign",
    activation.Relu: "Relu",
    activation.Tanh: "Tanh",
    activation.Sigmoid: "Sigmoid",
    activation.Softplus: "Softplus",
}
WIDE = ("float", "float32", "float64", "int32", "int64")
"""Types that every runtime computes with; others are computed as int32."""


def widened(g: Sheet, x: str, v: Value) -> str:
    return x if v.dtype in WIDE else g.cast(x, "int64" if v.dtype in ("uint32", "uint64") else "int32")


@becomes(*(kind for kind in BINARY if kind not in (elementwise.Add, elementwise.Multiply)))
def combined(g: Sheet, v: Value, *names: str) -> str:
    y = g.elementwise(BINARY[type(v.op)], *(widened(g, x, i) for x, i in zip(names, v.inputs, strict=True)))
    if isinstance(v.op, elementwise.NotEqual):
        return g.elementwise("Not", y)
    return y if v.dtype in (*WIDE, "bool") else g.cast(y, v.dtype)


@becomes(*LOGIC)
def _logic(g: Sheet, v: Value, *names: str) -> str:
    return g.elementwise(LOGIC[type(v.op)], *(_truth(g, x, i) for x, i in zip(names, v.inputs, strict=True)))


@becomes(elementwise.LogicalNot)
def _not(g: Sheet, v: Value, x: str) -> str:
    return g.elementwise("Not", _truth(g, x, v.inputs[0]))


def _truth(g: Sheet, x: str, v: Value) -> str:
    return x if v.dtype == "bool" else g.cast(x, "bool")


@becomes(*UNARY)
def _unary(g: Sheet, v: Value, x: str) -> str:
    y = g.elementwise(UNARY[type(v.op)], widened(g, x, v))
    return y if v.dtype in WIDE else g.cast(y, v.dtype)


@becomes(elementwise.Square)
def _square(g: Sheet, v: Value, x: str) -> str:
    return g.elementwise("Mul", x, x)


@becomes(elementwise.Power)
def _power(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, elementwise.Power)
    return g.elementwise("Pow", x, g.number(v.op.exponent, v.dtype))


@becomes(elementwise.Arctan2)
def _arctan2(g: Sheet, v: Value, y: str, x: str) -> str:
    zero, half = g.number(0.0), g.number(np.pi)
    slope = g.elementwise("Atan", g.elementwise("Div", y, x))
    slope = g.elementwise("Where", g.elementwise("Equal", y, zero), y, slope)
    turn = g.elementwise("Where", g.elementwise("Less", y, zero), g.number(-np.pi), half)
    turn = g.elementwise("Where", g.elementwise("Less", x, zero), turn, zero)
    return g.elementwise("Add", slope, turn)


@becomes(elementwise.Clip)
def _clip(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, elementwise.Clip)
    return g.elementwise("Clip", x, g.number(v.op.low, v.dtype), g.number(v.op.high, v.dtype))


@becomes(elementwise.Where)
def _where(g: Sheet, v: Value, condition: str, a: str, b: str) -> str:
    _, one, two = v.inputs
    y = g.elementwise("Where", condition, widened(g, a, one), widened(g, b, two))
    return y if v.dtype in WIDE else g.cast(y, v.dtype)


@becomes(elementwise.Cast)
def _cast(g: Sheet, v: Value, x: str) -> str:
    return g.cast(x, v.dtype)


# ---------------------------------------------------------------- activations
@becomes(activation.LeakyRelu)
def _leaky_relu(g: Sheet, v: Value, x: str) -> str:
    assert isinstance(v.op, activation.LeakyRelu)
    return g.elementwise("LeakyRelu", x, alpha=v.op.slope)


@becomes(activation.Elu)
def _elu(g: Sheet, v: Value, x: str) -> str:
    """Elu, Selu and Celu are three cases of scale · (x, or alpha · (exp(x / width) - 1) where x < 0)."""
    assert isinstance(v.op, activation.Elu)
    alpha, scale, width = v.op.alpha, v.op.scale, v.op.width
    if width == 1:
        return (
            g.elementwise("Selu", x, alpha=alpha, gamma=scale) if scale != 1 else g.elementwise("Elu", x, alpha=alpha)
        )
    if scale == 1 and alpha == width:
        return g.elementwise("Celu", x, alpha=alpha)
    narrow = g.elementwise("Div", x, g.number(width))
    low = g.elementwise("Min", g.elementwise("Elu", narrow, alpha=alpha), g.number(0))
    y = g.elementwise("Add", g.elementwise("Relu", x), low)
    return g.elementwise("Mul", y, g.number(scale))


@becomes(activation.Silu)
def _silu(g: Sheet, v: Value, x: str) -> tuple[str, str]:
    gate = g.elementwise("Sigmoid", x)
    return g.elementwise("Mul", x, gate), gate


@becomes(activation.Gelu)
def _gelu(g: Sheet, v: Value, x: str) -> tuple[str, str]:
    """x · Φ(x) with Φ(x) = (1 + erf(x / √2)) / 2; the operator Gelu came later than the opset."""
    bell = g.elementwise("Erf", g.elementwise("Mul", x, g.number(np.float32(sqrt(0.5)).item())))
    gate = g.elementwise("Mul", g.elementwise("Add", bell, g.number(1)), g.number(0.5))
    return g.elementwise("Mul", x, gate), gate
