"""Layers that make sequences, images and volumes larger by whole factors."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.arguments import Size2, Size3, _Channels, _Unmasked, rank
from kerascli.layers.image_sizes import Kernel, resized
from kerascli.layers.windows import AXES
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.ir import Shape, Value
from kerascli.ops.shape import reshape


def repeated(x: Value, times: tuple[int, ...]) -> Value:
    """Every place along the leading axes of a sample so many times over."""
    size, rest = x.shape[: len(times)], x.shape[len(times) :]
    apart = tuple(n for pair in zip(size, (1,) * len(size), strict=True) for n in pair)
    wide = tuple(n for pair in zip(size, times, strict=True) for n in pair)
    larger = tuple(n * t for n, t in zip(size, times, strict=True))
    return reshape(broadcast_to(reshape(x, (*apart, *rest)), (*wide, *rest)), (*larger, *rest))


class _UpSampling(_Unmasked):
    """All axes but the last larger."""

    axes: ClassVar[int]

    def _factors(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _shape(self, shape: Shape) -> Shape:
        rank(shape, self.axes + 1, AXES[self.axes])
        return (*(n * t for n, t in zip(shape, self._factors(), strict=False)), shape[-1])

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return repeated(x, self._factors())


class UpSampling1D(_UpSampling):
    """Every step `size` times: (T, C) → (T · size, C)."""

    axes = 1
    examples = (Example(inputs=((3, 2),)), Example({"size": 3}, inputs=((2, 4),)))

    size: int = Field(2, ge=1)
    """How many times."""

    def _factors(self) -> tuple[int, ...]:
        return (self.size,)

    def infer_shape(self, shape: Shape) -> Shape:
        return self._shape(shape)

    def call(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._output(context, w, x)


class UpSampling2D(_UpSampling, _Channels):
    """Images of `size` times as many rows and columns: (H, W, C) → (H · size[0], W · size[1], C)."""

    axes = 2
    examples = (
        Example(inputs=((3, 4, 2),)),
        Example({"size": [1, 3]}, inputs=((2, 2, 3),)),
        Example({"size": [2, 3], "interpolation": "bilinear"}, inputs=((3, 4, 2),)),
        Example({"interpolation": "bicubic"}, inputs=((5, 4, 2),)),
        Example({"interpolation": "lanczos3", "size": 3}, inputs=((4, 7, 1),)),
        Example({"interpolation": "lanczos5"}, inputs=((3, 8, 2),)),
        Example({"interpolation": "bilinear", "data_format": "channels_first"}, inputs=((2, 3, 4),)),
    )

    size: Size2 = (2, 2)
    """Factors of height and width, or one for both."""
    interpolation: Kernel = "nearest"
    """How the places between are filled."""

    def _factors(self) -> tuple[int, ...]:
        return self.size

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        if self.interpolation == "nearest":
            return super()._output(context, w, x)
        (height, width, _), (down, across) = x.shape, self.size
        return resized(x, (height * down, width * across), self.interpolation)


class UpSampling3D(_UpSampling, _Channels):
    """Volumes of `size` times as many planes, rows and columns (D, H, W, C), each place repeated."""

    axes = 3
    examples = (
        Example(inputs=((2, 2, 3, 2),)),
        Example({"size": [1, 3, 2]}, inputs=((2, 1, 2, 3),)),
        Example({"data_format": "channels_first"}, inputs=((2, 2, 3, 1),)),
    )

    size: Size3 = (2, 2, 2)
    """Factors of depth, height and width, or one for all."""

    def _factors(self) -> tuple[int, ...]:
        return self.size
