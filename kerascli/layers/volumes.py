"""Convolution and pooling over volumes (D, H, W, C)."""

from kerascli.component import Example
from kerascli.layers.arguments import Padding, Size3
from kerascli.layers.convolutional import _Convolution
from kerascli.layers.pooling import _GlobalPooling, _Pooling


class Conv3D(_Convolution):
    """Convolution over volumes: (D, H, W, C) → (D', H', W', filters)."""

    aliases = ("Convolution3D",)
    axes = 3
    examples = (
        Example({"filters": 3, "kernel_size": 2}, inputs=((3, 4, 3, 2),)),
        Example({"filters": 2, "kernel_size": [2, 1, 3], "strides": 2, "padding": "same"}, inputs=((4, 3, 5, 1),)),
        Example({"filters": 4, "kernel_size": 2, "groups": 2, "dilation_rate": [1, 2, 1]}, inputs=((3, 3, 3, 4),)),
        Example({"filters": 3, "kernel_size": 2, "data_format": "channels_first"}, inputs=((2, 3, 4, 3),)),
    )

    kernel_size: Size3
    """Planes, rows and columns that a window spans."""
    strides: Size3 = (1, 1, 1)
    """Planes, rows and columns between windows."""
    padding: Padding = "valid"
    """`valid`: windows lie inside the input; `same`: zeros around it give ceil(input / stride) outputs."""
    dilation_rate: Size3 = (1, 1, 1)
    """Distance between the planes, rows and columns that a window reads."""


class MaxPooling3D(_Pooling):
    """The largest of every window: (D, H, W, C) → (D', H', W', C)."""

    aliases = ("MaxPool3D",)
    largest = True
    examples = (
        Example(inputs=((4, 4, 5, 2),)),
        Example({"pool_size": [3, 2, 2], "strides": [2, 1, 2], "padding": "same"}, inputs=((4, 3, 5, 2),)),
        Example({"data_format": "channels_first"}, inputs=((2, 4, 4, 5),)),
    )

    pool_size: Size3 = (2, 2, 2)
    """Planes, rows and columns that a window spans."""
    strides: Size3 | None = None
    """Planes, rows and columns between windows; by default those of a window."""


class AveragePooling3D(_Pooling):
    """The mean of every window, of the inputs that are really there: (D, H, W, C) → (D', H', W', C)."""

    aliases = ("AvgPool3D",)
    largest = False
    examples = (
        Example({"pool_size": 2}, inputs=((4, 4, 5, 2),)),
        Example({"pool_size": [3, 2, 2], "strides": [2, 1, 2], "padding": "same"}, inputs=((4, 3, 5, 2),)),
    )

    pool_size: Size3
    """Planes, rows and columns that a window spans."""
    strides: Size3 | None = None
    """Planes, rows and columns between windows; by default those of a window."""


class GlobalMaxPooling3D(_GlobalPooling):
    """The largest over the volume: (D, H, W, C) → (C,)."""

    aliases = ("GlobalMaxPool3D",)
    axes = 3
    largest = True
    examples = (Example(inputs=((2, 3, 4, 3),)), Example({"keepdims": True}, inputs=((2, 2, 3, 2),)))


class GlobalAveragePooling3D(_GlobalPooling):
    """The mean over the volume: (D, H, W, C) → (C,)."""

    aliases = ("GlobalAvgPool3D",)
    axes = 3
    largest = False
    examples = (
        Example(inputs=((2, 3, 4, 3),)),
        Example({"keepdims": True}, inputs=((2, 2, 3, 2),)),
        Example({"keepdims": True, "data_format": "channels_first"}, inputs=((2, 2, 3, 2),)),
    )
