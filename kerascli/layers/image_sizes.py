"""Layers that make images larger or smaller, or cut a part out of them."""

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.layer import Context
from kerascli.layers.image_arguments import _Augmenting, _Image
from kerascli.ops.elementwise import cast
from kerascli.ops.image_move import along, crop_at, pick
from kerascli.ops.image_random import whole_numbers_of_batch
from kerascli.ops.ir import Array, Shape, Value
from kerascli.ops.shape import cut
from kerascli.ops.window import pad

Kernel = Literal["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"]


def resize_matrix(size: int, target: int, kind: str, antialias: bool = False) -> Array:
    """(size, target): what of each input place goes into each output place; the shares of an output add up to 1.

    The kernels: triangle (bilinear), Keys's cubic with a = -1/2 (bicubic), Lanczos's windows of radius 3 and 5. With
    `antialias` they are as much wider as the image gets smaller.
    """
    step = size / target
    places = (np.arange(target) + 0.5) * step - 0.5
    d = np.abs(places[None, :] - np.arange(size)[:, None]) / (max(step, 1) if antialias else 1)
    if kind == "bilinear":
        shares = np.maximum(0, 1 - d)
    elif kind == "bicubic":
        near = ((1.5 * d - 2.5) * d) * d + 1
        far = ((-0.5 * d + 2.5) * d - 4) * d + 2
        shares = np.where(d < 1, near, np.where(d < 2, far, 0))
    else:
        radius = int(kind.removeprefix("lanczos"))
        shares = np.where(d > radius, 0, np.sinc(d) * np.sinc(d / radius))
    return np.asarray(shares / shares.sum(0))


def resized(x: Value, size: tuple[int, int], kind: str = "bilinear", antialias: bool = False) -> Value:
    """Images (H, W, C) of another size."""
    for axis in (0, 1) if x.shape[1] * size[0] <= x.shape[0] * size[1] else (1, 0):  # first where more falls away
        before, after = x.shape[axis], size[axis]
        if before == after:
            continue
        if kind == "nearest":
            places = np.floor((np.arange(after, dtype=np.float32) + np.float32(0.5)) * before / after)
            x = pick(x, tuple(int(k) for k in places), axis)
        else:
            x = along(cast(x, "float"), resize_matrix(before, after, kind, antialias), axis)
    return x


