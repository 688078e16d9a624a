"""Layers that join several inputs."""

from collections.abc import Mapping
from functools import reduce
from typing import ClassVar

from kerascli.component import Example
from kerascli.layer import Context, Layer
from kerascli.layers.arguments import sample_axes
from kerascli.ops.elementwise import (
    add,
    cast,
    divide,
    equal,
    logical_or,
    maximum,
    minimum,
    multiply,
    subtract,
    where,
)
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import concatenate, cut, reshape


class _Merge(Layer):
    """The inputs, which broadcast as in NumPy, combined number by number."""

    def infer_shape(self, *shapes: Shape) -> Shape:
        length = max(len(shape) for shape in shapes)
        sizes = zip(*((1,) * (length - len(shape)) + shape for shape in shapes), strict=True)
        result = []
        for each in sizes:
            found = {n for n in each if n != 1} or {1}
            if len(found) > 1:
                raise ShapeError(f"expected inputs of one shape, found {' and '.join(str(s) for s in shapes)}")
            result.append(found.pop())
        return tuple(result)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        """A step counts if it does in one of the inputs; without a mask for each input there is none."""
        masks = [m for m in context.masks if m is not None]
        return reduce(logical_or, masks) if masks and len(masks) == len(xs) else None


class Add(_Merge):
    """The sum of the inputs, which broadcast as in NumPy."""

    examples = (
        Example(inputs=((3, 4), (3, 4))),
        Example(inputs=((2, 3, 4), (1, 4), (2, 1, 4))),
    )

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        return reduce(add, xs)


class Subtract(_Merge):
    """The first input minus the second."""

    examples = (Example(inputs=((3, 4), (3, 4))), Example(inputs=((2, 3), (2, 1))))

    def infer_shape(self, *shapes: Shape) -> Shape:
        if len(shapes) != 2:
            raise ShapeError(f"expected 2 inputs, found {len(shapes)}")
        return super().infer_shape(*shapes)

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        return subtract(*xs)


class Multiply(_Merge):
    """The product of the inputs. Steps that a mask leaves out count as ones, and are zeros in the end."""

    examples = (Example(inputs=((3, 4), (3, 4))), Example(inputs=((2, 3, 4), (4,), (2, 1, 1))))

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        pairs = zip(xs, context.masks, strict=True)
        y = reduce(multiply, [x if mask is None else where(_wide(mask), x, 1.0) for x, mask in pairs])
        mask = self.mask(context, *xs)
        return y if mask is None else where(_wide(mask), y, 0.0)


class Average(_Merge):
    """The mean of the inputs."""

    examples = (Example(inputs=((3, 4), (3, 4))), Example(inputs=((2, 3), (3,), (1, 3))))

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        return divide(reduce(add, xs), float(len(xs)))


class _Extreme(_Merge):
    """The largest or smallest of the inputs. Steps that a mask leaves out give way to the other inputs."""

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        y, counts = xs[0], context.masks[0]
        for x, mask in zip(xs[1:], context.masks[1:], strict=True):
            other = x if mask is None else where(_wide(mask), x, y)
            y = self._choose(y if counts is None else where(_wide(counts), y, other), other)
            counts = logical_or(counts, mask) if counts is not None and mask is not None else None
        return y

    def _choose(self, one: Value, other: Value) -> Value:
        raise NotImplementedError


class Maximum(_Extreme):
    """The largest of the inputs."""

    examples = (Example(inputs=((3, 4), (3, 4))), Example(inputs=((2, 3), (3,), (2, 1))))

    def _choose(self, one: Value, other: Value) -> Value:
        return maximum(one, other)


class Minimum(_Extreme):
    """The smallest of the inputs."""

    examples = (Example(inputs=((3, 4), (3, 4))), Example(inputs=((2, 3), (3,), (2, 1))))

    def _choose(self, one: Value, other: Value) -> Value:
        return minimum(one, other)


def _wide(mask: Value) -> Value:
    """A mask of steps as one of steps and channels, of which it has one."""
    return reshape(mask, (*mask.shape, 1))


class Concatenate(Layer):
    """The inputs one after another along an axis."""

    takes_integers: ClassVar[bool] = True
    examples = (
        Example(inputs=((3, 4), (3, 2))),
        Example({"axis": 1}, inputs=((2, 3), (1, 3), (4, 3))),
        Example({"axis": -1}, inputs=((2,), (3,)), dtype="int32"),
    )

    axis: int = -1
    """The axis; the batch is axis 0."""

    def infer_shape(self, *shapes: Shape) -> Shape:
        (k,) = sample_axes(self.axis, shapes[0])
        others = {(len(shape), *shape[:k], *shape[k + 1 :]) for shape in shapes}
        if len(others) > 1:
            found = " and ".join(str(shape) for shape in shapes)
            raise ShapeError(f"expected inputs that differ along axis {self.axis} only, found {found}")
        return (*shapes[0][:k], sum(shape[k] for shape in shapes), *shapes[0][k + 1 :])

    def infer_dtype(self, *dtypes: str) -> str:
        return dtypes[0] if len(set(dtypes)) == 1 else "float"

    def call(self, context: Context, w: Mapping[str, Value], *xs: Value) -> Value:
        (k,) = sample_axes(self.axis, xs[0].shape)
        kind = self.infer_dtype(*(x.dtype for x in xs))
        return concatenate([cast(x, kind) for x in xs], k)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        """Masks joined like the inputs; along the last axis a step counts if it does in one of them."""
        masks = context.masks
        if all(mask is None for mask in masks):
            return None
        (k,) = sample_axes(self.axis, xs[0].shape)
        if k == len(xs[0].shape) - 1:
            given = [mask for mask in masks if mask is not None]
            return reduce(logical_or, given) if len(given) == len(xs) else None
        whole = [_everything(x) if mask is None else mask for x, mask in zip(xs, masks, strict=True)]
        return concatenate(whole, k)


def _everything(x: Value) -> Value:
    """A mask that leaves nothing out."""
    first = reshape(cut(x, 0, 1), x.shape[:-1])
    return equal(first, first)
