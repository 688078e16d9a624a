"""Layers that put zeros around a sample, or cut its margins off."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Pair
from kerascli.layer import Context
from kerascli.layers.arguments import _Channels, _Unmasked, rank
from kerascli.layers.windows import AXES
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.window import crop, pad

Both = tuple[int, int]


def _pairs(axes: int) -> Callable[[Any], Any]:
    """Keras's forms: one number, one for each axis, or two for each axis."""

    def widen(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return ((value, value),) * axes
        if isinstance(value, (list, tuple)):
            return tuple((n, n) if isinstance(n, int) else tuple(n) if isinstance(n, list) else n for n in value)
        return value

    return widen


def _not_negative(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if isinstance(value, tuple):
            _not_negative(value)
        elif value < 0:
            raise PydanticCustomError("margins", "must not be negative")
    return values


Margin = Annotated[Pair, AfterValidator(_not_negative)]
"""Before and after, or one number for both."""
_Form = int | list[int | list[int]]
Margins2 = Annotated[
    tuple[Both, Both], BeforeValidator(_pairs(2), json_schema_input_type=_Form), AfterValidator(_not_negative)
]
Margins3 = Annotated[
    tuple[Both, Both, Both], BeforeValidator(_pairs(3), json_schema_input_type=_Form), AfterValidator(_not_negative)
]


class _Margin(_Unmasked):
    """Places before and after along every axis but the last."""

    axes: ClassVar[int]

    def _widths(self) -> tuple[Both, ...]:
        """(before, after) of each axis, the channels included."""
        raise NotImplementedError


class _Cropping(_Margin):
    """Margins cut off."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        cut = tuple(size - before - after for size, (before, after) in zip(shape, self._widths(), strict=True))
        if min(cut) < 1:
            raise ShapeError(f"nothing is left of {shape} when {list(self._widths()[:-1])} is cut off")
        return cut

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return crop(x, self._widths())


class _ZeroPadding(_Margin):
    """Zeros put around."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        return tuple(size + before + after for size, (before, after) in zip(shape, self._widths(), strict=True))

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return pad(x, self._widths())


class Cropping1D(_Cropping):
    """Steps cut off a sequence: (T, C) → (T - before - after, C)."""

    axes = 1
    examples = (Example(inputs=((5, 3),)), Example({"cropping": [0, 2]}, inputs=((5, 2),)))

    cropping: Margin = (1, 1)
    """Steps cut off at the beginning and the end, or one number for both."""

    def _widths(self) -> tuple[Both, ...]:
        return self.cropping, (0, 0)

    def infer_shape(self, shape: Shape) -> Shape:
        return self._shape(shape)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._output(context, w, x)


class Cropping2D(_Cropping, _Channels):
    """Rows and columns cut off an image: (H, W, C) → (H - top - bottom, W - left - right, C)."""

    axes = 2
    examples = (
        Example({"cropping": 1}, inputs=((4, 5, 2),)),
        Example({"cropping": [[1, 0], [0, 2]]}, inputs=((4, 5, 2),)),
        Example({"cropping": [1, 2]}, inputs=((3, 5, 2),)),
        Example({"cropping": [[1, 0], [0, 2]], "data_format": "channels_first"}, inputs=((2, 4, 5),)),
    )

    cropping: Margins2 = ((0, 0), (0, 0))
    """One number for all sides, one for each axis, or `[[top, bottom], [left, right]]`."""

    def _widths(self) -> tuple[Both, ...]:
        return *self.cropping, (0, 0)


class Cropping3D(_Cropping, _Channels):
    """Planes, rows and columns cut off a volume (D, H, W, C)."""

    axes = 3
    examples = (
        Example(inputs=((3, 4, 5, 2),)),
        Example({"cropping": [[1, 0], [0, 2], [1, 1]]}, inputs=((3, 4, 3, 2),)),
        Example({"data_format": "channels_first"}, inputs=((2, 3, 4, 5),)),
    )

    cropping: Margins3 = ((1, 1), (1, 1), (1, 1))
    """One number for all sides, one for each axis, or two for each axis."""

    def _widths(self) -> tuple[Both, ...]:
        return *self.cropping, (0, 0)


class ZeroPadding1D(_ZeroPadding, _Channels):
    """Steps of zeros around a sequence: (T, C) → (T + before + after, C)."""

    axes = 1
    examples = (
        Example(inputs=((3, 2),)),
        Example({"padding": [0, 2]}, inputs=((3, 2),)),
        Example({"padding": [0, 2], "data_format": "channels_first"}, inputs=((2, 3),)),
    )

    padding: Margin = (1, 1)
    """Steps at the beginning and the end, or one number for both."""

    def _widths(self) -> tuple[Both, ...]:
        return self.padding, (0, 0)


class ZeroPadding2D(_ZeroPadding, _Channels):
    """Rows and columns of zeros around an image: (H, W, C) → (H + top + bottom, W + left + right, C)."""

    axes = 2
    examples = (
        Example(inputs=((3, 4, 2),)),
        Example({"padding": [1, 2]}, inputs=((3, 4, 2),)),
        Example({"padding": [[1, 0], [0, 2]]}, inputs=((3, 4, 2),)),
        Example({"padding": [1, 2], "data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )

    padding: Margins2 = ((1, 1), (1, 1))
    """One number for all sides, one for each axis, or `[[top, bottom], [left, right]]`."""

    def _widths(self) -> tuple[Both, ...]:
        return *self.padding, (0, 0)


class ZeroPadding3D(_ZeroPadding, _Channels):
    """Planes, rows and columns of zeros around a volume (D, H, W, C)."""

    axes = 3
    examples = (
        Example(inputs=((2, 3, 2, 2),)),
        Example({"padding": [[1, 0], [0, 2], [1, 1]]}, inputs=((2, 2, 3, 2),)),
        Example({"padding": [1, 0, 2]}, inputs=((2, 2, 2, 1),)),
        Example({"data_format": "channels_first"}, inputs=((2, 2, 3, 2),)),
    )

    padding: Margins3 = ((1, 1), (1, 1), (1, 1))
    """One number for all sides, one for each axis, or two for each axis."""

    def _widths(self) -> tuple[Both, ...]:
        return *self.padding, (0, 0)