def _largest_window(shape: Shape, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest window of an image that has the proportions of `size`."""
    (height, width, _), (down, across) = shape, size
    return max(min(height, int(width * down / across)), 1), max(min(width, int(height * across / down)), 1)


def _window(x: Value, top: int, left: int, height: int, width: int) -> Value:
    return cut(cut(x, top, min(top + height, x.shape[0]), 0), left, min(left + width, x.shape[1]), 1)


def fitted(x: Value, size: tuple[int, int], kind: str = "bilinear", antialias: bool = False) -> Value:
    """The largest window in the middle that has the right proportions, resized."""
    height, width = _largest_window(x.shape, size)
    middle = _window(x, (x.shape[0] - height) // 2, (x.shape[1] - width) // 2, height, width)
    return resized(middle, size, kind, antialias)


class _Sized(_Image):
    """A layer that gives all images one size."""

    height: int = Field(ge=1)
    """Rows of the output."""
    width: int = Field(ge=1)
    """Columns of the output."""

    def _size(self, shape: Shape) -> Shape:
        return self.height, self.width, shape[-1]


class Resizing(_Sized):
    """Images of another size: (H, W, C) → (height, width, C)."""

    examples = (
        Example({"height": 3, "width": 7}, inputs=((5, 4, 2),)),
        Example({"height": 7, "width": 2, "interpolation": "nearest"}, inputs=((5, 4, 3),)),
        Example({"height": 7, "width": 5, "interpolation": "nearest", "data_format": "channels_first"}, ((3, 5, 4),)),
        Example({"height": 4, "width": 9, "interpolation": "bicubic"}, inputs=((6, 5, 1),)),
        Example({"height": 3, "width": 4, "interpolation": "lanczos3", "antialias": True}, inputs=((7, 5, 1),)),
        Example({"height": 8, "width": 3, "interpolation": "lanczos5"}, inputs=((5, 7, 1),)),
        Example({"height": 2, "width": 3, "antialias": True}, inputs=((7, 8, 1),)),
        Example({"height": 3, "width": 3, "crop_to_aspect_ratio": True}, inputs=((5, 8, 2),)),
        Example({"height": 3, "width": 5, "pad_to_aspect_ratio": True, "fill_value": 0.7}, inputs=((6, 4, 2),)),
        Example({"height": 6, "width": 3, "pad_to_aspect_ratio": True, "interpolation": "nearest"}, ((3, 5, 1),)),
    )
    takes_integers = True

    interpolation: Kernel = "bilinear"
    """How places between pixels are filled."""
    crop_to_aspect_ratio: bool = False
    """Whether the largest window with the proportions of the output is cut out first, so that nothing is distorted."""
    pad_to_aspect_ratio: bool = False
    """Whether the image is padded to the proportions of the output first, so that nothing is distorted."""
    fill_mode: Literal["constant"] = "constant"
    """What padding is made of: one value, the only choice that Keras has."""
    fill_value: float = 0.0
    """The value of padding."""
    antialias: bool = False
    """Whether images that get smaller are smoothed, so that no fine pattern turns into a coarse one."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise PydanticCustomError("aspect", "can set `crop_to_aspect_ratio` or `pad_to_aspect_ratio`, not both")
        return self

    def infer_dtype(self, dtype: str) -> str:
        return dtype if self.interpolation == "nearest" and not self.pad_to_aspect_ratio else "float"

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        size = (self.height, self.width)
        x = cast(x, self.infer_dtype(x.dtype))
        if self.crop_to_aspect_ratio:
            return fitted(x, size, self.interpolation, self.antialias)
        if self.pad_to_aspect_ratio:
            x = self._padded(x)
        return resized(x, size, self.interpolation, self.antialias)

    def _padded(self, x: Value) -> Value:
        height, width, _ = x.shape
        above = (max(height, int(width * self.height / self.width)) - height) // 2
        beside = (max(width, int(height * self.width / self.height)) - width) // 2
        if above > 0:
            return pad(x, ((above, above), (0, 0), (0, 0)), self.fill_value)
        return pad(x, ((0, 0), (beside, beside), (0, 0)), self.fill_value)


class CenterCrop(_Sized):
    """The middle of images: (H, W, C) → (height, width, C); of images that are too small, the middle enlarged."""

    examples = (
        Example({"height": 3, "width": 2}, inputs=((6, 5, 2),)),
        Example({"height": 4, "width": 4}, inputs=((4, 4, 2),), dtype="uint8", high=256),
        Example({"height": 6, "width": 3}, inputs=((4, 5, 2),)),
    )
    takes_integers = True

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        height, width, _ = x.shape
        if height >= self.height and width >= self.width:
            top, left = (height - self.height) // 2, (width - self.width) // 2
            return cast(_window(x, top, left, self.height, self.width), "float")
        return fitted(cast(x, "float"), (self.height, self.width))


class RandomCrop(_Augmenting, _Sized):
    """A window at a random place, the same for all images of a batch: (H, W, C) → (height, width, C).

    In inference, the largest window in the middle that has the right proportions, resized; and so in training, but
    from where Keras begins it, if the images are not larger than the window. Departure from Keras 3.15: it documents
    this for inference, but passes images on with the size they had, which the layers after it cannot take.
    """

    examples = (
        Example({"height": 3, "width": 2, "seed": 1}, inputs=((6, 5, 2),)),
        Example({"height": 4, "width": 4, "seed": 2}, inputs=((4, 4, 2),)),
        Example({"height": 4, "width": 5, "seed": 3}, inputs=((6, 4, 1),)),
    )

    def _augment(self, x: Value) -> Value:
        (height, width, _), size = x.shape, (self.height, self.width)
        if height > self.height and width > self.width:
            row = whole_numbers_of_batch(x.trace, 0, height - self.height + 1, (), self.seed)
            column = whole_numbers_of_batch(x.trace, 0, width - self.width + 1, (), self.seed)
            return crop_at(x, row, column, size)
        down, across = _largest_window(x.shape, size)
        return resized(_window(x, (height - down) // 2, (width - across) // 2, *size), size)

    def _output(self, context: Context, w: Mapping[str, Value], x: Value) -> Value:
        return self._augment(x) if context.training else fitted(x, (self.height, self.width))
