"""Convolutions of each channel alone (DepthwiseConv), and with a product over channels after it (SeparableConv)."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.initializers import GlorotUniform, Initializer
from kerascli.layer import Context, WeightSpec
from kerascli.layers.arguments import (
    Padding,
    Size1,
    Size2,
    _Biased,
    _Channels,
    _Unmasked,
    activated_shape,
    rank,
)
from kerascli.layers.windows import AXES, outputs
from kerascli.ops.depthwise import depthwise_conv
from kerascli.ops.ir import Shape, Value
from kerascli.ops.linear import matmul
from kerascli.ops.shape import reshape
from kerascli.regularizers import Regularizer


class _Depthwise(_Channels, _Biased, _Unmasked):
    """Windows over all axes but the last, each channel with kernels of its own."""

    axes: ClassVar[int]
    """Axes that the window slides along."""

    kernel_size: Size1 | Size2
    """Extent of the window."""
    strides: Size1 | Size2
    """Steps between windows."""
    padding: Padding = "valid"
    """`valid`: windows lie inside the input; `same`: zeros around it give ceil(input / stride) outputs."""
    depth_multiplier: int = Field(1, ge=1)
    """Outputs of each channel."""
    dilation_rate: Size1 | Size2
    """Distance between the inputs that a window reads."""
    depthwise_initializer: Initializer = GlorotUniform()
    """First values of the kernel of each channel."""
    depthwise_regularizer: Regularizer | None = None
    """Penalty on the kernel of each channel."""
    depthwise_constraint: Constraint | None = None
    """Rule that the kernel of each channel obeys."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        geometry = self.kernel_size, self.strides, self.dilation_rate, self.padding
        extents = outputs(shape[:-1], *geometry, "kernel_size")
        return activated_shape(self.activation, (*extents, self._channels(shape)))

    def _channels(self, shape: Shape) -> int:
        """Channels of the output."""
        return shape[-1] * self.depth_multiplier

    def _weights(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return self._with_bias(self._channels(shape), *self._kernels(shape))

    def _kernels(self, shape: Shape) -> tuple[WeightSpec, ...]:
        return (self._depthwise_kernel("kernel", shape),)

    def _depthwise_kernel(self, name: str, shape: Shape) -> WeightSpec:
        extent = (*self.kernel_size, shape[-1], self.depth_multiplier)
        return self._trained(name, extent, "depthwise")

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._finish(context, w, self._convolve(x, w))

    def _convolve(self, x: Value, w: Mapping[str, Value]) -> Value:
        return self._each_channel(x, w["kernel"])

    def _each_channel(self, x: Value, kernel: Value) -> Value:
        return depthwise_conv(x, kernel, self.strides, self.padding, self.dilation_rate)


class DepthwiseConv1D(_Depthwise):
    """Convolution of each channel of a sequence alone: (T, C) → (T', C · depth_multiplier)."""

    axes = 1
    examples = (
        Example({"kernel_size": 3}, inputs=((8, 3),)),
        Example({"kernel_size": 2, "strides": 2, "padding": "same", "depth_multiplier": 2}, inputs=((7, 3),)),
        Example(
            {"kernel_size": 3, "dilation_rate": 2, "activation": "relu", "use_bias": False},
            inputs=((9, 2),),
        ),
        Example({"kernel_size": 3, "data_format": "channels_first"}, inputs=((3, 8),)),
    )

    kernel_size: Size1
    """Steps that a window spans."""
    strides: Size1 = (1,)
    """Steps between windows."""
    dilation_rate: Size1 = (1,)
    """Distance between the steps that a window reads."""


class DepthwiseConv2D(_Depthwise):
    """Convolution of each channel of an image alone: (H, W, C) → (H', W', C · depth_multiplier)."""

    axes = 2
    examples = (
        Example({"kernel_size": 3}, inputs=((6, 7, 3),)),
        Example({"kernel_size": [3, 2], "strides": 2, "padding": "same", "activation": "relu"}, inputs=((7, 6, 2),)),
        Example({"kernel_size": 2, "depth_multiplier": 3, "dilation_rate": 2}, inputs=((5, 6, 2),)),
        Example(
            {
                "kernel_size": [2, 3],
                "padding": "same",
                "depthwise_regularizer": "l2",
                "bias_regularizer": "l1",
                "activity_regularizer": "l2",
                "depthwise_constraint": "max_norm",
                "depthwise_initializer": "he_normal",
            },
            inputs=((4, 5, 3),),
        ),
        Example({"kernel_size": 2, "depth_multiplier": 2, "data_format": "channels_first"}, inputs=((3, 4, 5),)),
    )

    kernel_size: Size2
    """Rows and columns that a window spans."""
    strides: Size2 = (1, 1)
    """Rows and columns between windows."""
    dilation_rate: Size2 = (1, 1)
    """Distance between the rows and columns that a window reads."""


class _Separable(_Depthwise):
    """The convolution of each channel, then a product over the channels at every position."""

    filters: int = Field(ge=1)
    """Channels of the output."""
    pointwise_initializer: Initializer = GlorotUniform()
    """First values of the matrix over the channels."""
    pointwise_regularizer: Regularizer | None = None
    """Penalty on the matrix over the channels."""
    pointwise_constraint: Constraint | None = None
    """Rule that the matrix over the channels obeys."""

    def _channels(self, shape: Shape) -> int:
        return self.filters

    def _kernels(self, shape: Shape) -> tuple[WeightSpec, ...]:
        extent = (*(1,) * self.axes, shape[-1] * self.depth_multiplier, self.filters)
        return self._depthwise_kernel("depthwise_kernel", shape), self._trained("pointwise_kernel", extent, "pointwise")

    def _convolve(self, x: Value, w: Mapping[str, Value]) -> Value:
        matrix = w["pointwise_kernel"]
        return matmul(self._each_channel(x, w["depthwise_kernel"]), reshape(matrix, matrix.shape[-2:]))


class SeparableConv1D(_Separable):
    """DepthwiseConv1D and a product over the channels: (T, C) → (T', filters)."""

    aliases = ("SeparableConvolution1D",)
    axes = 1
    examples = (
        Example({"filters": 4, "kernel_size": 3}, inputs=((8, 3),)),
        Example(
            {"filters": 3, "kernel_size": 2, "strides": 2, "padding": "same", "depth_multiplier": 2},
            inputs=((7, 3),),
        ),
        Example({"filters": 4, "kernel_size": 3, "data_format": "channels_first"}, inputs=((3, 8),)),
    )

    kernel_size: Size1
    """Steps that a window spans."""
    strides: Size1 = (1,)
    """Steps between windows."""
    dilation_rate: Size1 = (1,)
    """Distance between the steps that a window reads."""


class SeparableConv2D(_Separable):
    """DepthwiseConv2D and a product over the channels: (H, W, C) → (H', W', filters)."""

    aliases = ("SeparableConvolution2D",)
    axes = 2
    examples = (
        Example({"filters": 4, "kernel_size": 3}, inputs=((6, 7, 3),)),
        Example(
            {"filters": 5, "kernel_size": 2, "strides": 2, "padding": "same", "depth_multiplier": 2},
            inputs=((5, 6, 3),),
        ),
        Example(
            {
                "filters": 2,
                "kernel_size": [2, 3],
                "dilation_rate": [1, 2],
                "use_bias": False,
                "activation": "tanh",
                "pointwise_regularizer": "l1",
                "depthwise_regularizer": "l2",
            },
            inputs=((4, 7, 3),),
        ),
        Example({"filters": 4, "kernel_size": 3, "data_format": "channels_first"}, inputs=((3, 5, 4),)),
    )

    kernel_size: Size2
    """Rows and columns that a window spans."""
    strides: Size2 = (1, 1)
    """Rows and columns between windows."""
    dilation_rate: Size2 = (1, 1)
    """Distance between the rows and columns that a window reads."""
