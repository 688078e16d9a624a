"""Images from files: decoded by Pillow, the only door to it, and brought to one size as Keras does.

The bytes of a file decide its format, not its name. Of an animation the first picture is read; 16 bits become 8; a
camera's note that a photograph stands on its side is not followed, as in Keras.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
FORMATS = ("PNG", "JPEG", "BMP", "GIF")
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a")
"""What files of these formats begin with."""
MOST_PIXELS = 1 << 26
"""Larger images are refused before they are unpacked: a small file can claim more than memory holds."""
_MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
CHANNELS = {"rgb": 3, "rgba": 4, "grayscale": 1}
ColorMode = Literal["rgb", "rgba", "grayscale"]
Interpolation = Literal["bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5"]


class ImageReading(BaseModel):
    """How a file becomes (height, width, channels) uint8."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    size: tuple[int, int]
    """Height and width."""
    color_mode: ColorMode
    interpolation: Interpolation = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.size, CHANNELS[self.color_mode])

    def read(self, path: Path, data: bytes | None = None) -> Array:
        """An image; whatever is wrong with the file becomes a problem that names it. `data` are its bytes, if known."""
        return self.fitted(decoded(path, self.color_mode, data))

    def fitted(self, pixels: Array) -> Array:
        """(H, W, C) → (height, width, C), the middle of it or with black bars if its proportions are to be kept."""
        (height, width, _), (down, across) = pixels.shape, self.size
        if self.crop_to_aspect_ratio:
            tall = max(min(height, int(width * down / across)), 1)
            wide = max(min(width, int(height * across / down)), 1)
            top, left = (height - tall) // 2, (width - wide) // 2
            pixels = pixels[top : top + tall, left : left + wide]
        elif self.pad_to_aspect_ratio:
            ratio = max(width / across, height / down)
            tall, wide = max(int(height / ratio), 1), max(int(width / ratio), 1)
            top, left = int((down - height / ratio) / 2), int((across - width / ratio) / 2)
            inside = resized(pixels, (tall, wide), self.interpolation)
            pixels = np.zeros((down, across, pixels.shape[2]), np.uint8)
            pixels[top : top + tall, left : left + wide] = inside
        return resized(pixels, self.size, self.interpolation)


def require_pillow() -> None:
    """Raise E516 where Pillow is not installed."""
    if importlib.util.find_spec("PIL") is None:
        help = '`pip install "kerascli[images]"`'
        raise Failure(Problem("E516", "images are read by the package Pillow, which is not installed", help=help))


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before that is unpacked."""

    size: tuple[int, int]
    """Height and width."""
    format: str
    mode: str
    """How pixels are stored, as Pillow calls it."""


def header(path: Path) -> Header | None:
    """None where the file cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                return Header((image.height, image.width), image.format or "", image.mode)
    except Exception:  # whatever is wrong is said by who unpacks it
        return None


def decoded(path: Path, color_mode: ColorMode, data: bytes | None = None) -> Array:
    """The pixels of a file, or of its bytes: (H, W, C) uint8."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow would warn of is refused below, or harmless
            opened: IO[bytes] = path.open("rb") if data is None else io.BytesIO(data)
            with opened as file, Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    why = f"its {width:,} × {height:,} pixels are more than {MOST_PIXELS:,}"
                    raise _damaged(path, why, "make it smaller")
                return _pixels(image, _MODES[color_mode])
    except UnidentifiedImageError:
        raise _damaged(path, "it is none of PNG, JPEG, BMP, GIF", "") from None
    except Image.DecompressionBombError as error:
        raise _damaged(path, str(error), "make it smaller") from None
    except Failure:
        raise
    except OSError as error:
        if error.errno is not None:
            raise Failure(Problem("E401", f"cannot read `{path}`: {error.strerror or error}", path)) from None
        raise _damaged(path, str(error), "") from None
    except Exception as error:  # Pillow's decoders raise what they like where a file is damaged
        raise _damaged(path, f"{type(error).__name__}: {error}", "") from None


def _pixels(image: Image.Image, mode: str) -> Array:
    if image.mode.startswith("I"):  # 16 bits: Pillow would cut off what is above 255
        values = np.asarray(image)
        grey = np.ascontiguousarray(values >> 8 if values.max(initial=0) > 255 else values, np.uint8)
        from PIL import Image as pillow

        image = pillow.fromarray(grey)
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _damaged(path: Path, why: str, help: str) -> Failure:
    help = help or "mend or remove the file"
    return Failure(Problem("E402", f"`{path}` is no image that can be read: {why}", path, help=help))


def resized(pixels: Array, size: tuple[int, int], kind: Interpolation) -> Array:
    """(H, W, C) uint8 → (height, width, C) uint8: Keras's numbers, rounded."""
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    if kind == "nearest":
        rows, columns = (_nearest(before, after) for before, after in zip(pixels.shape, size, strict=False))
        return np.ascontiguousarray(pixels[rows][:, columns])
    values = pixels
    for axis in (0, 1):
        values = _along(values, size[axis], axis, kind)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _along(values: Array, size: int, axis: int, kind: Interpolation) -> Array:
    """One axis brought to another size."""
    if values.shape[axis] == size:
        return values
    places, shares = taps(values.shape[axis], size, kind)
    shape = [1, 1, 1]
    shape[axis] = size
    found = np.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), np.float32)
    for place, share in zip(places, shares, strict=True):
        found += np.take(values, place, axis) * share.reshape(shape)
    return found


@lru_cache(256)
def taps(size: int, target: int, kind: Interpolation) -> tuple[Array, Array]:
    """For each output place, the input places that it is made of and the share of each: two arrays (count, target)."""
    matrix = _matrix(size, target, kind)
    count = int((matrix != 0).sum(0).max())
    places = np.argsort(matrix == 0, axis=0, kind="stable")[:count]
    return places, np.take_along_axis(matrix, places, 0).astype(np.float32)


def _matrix(size: int, target: int, kind: Interpolation) -> Array:
    """(size, target): what of each input place goes into each output place."""
    if kind != "area":
        from kerascli.layers.image_sizes import resize_matrix  # every command imports this file, few resize

        return resize_matrix(size, target, kind)
    edges, first = np.arange(target + 1) * (size / target), np.arange(size)[:, None]
    covered = np.minimum(first + 1, edges[1:]) - np.maximum(first, edges[:-1])  # of an output place by an input place
    shares = np.maximum(covered, 0)
    return np.asarray(shares / shares.sum(0))


def _nearest(size: int, target: int) -> Any:
    return np.floor((np.arange(target, dtype=np.float32) + np.float32(0.5)) * size / target).astype(np.int64)
