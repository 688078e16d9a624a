"""Layers that move numbers without changing them."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Ints
from kerascli.layer import Context
from kerascli.layers.arguments import DataFormat, _Unmasked, rank
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import permute, reshape
from kerascli.ops.window import pad


class _Reshaping(_Unmasked):
    """A layer that passes integers on as they are."""

    takes_integers: ClassVar[bool] = True

    def infer_dtype(self, dtype: str) -> str:
        return dtype


class Flatten(_Reshaping):
    """A sample as one row of numbers: (H, W, C) → (H · W · C,)."""

    examples = (Example(inputs=((3, 4, 2),)), Example(inputs=((5,),)), Example(inputs=((2, 3),), dtype="int32"))

    data_format: DataFormat = None
    """Where the channels are: `channels_last`, the only choice here."""

    def infer_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return reshape(x, (x.size,))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"data_format": "channels_last"}


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


def _two_pairs(value: Any) -> Any:
    """Keras's forms: one number, one for each axis, or two for each axis."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ((value, value), (value, value))
    if isinstance(value, (list, tuple)):
        return tuple((n, n) if isinstance(n, int) else tuple(n) if isinstance(n, list) else n for n in value)
    return value


_Margins = BeforeValidator(_two_pairs, json_schema_input_type=int | list[int | list[int]])


class ZeroPadding2D(_Unmasked):
    """Rows and columns of zeros around an image: (H, W, C) → (H + top + bottom, W + left + right, C)."""

    examples = (
        Example(inputs=((3, 4, 2),)),
        Example({"padding": [1, 2]}, inputs=((3, 4, 2),)),
        Example({"padding": [[1, 0], [0, 2]]}, inputs=((3, 4, 2),)),
    )

    padding: Annotated[tuple[tuple[int, int], tuple[int, int]], _Margins] = ((1, 1), (1, 1))
    """One number for all sides, one for each axis, or `[[top, bottom], [left, right]]`."""
    data_format: DataFormat = None
    """Where the channels are: `channels_last`, the only choice here."""

    @model_validator(mode="after")
    def _not_negative(self) -> Self:
        if any(n < 0 for pair in self.padding for n in pair):
            raise PydanticCustomError("padding", "`padding` must not be negative")
        return self

    def infer_shape(self, shape: Shape) -> Shape:
        rank(shape, 3, "height, width, channels")
        (top, bottom), (left, right) = self.padding
        return shape[0] + top + bottom, shape[1] + left + right, shape[2]

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return pad(x, (*self.padding, (0, 0)))

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"data_format": "channels_last"}
