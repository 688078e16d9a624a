"""Images in a folder for each class, decoded while the network trains."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, Pair
from kerascli.errors import Failure, Problem
from kerascli.images import STARTS, SUFFIXES, ColorMode, ImageReading, Interpolation, require_pillow
from kerascli.ops.ir import Array
from kerascli.sources.base import Dataset, InputInfo
from kerascli.sources.folders import Files, Listing, _Folder, beginning, marks, share
from kerascli.sources.rows import Samples, Streamed

_NAMED = 5
"""Files that are named in a report of those left out."""


@dataclass(frozen=True)
class Pictures:
    """Reads images of a list of files."""

    files: Files
    reading: ImageReading

    def __call__(self, rows: Array) -> Array:
        found = np.empty((len(rows), *self.reading.shape), np.uint8)
        for place, row in zip(found, rows, strict=True):
            place[...] = self.reading.read(self.files[int(row)])
        return found


class ImageFolder(_Folder):
    """Images in a folder for each class: PNG, JPEG, BMP, GIF; (height, width, channels) uint8.

    Read by the package Pillow, in as many processes as there are threads, batch by batch while the network trains: they
    may be more than memory holds. What takes no more than 64 MiB is unpacked once.

    Sizes are made alike as by Keras's `image_dataset_from_directory` and rounded to whole numbers; JPEG's own rounding
    differs by a few levels between TensorFlow's decoder and Pillow's.
    """

    examples = (
        Example({"path": "photos", "image_size": [64, 64]}),
        Example({"path": {"train": "train", "test": "test"}, "image_size": 28, "color_mode": "grayscale"}),
    )
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    what: ClassVar[str] = "image"

    image_size: Pair = Field((256, 256))
    """Height and width that all images are brought to."""
    color_mode: ColorMode = "rgb"
    """Channels: `rgb` 3, `rgba` 4, `grayscale` 1."""
    interpolation: Interpolation = "bilinear"
    """How places between pixels are filled."""
    crop_to_aspect_ratio: bool = False
    """Whether the largest window with the proportions of `image_size` is cut out first: nothing is distorted."""
    pad_to_aspect_ratio: bool = False
    """Whether images get black bars where they have not the proportions of `image_size`: nothing is distorted."""
    on_error: Literal["fail", "skip"] = "fail"
    """What becomes of images that cannot be read: training fails, or all are tried first and these are left out."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if min(self.image_size) < 1:
            raise PydanticCustomError("image_size", "`image_size` must be positive")
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise PydanticCustomError("aspect", "can set `crop_to_aspect_ratio` or `pad_to_aspect_ratio`, not both")
        return self

    @property
    def reading(self) -> ImageReading:
        return ImageReading(
            size=self.image_size,
            color_mode=self.color_mode,
            interpolation=self.interpolation,
            crop_to_aspect_ratio=self.crop_to_aspect_ratio,
            pad_to_aspect_ratio=self.pad_to_aspect_ratio,
        )

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        data = super().load(base, seed, encoding, inputs, outputs, raw)
        return replace(data, preprocessing=data.preprocessing.model_copy(update={"images": self.reading}))

    def info(self) -> InputInfo:
        require_pillow()
        return InputInfo(self.reading.shape, "uint8")

    def samples(self, files: Files) -> Samples:
        read = Pictures(files, self.reading)
        return Streamed((len(files), *self.reading.shape), np.dtype(np.uint8), read, partial(marks, files), files.name)

    def sifted(self, listing: Listing, split: str) -> Listing:
        """Without images that cannot be read, or a problem for the first of them. All are unpacked where they may be
        skipped; else their first bytes are looked at, and those that are damaged further on are met in training."""
        files = listing.files
        if self.on_error == "fail":
            for number in range(len(files)):
                self._require_image(files, number)
            return listing
        with ThreadPoolExecutor() as pool:
            faults = list(pool.map(self._fault, (files[number] for number in range(len(files))), chunksize=64))
        bad = [number for number, fault in enumerate(faults) if fault]
        if not bad:
            return listing
        told = "; ".join(faults[number] for number in bad[:_NAMED]) + ("; …" if len(bad) > _NAMED else "")
        note = f"warning: {share(len(bad), len(files))} images of the {split} split are left out: {told}"
        good = np.setdiff1d(np.arange(len(files)), bad)
        if len(good) == 0:
            raise Failure(Problem("E406", f"no image of the {split} split can be read: {told}", files.folder))
        return replace(listing.only(good), notes=(*listing.notes, note))

    def _fault(self, path: Path) -> str:
        """What is wrong with an image; empty where nothing is."""
        try:
            self.reading.read(path)
        except Failure as failure:
            return failure.problems[0].message
        return ""

    def _require_image(self, files: Files, number: int) -> None:
        start, size = beginning(files[number], 16)
        if not start.startswith(STARTS):
            why = "is empty" if not size else "is no image: it begins as none of PNG, JPEG, BMP, GIF does"
            help = "remove it, or leave out what cannot be read: `dataset: {on_error: skip}`"
            raise Failure(Problem("E402", f"`{files[number]}` {why}", files[number], help=help))
