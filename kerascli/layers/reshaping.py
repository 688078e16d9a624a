"""Layers that move numbers without changing them."""

from collections.abc import Mapping
from math import prod
from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Ints
from kerascli.layer import Context
from kerascli.layers.arguments import _Channels, _Unmasked, rank
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import permute, reshape


class _Reshaping(_Unmasked):
    """A layer that passes integers on as they are."""

    takes_integers: ClassVar[bool] = True

    def infer_dtype(self, dtype: str) -> str:
        return dtype


class Flatten(_Reshaping, _Channels):
    """A sample as one row of numbers: (H, W, C) → (H · W · C,)."""

    examples = (
        Example(inputs=((3, 4, 2),)),
        Example(inputs=((5,),)),
        Example(inputs=((2, 3),), dtype="int32"),
        Example({"data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )

    def _shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return reshape(x, (x.size,))


class Reshape(_Reshaping):
    """The same numbers in the same order under another shape."""

    examples = (
        Example({"target_shape": [4, 3]}, inputs=((12,),)),
        Example({"target_shape": [2, -1]}, inputs=((3, 4),)),
        Example({"target_shape": [2, 3, 1]}, inputs=((6,),), dtype="int32"),
    )

    target_shape: Ints
    """Shape of one sample of the output; one axis may be -1, which is worked out."""

    @field_validator("target_shape")
    @classmethod
    def _one_open_axis(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(n < 1 and n != -1 for n in value) or value.count(-1) > 1:
            raise PydanticCustomError("target_shape", "must hold positive integers, and -1 at most once")
        return value

    def infer_shape(self, shape: Shape) -> Shape:
        known = prod(n for n in self.target_shape if n != -1)
        size = prod(shape)
        if size % known or (-1 not in self.target_shape and size != known):
            raise ShapeError(f"expected {known} numbers a sample for {list(self.target_shape)}, found {size}: {shape}")
        return tuple(size // known if n == -1 else n for n in self.target_shape)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return reshape(x, self.infer_shape(x.shape))


class Permute(_Reshaping):
    """A sample's axes in another order: axis k of the output is axis dims[k] of the input."""

    examples = (
        Example({"dims": [2, 1]}, inputs=((3, 4),)),
        Example({"dims": [3, 1, 2]}, inputs=((2, 3, 4),)),
    )

    dims: Ints
    """The input's axes in their new order, counted from 1."""

    @field_validator("dims")
    @classmethod
    def _is_an_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(value) != list(range(1, len(value) + 1)):
            raise PydanticCustomError("dims", "must hold each of 1 … {count} once", {"count": len(value)})
        return value

    def infer_shape(self, shape: Shape) -> Shape:
        rank(shape, len(self.dims), "one for each of `dims`")
        return tuple(shape[k - 1] for k in self.dims)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return permute(x, tuple(k - 1 for k in self.dims))


class RepeatVector(_Reshaping):
    """A vector n times in a row: (C,) → (n, C)."""

    examples = (Example({"n": 3}, inputs=((4,),)), Example({"n": 1}, inputs=((2,),)))

    n: int = Field(ge=1)
    """How many times."""

    def infer_shape(self, shape: Shape) -> Shape:
        rank(shape, 1, "features")
        return (self.n, *shape)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return broadcast_to(x, (self.n, *x.shape))
