"""Layers that pass their input on: Identity, and Masking, which says what of it counts."""

from collections.abc import Mapping
from typing import ClassVar

from kerascli.component import Example
from kerascli.layer import Context, Layer
from kerascli.ops import reduction
from kerascli.ops.elementwise import cast, greater, not_equal, where
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import reshape


class Identity(Layer):
    """The input as it is."""

    takes_integers: ClassVar[bool] = True
    examples = (Example(inputs=((3, 4),)), Example(inputs=((2,),), dtype="int32"))

    def infer_shape(self, shape: Shape) -> Shape:
        return shape

    def infer_dtype(self, dtype: str) -> str:
        return dtype

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return x


class Masking(Layer):
    """Steps whose numbers all equal `mask_value` are masked for the layers after it, and become zeros."""

    examples = (Example(inputs=((3, 4),)), Example({"mask_value": -1.5}, inputs=((2, 3, 2),)))

    mask_value: float = 0.0
    """What a step that does not count is filled with."""

    def infer_shape(self, shape: Shape) -> Shape:
        if not shape:
            raise ShapeError("expected samples of at least 1 axis (features), found single numbers: ()")
        return shape

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return where(self._counts(x), x, 0.0)

    def mask(self, context: Context, *xs: Value) -> Value | None:
        (x,) = xs
        return reshape(self._counts(x), x.shape[:-1])

    def _counts(self, x: Value) -> Value:
        """Whether any number of a step differs from `mask_value`; the last axis stays, with length 1."""
        differs = cast(not_equal(cast(x, "float"), self.mask_value), "float")
        return greater(reduction.max(differs, len(x.shape) - 1, keepdims=True), 0.0)
