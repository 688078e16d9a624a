"""Pooling to a wanted shape, whatever that of the input: windows of nearly equal extent.

Where the wanted extent is the larger one, places repeat.
"""

from collections.abc import Mapping
from typing import ClassVar

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.arguments import Size1, Size2, Size3, _Channels, _Unmasked, rank
from kerascli.layers.windows import AXES
from kerascli.ops.adaptive import adaptive_pool
from kerascli.ops.ir import Shape, Value


class _Adaptive(_Channels, _Unmasked):
    """All axes but the last reduced to `output_size`."""

    axes: ClassVar[int]
    largest: ClassVar[bool]

    output_size: Size1 | Size2 | Size3
    """Extent of the output."""

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        return (*self.output_size, shape[-1])

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return adaptive_pool(x, self.output_size, self.largest)


class AdaptiveMaxPooling1D(_Adaptive):
    """The largest of `output_size` windows over time: (T, C) → (T', C)."""

    axes = 1
    largest = True
    examples = (Example({"output_size": 3}, inputs=((7, 2),)), Example({"output_size": 5}, inputs=((3, 2),)))

    output_size: Size1
    """Steps of the output."""


class AdaptiveAveragePooling1D(_Adaptive):
    """The mean of `output_size` windows over time: (T, C) → (T', C)."""

    axes = 1
    largest = False
    examples = (Example({"output_size": 3}, inputs=((7, 2),)), Example({"output_size": 5}, inputs=((3, 2),)))

    output_size: Size1
    """Steps of the output."""


class AdaptiveMaxPooling2D(_Adaptive):
    """The largest of `output_size` windows over an image: (H, W, C) → (H', W', C)."""

    axes = 2
    largest = True
    examples = (Example({"output_size": 3}, inputs=((7, 5, 2),)), Example({"output_size": [2, 4]}, inputs=((6, 4, 3),)))

    output_size: Size2
    """Rows and columns of the output."""


class AdaptiveAveragePooling2D(_Adaptive):
    """The mean of `output_size` windows over an image: (H, W, C) → (H', W', C)."""

    axes = 2
    largest = False
    examples = (
        Example({"output_size": 3}, inputs=((7, 5, 2),)),
        Example({"output_size": [2, 4]}, inputs=((6, 4, 3),)),
        Example({"output_size": 2, "data_format": "channels_first"}, inputs=((2, 5, 4),)),
    )

    output_size: Size2
    """Rows and columns of the output."""


class AdaptiveMaxPooling3D(_Adaptive):
    """The largest of `output_size` windows over a volume: (D, H, W, C) → (D', H', W', C)."""

    axes = 3
    largest = True
    examples = (Example({"output_size": 2}, ((5, 3, 4, 2),)), Example({"output_size": [2, 1, 3]}, ((4, 3, 5, 1),)))

    output_size: Size3
    """Planes, rows and columns of the output."""


class AdaptiveAveragePooling3D(_Adaptive):
    """The mean of `output_size` windows over a volume: (D, H, W, C) → (D', H', W', C)."""

    axes = 3
    largest = False
    examples = (Example({"output_size": 2}, ((5, 3, 4, 2),)), Example({"output_size": [2, 1, 3]}, ((4, 3, 5, 1),)))

    output_size: Size3
    """Planes, rows and columns of the output."""
