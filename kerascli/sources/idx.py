"""The IDX format of the MNIST files: two zero bytes, a type, the number of axes, their lengths, then the values."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, FilePath
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import InputInfo, TargetInfo, digest_of_files
from kerascli.sources.rows import served_dtype

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_INFLATION = 1100


class Idx(_ArraySource):
    """Images and labels in the MNIST file format, plain or gzip; images come as (height, width, 1)."""

    examples = (Example({"images": "train-images-idx3-ubyte.gz", "labels": "train-labels-idx1-ubyte.gz"}),)

    images: FilePath
    """File of the training images."""
    labels: FilePath
    """File of the training labels."""
    test_images: FilePath | None = None
    """File of the test images."""
    test_labels: FilePath | None = None
    """File of the test labels."""

    @model_validator(mode="after")
    def _in_pairs(self) -> Self:
        if (self.test_images is None) != (self.test_labels is None):
            raise PydanticCustomError("idx_pair", "`test_images` and `test_labels` go together", {})
        if self.test_images and self.test_split:
            raise PydanticCustomError("dataset_split", "`test_split` and `test_images` exclude each other", {})
        return self

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        files = self._files(base)
        shapes, rows = {}, {}
        for split, (images, labels) in files.items():
            (shape, dtype), (label_shape, _) = read_header(images), read_header(labels)
            if len(shape) < 2 or len(label_shape) != 1 or shape[0] != label_shape[0]:
                raise Failure(
                    Problem("E403", f"images of shape {shape} do not go with labels of shape {label_shape}", images)
                )
            shapes[split] = (*shape[1:], 1) if len(shape) == 3 else shape[1:]
            rows[split] = shape[0]
            if shapes[split] != shapes["train"]:
                raise Failure(
                    Problem("E403", f"test images are {shapes[split]}, training images {shapes['train']}", images)
                )
        labels_read = read_idx(files["train"][1])
        whole = labels_read.dtype.kind in "iu" and labels_read.size > 0 and labels_read.min() >= 0
        target = TargetInfo((), "int32", int(labels_read.max()) + 1) if whole else TargetInfo((), "float32")
        return {"x": InputInfo(shapes["train"], served_dtype(dtype) or "float32")}, {"y": target}, rows

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        parts = {}
        for split, (images, labels) in self._files(base).items():
            pixels = read_idx(images)
            parts[split] = Part({"x": pixels[..., None] if pixels.ndim == 3 else pixels}, {"y": read_idx(labels)})
        return parts

    def fingerprint(self, base: Path, seed: int) -> str:
        return digest_of_files([path for pair in self._files(base).values() for path in pair])

    def _files(self, base: Path) -> dict[str, tuple[Path, Path]]:
        files = {"train": (base / self.images, base / self.labels)}
        if self.test_images and self.test_labels:
            files["test"] = (base / self.test_images, base / self.test_labels)
        return files


def read_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype, without reading the values."""
    return _read(path, values=False)[:2]


def read_idx(path: Path) -> Array:
    """The whole array; never more bytes than the header says are read."""
    shape, dtype, data = _read(path, values=True)
    array: Array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read(path: Path, values: bool) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            size = path.stat().st_size * (_MOST_INFLATION if packed else 1)
            return _parse(gzip.GzipFile(fileobj=file) if packed else file, path, size, values)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from None
    except OSError as error:
        raise cannot_read(path, error) from None


def _parse(
    stream: IO[bytes] | gzip.GzipFile, path: Path, most: int, values: bool
) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 1 <= start[3] <= 8:
        raise _damaged(path, "it does not begin as IDX files do")
    lengths = stream.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise _damaged(path, "it ends within its header")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    dtype = np.dtype(_TYPES[start[2]])
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > most:
        raise _damaged(path, f"its header says {wanted:,} bytes of values, more than it can hold")
    if not values:
        return shape, dtype, b""
    data = stream.read(wanted + 1)
    if len(data) != wanted:
        raise _damaged(
            path,
            f"its header says {wanted:,} bytes of values, there are "
            + (f"{len(data):,}" if len(data) < wanted else "more"),
        )
    return shape, dtype, data


def _damaged(path: Path, why: str) -> Failure:
    return Failure(
        Problem(
            "E402",
            f"`{path}` is damaged or no IDX file: {why}",
            path,
            help="images and labels are in files such as train-images-idx3-ubyte.gz",
        )
    )
