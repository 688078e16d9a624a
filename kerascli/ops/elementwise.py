"""Arithmetic on every element, with NumPy's broadcasting. A number may stand for a value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.broadcast import BesideBatch, Operand, align, broadcast_type, ends_in, reduce_to
from kerascli.ops.ir import Array, Call, Constant, Op, Scope, ShapeError, Site, Type, Value
from kerascli.ops.shape import reshape


class ColumnDots(Op):
    """Σ a·b over rows of `width` numbers and all samples: the gradient of a vector that scales columns."""

    width: int
    contracts = True

    def infer(self, a: Value, b: Value) -> Type:
        return Type((self.width,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a, b = (x.reshape(-1, self.width) for x in inputs)
        return [partial(np.einsum, "ij,ij->j", a, b, out=out)]

    def flops(self, y: Value, rows: int) -> int:
        return 2 * rows * y.inputs[0].size


def reduce_product_to(a: Value, b: Value, like: Value) -> Value:
    """Σ a·b to the shape of `like`; in one go where `like` is a vector of columns."""
    if a.scope == b.scope == Scope.BLOCK != like.scope and a.type == b.type and ends_in(a, like):
        return reshape(a.trace.add(ColumnDots(like.size), a, b), like.shape)
    return reduce_to(multiply(a, b), like)


# ---------------------------------------------------------------- two operands
class _Binary(Op):
    ufunc: ClassVar[np.ufunc]
    in_place: ClassVar[tuple[int, ...]] = (0, 1)

    def infer(self, a: Value, b: Value) -> Type:
        return broadcast_type(a, b)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self.ufunc, *inputs, out)]


class Add(_Binary):
    ufunc = np.add

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return tuple(reduce_to(dy, x) for x in y.inputs)


class Subtract(_Binary):
    ufunc = np.subtract

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b = y.inputs
        return reduce_to(dy, a), None if isinstance(b.op, Constant) else negative(reduce_to(dy, b))


class Multiply(_Binary):
    ufunc = np.multiply

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return tuple(
            None if isinstance(x.op, Constant) else reduce_product_to(dy, other, x)
            for x, other in zip(y.inputs, reversed(y.inputs), strict=True)
        )


class Divide(_Binary):
    ufunc = np.divide

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b = y.inputs
        share = divide(dy, b)
        return reduce_to(share, a), None if isinstance(b.op, Constant) else negative(reduce_product_to(share, y, b))


class Arctan2(_Binary):
    """The angle of the point (b, a), from -π to π."""

    ufunc = np.arctan2

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b = (v.inputs[0] if isinstance(v.op, BesideBatch) else v for v in y.inputs)
        share = divide(dy, add(square(a), square(b)))
        return reduce_to(multiply(share, b), y.inputs[0]), negative(reduce_to(multiply(share, a), y.inputs[1]))


class _Choice(_Binary):
    """The larger or smaller of two; equal operands share the gradient evenly."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self.ufunc, *inputs, out=out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        a, b = y.inputs
        ahead = greater(a, b) if isinstance(self, Maximum) else greater(b, a)
        share = where(equal(a, b), 0.5, cast(ahead, "float"))
        return reduce_product_to(dy, share, a), reduce_product_to(dy, subtract(1.0, share), b)


class Maximum(_Choice):
    ufunc = np.maximum


class Minimum(_Choice):
    ufunc = np.minimum


class _Test(_Binary):
    """A comparison, or logic: the result is boolean."""

    in_place: ClassVar[tuple[int, ...]] = ()

    def infer(self, a: Value, b: Value) -> Type:
        return broadcast_type(a, b)._replace(dtype="bool")

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return None, None


class Equal(_Test):
    ufunc = np.equal


class NotEqual(_Test):
    ufunc = np.not_equal


class Greater(_Test):
    ufunc = np.greater


class LogicalAnd(_Test):
    ufunc = np.logical_and


class LogicalOr(_Test):
    ufunc = np.logical_or


def _binary(op: Op, a: Operand, b: Operand) -> Value:
    left, right = align(a, b)
    if not isinstance(op, (LogicalAnd, LogicalOr)) and left.dtype != right.dtype:
        kind = broadcast_type(left, right).dtype
        left, right = cast(left, kind), cast(right, kind)
    return left.trace.add(op, left, right)


def add(a: Operand, b: Operand) -> Value:
    return _binary(Add(), a, b)


def subtract(a: Operand, b: Operand) -> Value:
    return _binary(Subtract(), a, b)


def multiply(a: Operand, b: Operand) -> Value:
    return _binary(Multiply(), a, b)


def divide(a: Operand, b: Operand) -> Value:
    return _binary(Divide(), a, b)


def arctan2(a: Operand, b: Operand) -> Value:
    return _binary(Arctan2(), a, b)


