"""Pooling: windows, or everything, reduced to the largest value or the mean, channel by channel."""

from collections.abc import Mapping
from typing import ClassVar

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.arguments import Padding, Size1, Size2, Size3, _Channels, _Unmasked, rank
from kerascli.layers.windows import AXES, outputs
from kerascli.ops import reduction
from kerascli.ops.elementwise import cast, divide, where
from kerascli.ops.ir import Shape, Value
from kerascli.ops.pooling import average_pool, max_pool
from kerascli.ops.shape import reshape


class _Pooling(_Channels, _Unmasked):
    """Windows over all axes but the last."""

    largest: ClassVar[bool]

    pool_size: Size1 | Size2 | Size3
    """Extent of the window."""
    strides: Size1 | Size2 | Size3 | None = None
    """Steps between windows; by default those of a window."""
    padding: Padding = "valid"
    """`valid`: windows lie inside the input; `same`: ceil(input / stride) windows."""

    def _shape(self, shape: Shape) -> Shape:
        axes, strides = len(self.pool_size), self.strides or self.pool_size
        rank(shape, axes + 1, AXES[axes])
        return (*outputs(shape[:-1], self.pool_size, strides, (1,) * axes, self.padding, "pool_size"), shape[-1])

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        window, strides = self.pool_size, self.strides or self.pool_size
        pool = max_pool if self.largest else average_pool
        if len(window) > 1:
            return pool(x, window, strides, self.padding)
        y = pool(reshape(x, (1, *x.shape)), (1, *window), (1, *strides), self.padding)
        return reshape(y, y.shape[1:])


class MaxPooling1D(_Pooling):
    """The largest of every window: (T, C) → (T', C)."""

    aliases = ("MaxPool1D",)
    largest = True
    examples = (
        Example(inputs=((8, 3),)),
        Example({"pool_size": 3, "strides": 2, "padding": "same"}, inputs=((8, 2),)),
        Example({"pool_size": 3}, inputs=((10, 2),)),
        Example({"data_format": "channels_first"}, inputs=((3, 8),)),
    )

    pool_size: Size1 = (2,)
    """Steps that a window spans."""
    strides: Size1 | None = None
    """Steps between windows; by default those of a window."""


class MaxPooling2D(_Pooling):
    """The largest of every window: (H, W, C) → (H', W', C)."""

    aliases = ("MaxPool2D",)
    largest = True
    examples = (
        Example(inputs=((6, 8, 3),)),
        Example({"pool_size": [3, 2], "strides": [2, 1], "padding": "same"}, inputs=((7, 5, 2),)),
        Example({"pool_size": 3, "strides": 2}, inputs=((8, 7, 2),)),
        Example({"pool_size": [2, 3]}, inputs=((7, 7, 2),)),
        Example({"padding": "same", "data_format": "channels_first"}, inputs=((3, 5, 4),)),
    )

    pool_size: Size2 = (2, 2)
    """Rows and columns that a window spans."""
    strides: Size2 | None = None
    """Rows and columns between windows; by default those of a window."""


class AveragePooling1D(_Pooling):
    """The mean of every window, of the inputs that are really there: (T, C) → (T', C)."""

    aliases = ("AvgPool1D",)
    largest = False
    examples = (
        Example({"pool_size": 2}, inputs=((8, 3),)),
        Example({"pool_size": 3, "strides": 2, "padding": "same"}, inputs=((8, 2),)),
    )

    pool_size: Size1
    """Steps that a window spans."""
    strides: Size1 | None = None
    """Steps between windows; by default those of a window."""


class AveragePooling2D(_Pooling):
    """The mean of every window, of the inputs that are really there: (H, W, C) → (H', W', C)."""

    aliases = ("AvgPool2D",)
    largest = False
    examples = (
        Example({"pool_size": 2}, inputs=((6, 8, 3),)),
        Example({"pool_size": [3, 2], "strides": [2, 1], "padding": "same"}, inputs=((7, 5, 2),)),
        Example({"pool_size": 3, "strides": 2}, inputs=((8, 7, 2),)),
        Example({"pool_size": 2, "data_format": "channels_first"}, inputs=((3, 5, 4),)),
    )

    pool_size: Size2
    """Rows and columns that a window spans."""
    strides: Size2 | None = None
    """Rows and columns between windows; by default those of a window."""


class _GlobalPooling(_Channels, _Unmasked):
    """Everything but the channels reduced."""

    axes: ClassVar[int]
    """Axes that are reduced."""
    largest: ClassVar[bool]

    keepdims: bool = False
    """Whether the reduced axes stay, with length 1."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        return (*((1,) * self.axes if self.keepdims else ()), shape[-1])

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        reduce = reduction.max if self.largest else reduction.mean
        return reduce(x, tuple(range(self.axes)), self.keepdims)


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest over time: (T, C) → (C,)."""

    aliases = ("GlobalMaxPool1D",)
    axes = 1
    largest = True
    examples = (Example(inputs=((6, 3),)), Example({"keepdims": True}, inputs=((5, 2),)))


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest over the image: (H, W, C) → (C,)."""

    aliases = ("GlobalMaxPool2D",)
    axes = 2
    largest = True
    examples = (
        Example(inputs=((4, 5, 3),)),
        Example({"keepdims": True}, inputs=((3, 3, 2),)),
        Example({"keepdims": True, "data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over time, of the steps that the mask leaves: (T, C) → (C,)."""

    aliases = ("GlobalAvgPool1D",)
    axes = 1
    largest = False
    examples = (
        Example(inputs=((6, 3),)),
        Example({"keepdims": True}, inputs=((5, 2),)),
        Example({"data_format": "channels_first"}, inputs=((2, 5),)),
    )

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        mask = context.masks[0]
        if mask is None:
            return super()._output(context, w, x)
        there = reshape(mask, (*mask.shape, 1))
        total = reduction.sum(where(there, x, 0.0), 0, self.keepdims)
        return divide(total, reduction.sum(cast(there, "float"), 0, self.keepdims))


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over the image: (H, W, C) → (C,)."""

    aliases = ("GlobalAvgPool2D",)
    axes = 2
    largest = False
    examples = (Example(inputs=((4, 5, 3),)), Example({"keepdims": True}, inputs=((3, 3, 2),)))
