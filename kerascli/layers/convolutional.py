"""Convolutions over time (Conv1D) and over images (Conv2D), channels in the last axis."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
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
from kerascli.layers.windows import AXES, outputs, strides_or_dilation
from kerascli.ops.convolution import conv
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.window import pad


class _Convolution(_Channels, _Affine, _Unmasked):
    """y = activation(x ∗ kernel + bias), the window sliding over all axes but the last."""

    axes: ClassVar[int]
    """Axes that the window slides along."""

    filters: int = Field(ge=1)
    """Channels of the output."""
    kernel_size: Size1 | Size2 | Size3
    """Extent of the window."""
    strides: Size1 | Size2 | Size3
    """Steps between windows."""
    padding: Literal["valid", "same", "causal"] = "valid"
    """`valid`: windows lie inside the input; `same`: zeros around it give ceil(input / stride) outputs."""
    dilation_rate: Size1 | Size2 | Size3
    """Distance between the inputs that a window reads."""
    groups: int = Field(1, ge=1)
    """Number of equal parts of the channels that are convolved apart from each other."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.filters % self.groups:
            raise PydanticCustomError(
                "groups",
                "`filters` ({filters}) must be a multiple of `groups` ({groups})",
                {"filters": self.filters, "groups": self.groups},
            )
        strides_or_dilation(self.strides, self.dilation_rate)
        return self

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        if shape[-1] % self.groups:
            raise ShapeError(f"{shape[-1]} channels do not divide into {self.groups} groups")
        geometry = self.kernel_size, self.strides, self.dilation_rate, self.padding
        extents = outputs(shape[:-1], *geometry, "kernel_size")
        return activated_shape(self.activation, (*extents, self.filters))

    def _weights(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return self._kernel_and_bias((*self.kernel_size, shape[-1] // self.groups, self.filters), self.filters)

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        padding = "same" if self.padding == "same" else "valid"
        return self._finish(context, w, conv(x, w["kernel"], self.strides, padding, self.dilation_rate, self.groups))


class Conv1D(_Convolution):
    """Convolution over sequences: (T, C) → (T', filters)."""

    aliases = ("Convolution1D",)
    axes = 1
    examples = (
        Example({"filters": 3, "kernel_size": 3}, inputs=((8, 2),)),
        Example({"filters": 4, "kernel_size": 2, "strides": 2, "padding": "same"}, inputs=((7, 3),)),
        Example(
            {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2, "activation": "relu"},
            inputs=((9, 2),),
        ),
        Example({"filters": 4, "kernel_size": 3, "groups": 2, "use_bias": False}, inputs=((6, 4),)),
        Example({"filters": 3, "kernel_size": 4, "strides": 3}, inputs=((12, 5),)),
        Example(
            {"filters": 3, "kernel_size": 2, "padding": "causal", "data_format": "channels_first"}, inputs=((3, 6),)
        ),
    )

    kernel_size: Size1
    """Steps that a window spans."""
    strides: Size1 = (1,)
    """Steps between windows."""
    padding: Literal["valid", "same", "causal"] = "valid"
    """`valid`: windows lie inside the input; `same`: zeros on both sides; `causal`: zeros before it only."""
    dilation_rate: Size1 = (1,)
    """Distance between the steps that a window reads."""

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if self.padding == "causal":
            x = pad(x, (((self.kernel_size[0] - 1) * self.dilation_rate[0], 0), (0, 0)))
        return super()._output(context, w, x)


class Conv2D(_Convolution):
    """Convolution over images: (H, W, C) → (H', W', filters)."""

    aliases = ("Convolution2D",)
    axes = 2
    examples = (
        Example({"filters": 3, "kernel_size": 3}, inputs=((6, 7, 2),)),
        Example({"filters": 4, "kernel_size": [3, 2], "strides": 2, "padding": "same"}, inputs=((7, 6, 1),)),
        Example(
            {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "activation": "relu", "padding": "same"},
            inputs=((6, 6, 3),),
        ),
        Example({"filters": 6, "kernel_size": 2, "groups": 3, "use_bias": False}, inputs=((5, 5, 6),)),
        Example({"filters": 20, "kernel_size": 1, "activation": "tanh"}, inputs=((3, 4, 18),)),
        Example(
            {
                "filters": 2,
                "kernel_size": [2, 3],
                "strides": [1, 2],
                "kernel_regularizer": "l1",
                "activity_regularizer": "l2",
            },
            inputs=((4, 7, 17),),
        ),
        Example(
            {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "data_format": "channels_first"},
            inputs=((3, 6, 5),),
        ),
    )

    kernel_size: Size2
    """Rows and columns that a window spans."""
    strides: Size2 = (1, 1)
    """Rows and columns between windows."""
    padding: Padding = "valid"
    """`valid`: windows lie inside the input; `same`: zeros around it give ceil(input / stride) outputs."""
    dilation_rate: Size2 = (1, 1)
    """Distance between the rows and columns that a window reads."""
