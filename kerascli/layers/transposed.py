"""Transposed convolutions: from what a convolution would give back to the shape that it would have read."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Pair, Single, Triple
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import (
    Padding,
    Size1,
    Size2,
    Size3,
    _Affine,
    _Channels,
    _Unmasked,
    activated_shape,
    rank,
)
from kerascli.layers.windows import AXES, strides_or_dilation
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.transposed import Extra, conv_transpose, margins


def _not_negative(values: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if values is not None and min(values) < 0:
        raise PydanticCustomError("not_negative", "must not be negative")
    return values


_Extra = AfterValidator(_not_negative)


class _Transposed(_Channels, _Affine, _Unmasked):
    """Every input times the kernel, added up where the windows of a convolution lie."""

    axes: ClassVar[int]
    """Axes that the window slides along."""

    filters: int = Field(ge=1)
    """Channels of the output."""
    kernel_size: Size1 | Size2 | Size3
    """Extent of the window."""
    strides: Size1 | Size2 | Size3
    """Steps between windows in the output."""
    padding: Padding = "valid"
    """`valid`: all that the windows reach; `same`: input · stride outputs."""
    output_padding: Single | Pair | Triple | None
    """Places more at the end of the output."""
    dilation_rate: Size1 | Size2 | Size3
    """Distance between the outputs that a window writes."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(extra >= stride for extra, stride in zip(self.output_padding or (), self.strides, strict=False)):
            raise PydanticCustomError("output_padding", "`output_padding` must be less than `strides`")
        strides_or_dilation(self.strides, self.dilation_rate)
        return self

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        extents = []
        sizes = zip(shape, self.kernel_size, self.strides, self.dilation_rate, self._extra(), strict=False)
        for size, window, stride, apart, extra in sizes:
            reach = (window - 1) * apart + 1
            extents.append((size - 1) * stride + reach - sum(margins(reach, stride, self.padding, extra)))
            if extents[-1] < 1:
                raise ShapeError(f"nothing is left of {size} inputs with `strides` {stride}")
        return activated_shape(self.activation, (*extents, self.filters))

    def _extra(self) -> Extra:
        """`output_padding` along each axis."""
        return self.output_padding or (None,) * self.axes

    def _weights(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return self._kernel_and_bias((*self.kernel_size, self.filters, shape[-1]), self.filters)

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        geometry = self.strides, self.padding, self._extra(), self.dilation_rate
        return self._finish(context, w, conv_transpose(x, w["kernel"], *geometry))


class Conv1DTranspose(_Transposed):
    """Transposed convolution over sequences: (T, C) → (T', filters)."""

    aliases = ("Convolution1DTranspose",)
    axes = 1
    examples = (
        Example({"filters": 3, "kernel_size": 3}, inputs=((6, 2),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, inputs=((5, 3),)),
        Example({"filters": 2, "kernel_size": 2, "strides": 3, "output_padding": 1}, inputs=((4, 3),)),
        Example({"filters": 2, "kernel_size": 3, "dilation_rate": 2, "use_bias": False}, inputs=((4, 3),)),
        Example({"filters": 3, "kernel_size": 3, "data_format": "channels_first"}, inputs=((2, 5),)),
    )

    kernel_size: Size1
    """Steps that a window spans."""
    strides: Size1 = (1,)
    """Steps between windows in the output."""
    output_padding: Annotated[Single | None, _Extra] = None
    """Steps more at the end of the output, fewer than `strides`; by default as many as Keras thinks fit."""
    dilation_rate: Size1 = (1,)
    """Distance between the steps that a window writes."""


class Conv2DTranspose(_Transposed):
    """Transposed convolution over images: (H, W, C) → (H', W', filters)."""

    aliases = ("Convolution2DTranspose",)
    axes = 2
    examples = (
        Example({"filters": 3, "kernel_size": 3}, inputs=((4, 5, 2),)),
        Example({"filters": 4, "kernel_size": [3, 2], "strides": 2, "padding": "same"}, inputs=((4, 3, 3),)),
        Example(
            {"filters": 2, "kernel_size": 3, "strides": [2, 3], "padding": "same", "output_padding": [1, 0]},
            inputs=((3, 4, 2),),
        ),
        Example({"filters": 2, "kernel_size": 2, "strides": 3, "activation": "relu"}, inputs=((3, 3, 2),)),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "dilation_rate": 2,
                "padding": "same",
                "kernel_regularizer": "l2",
                "activity_regularizer": "l1",
            },
            inputs=((4, 4, 2),),
        ),
        Example({"filters": 3, "kernel_size": 2, "strides": 2, "data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )

    kernel_size: Size2
    """Rows and columns that a window spans."""
    strides: Size2 = (1, 1)
    """Rows and columns between windows in the output."""
    output_padding: Annotated[Pair | None, _Extra] = None
    """Rows and columns more at the end, fewer than `strides`; by default as many as Keras thinks fit."""
    dilation_rate: Size2 = (1, 1)
    """Distance between the rows and columns that a window writes."""


class Conv3DTranspose(_Transposed):
    """Transposed convolution over volumes: (D, H, W, C) → (D', H', W', filters)."""

    aliases = ("Convolution3DTranspose",)
    axes = 3
    examples = (
        Example({"filters": 2, "kernel_size": 2}, inputs=((2, 3, 2, 2),)),
        Example({"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, inputs=((2, 2, 3, 2),)),
        Example({"filters": 2, "kernel_size": 2, "strides": [2, 1, 3], "output_padding": [1, 0, 1]}, ((2, 2, 2, 1),)),
    )

    kernel_size: Size3
    """Planes, rows and columns that a window spans."""
    strides: Size3 = (1, 1, 1)
    """Planes, rows and columns between windows in the output."""
    output_padding: Annotated[Triple | None, _Extra] = None
    """Planes, rows and columns more at the end, fewer than `strides`; by default as many as Keras thinks fit."""
    dilation_rate: Size3 = (1, 1, 1)
    """Distance between the planes, rows and columns that a window writes."""