def maximum(a: Operand, b: Operand) -> Value:
    return _binary(Maximum(), a, b)


def minimum(a: Operand, b: Operand) -> Value:
    return _binary(Minimum(), a, b)


def equal(a: Operand, b: Operand) -> Value:
    return _binary(Equal(), a, b)


def not_equal(a: Operand, b: Operand) -> Value:
    return _binary(NotEqual(), a, b)


def greater(a: Operand, b: Operand) -> Value:
    return _binary(Greater(), a, b)


def logical_and(a: Value, b: Value) -> Value:
    return _binary(LogicalAnd(), a, b)


def logical_or(a: Value, b: Value) -> Value:
    return _binary(LogicalOr(), a, b)


class Where(Op):
    """a where the condition holds, else b."""

    in_place = (2,)

    def infer(self, condition: Value, a: Value, b: Value) -> Type:
        if condition.dtype != "bool":
            raise ShapeError(f"a condition must be boolean, not {condition.dtype}")
        return broadcast_type(condition, a, b)._replace(dtype=broadcast_type(a, b).dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        condition, a, b = inputs
        return [partial(np.copyto, out, b), partial(np.copyto, out, a, where=condition)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        condition, a, b = y.inputs
        return None, reduce_to(where(condition, dy, 0.0), a), reduce_to(where(condition, 0.0, dy), b)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """a where the condition holds, else b, element by element."""
    values = align(condition, a, b)
    return condition.trace.add(Where(), *values)


# ---------------------------------------------------------------- one operand
class _Unary(Op):
    ufunc: ClassVar[np.ufunc]
    in_place = (0,)

    def infer(self, x: Value) -> Type:
        return x.type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(self.ufunc, inputs[0], out)]


class Negative(_Unary):
    ufunc = np.negative

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (negative(dy),)


class Square(_Unary):
    ufunc = np.square

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (multiply(multiply(dy, y.inputs[0]), 2.0),)


class Sqrt(_Unary):
    ufunc = np.sqrt

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (divide(multiply(dy, 0.5), y),)


class Exp(_Unary):
    ufunc = np.exp

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (multiply(dy, y),)


class Log(_Unary):
    ufunc = np.log

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (divide(dy, y.inputs[0]),)


class Abs(_Unary):
    ufunc = np.abs

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (multiply(dy, sign(y.inputs[0])),)


class Sign(_Unary):
    ufunc = np.sign

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)


class LogicalNot(Op):
    def infer(self, x: Value) -> Type:
        return x.type._replace(dtype="bool")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.logical_not, inputs[0], out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)


class Power(Op):
    """x to a constant power."""

    exponent: float
    in_place = (0,)

    def infer(self, x: Value) -> Type:
        return x.type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.power, inputs[0], np.asarray(self.exponent, out.dtype), out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (multiply(multiply(dy, self.exponent), power(y.inputs[0], self.exponent - 1)),)


class Clip(Op):
    """x held between two bounds; outside and on them the gradient is zero."""

    low: float
    high: float
    in_place = (0,)

    def infer(self, x: Value) -> Type:
        return x.type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        low, high = (site.constant(bound, out.shape, out.dtype) for bound in (self.low, self.high))
        return [partial(np.maximum, inputs[0], low, out=out), partial(np.minimum, out, high, out=out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        inside = logical_and(greater(y, self.low), greater(self.high, y))
        return (multiply(dy, cast(inside, "float")),)


class Cast(Op):
    dtype: str

    def infer(self, x: Value) -> Type:
        return x.type._replace(dtype=self.dtype)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, inputs[0], casting="unsafe")]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (dy if y.inputs[0].dtype == self.dtype == "float" else None,)


def negative(x: Value) -> Value:
    return x.inputs[0] if isinstance(x.op, Negative) else x.trace.add(Negative(), x)


def square(x: Value) -> Value:
    return x.trace.add(Square(), x)


def sqrt(x: Value) -> Value:
    return x.trace.add(Sqrt(), x)


def exp(x: Value) -> Value:
    return x.trace.add(Exp(), x)


def log(x: Value) -> Value:
    return x.trace.add(Log(), x)


def abs(x: Value) -> Value:
    return x.trace.add(Abs(), x)


def sign(x: Value) -> Value:
    return x.trace.add(Sign(), x)


def logical_not(x: Value) -> Value:
    return x.trace.add(LogicalNot(), x)


def power(x: Value, exponent: float) -> Value:
    if exponent in (1, 2):
        return x if exponent == 1 else square(x)
    return x.trace.add(Power(float(exponent)), x)


def clip(x: Value, low: float, high: float) -> Value:
    return x.trace.add(Clip(float(low), float(high)), x)


def cast(x: Value, dtype: str) -> Value:
    """`x` as another type; `float` is the program's own precision."""
    return x if x.dtype == dtype else x.trace.add(Cast(dtype), x)
