"""The image sets that come with the package; the tables are in tables.py, the licences in data/LICENSES.md."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar

import numpy as np

from kerascli.component import Example
from kerascli.ops.ir import Array
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import InputInfo, TargetInfo, digest_of_files

_MNIST_ROWS = {"train": 60_000, "test": 10_000}
_CHUNK = 5_000


@dataclass(frozen=True)
class About:
    """What `kerascli datasets` says of a set."""

    title: str
    rows: dict[str, int]
    file: str
    licence: str
    origin: str
    note: str = ""


def data_file(name: str) -> Path:
    """Where a file of kerascli/data is."""
    return Path(str(resources.files("kerascli.data") / name))


@dataclass(frozen=True)
class _Chunks:
    """Images stored in members of 5,000: only those that a slice touches are unpacked."""

    split: str

    def __len__(self) -> int:
        return _MNIST_ROWS[self.split]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(len(self))
        images = np.empty((max(stop - start, 0), 28, 28, 1), np.uint8)
        with np.load(data_file("mnist.npz"), allow_pickle=False) as archive:
            for number in range(start // _CHUNK, -(-stop // _CHUNK)):
                first = number * _CHUNK
                low, high = max(start, first), min(stop, first + _CHUNK)
                images[low - start : high - start, :, :, 0] = archive[f"x_{self.split}_{number:02d}"][
                    low - first : high - first
                ]
        return images


class Mnist(_ArraySource):
    """Handwritten digits, 28×28×1 uint8: 60,000 to train, 10,000 to test, in MNIST's own order."""

    examples = (Example({"limit": 100}),)
    own = ("train", "test")
    about: ClassVar[About] = About(
        "handwritten digits, 28×28 grey",
        _MNIST_ROWS,
        "mnist.npz",
        "CC BY-SA 3.0",
        "Yann LeCun and Corinna Cortes, MNIST",
    )

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        return {"x": InputInfo((28, 28, 1), "uint8")}, {"y": _DIGITS}, dict(_MNIST_ROWS)

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        with np.load(data_file("mnist.npz"), allow_pickle=False) as archive:
            return {split: Part({"x": _Chunks(split)}, {"y": archive[f"y_{split}"]}) for split in _MNIST_ROWS}

    def fingerprint(self, base: Path, seed: int) -> str:
        return digest_of_files([data_file("mnist.npz")])


class Digits(_ArraySource):
    """Handwritten digits, 8×8×1 uint8 with values 0 to 16: 1,797 in one piece, in UCI's own order."""

    examples = (Example({"validation_split": 0.2}),)
    about: ClassVar[About] = About(
        "handwritten digits, 8×8 grey (0 to 16)",
        {"train": 1797},
        "digits.npz",
        "CC BY 4.0",
        "Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits",
        "no test split of its own: `test_split: 0.2` cuts one",
    )

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        return {"x": InputInfo((8, 8, 1), "uint8")}, {"y": _DIGITS}, {"train": 1797}

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        with np.load(data_file("digits.npz"), allow_pickle=False) as archive:
            return {"train": Part({"x": archive["x"][..., None]}, {"y": archive["y"]})}

    def fingerprint(self, base: Path, seed: int) -> str:
        return digest_of_files([data_file("digits.npz")])


_DIGITS = TargetInfo((), "int32", 10, tuple("0123456789"))
