"""Sources of arrays that go by names: which array is what, and whether they fit together."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from kerascli.component import FilePath
from kerascli.errors import Failure, Problem
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import InputInfo, TargetInfo, did_you_mean
from kerascli.sources.rows import Samples, served_dtype

SUFFIXES = {"train": "train", "validation": "val", "test": "test"}
_MOST_LABELS = 1 << 27
"""Labels are read to count the classes where they take no more bytes than this."""


@dataclass(frozen=True)
class Header:
    """What an array of a file is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Archive(Protocol):
    """An open file of arrays."""

    @property
    def path(self) -> Path: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def header(self, name: str) -> Header:
        """Shape and dtype of an array; what could run a program, or is no array, is refused."""

    def read(self, name: str) -> Samples:
        """The array, in memory or streamed."""


def require(archive: Archive, names: Mapping[str, str]) -> None:
    """Raises a problem for each absent array; `names` says what each is wanted for."""
    have = ", ".join(f"`{name}`" for name in archive.names[:20]) or "nothing"
    problems = [
        Problem(
            "E403",
            f"`{archive.path.name}` has no array `{name}` for {use}",
            archive.path,
            label=did_you_mean(name, archive.names),
            help=f"it has {have}",
        )
        for name, use in names.items()
        if name not in archive.names
    ]
    if problems:
        raise Failure(problems)


class _NamedArrays(_ArraySource):
    """Arrays of one file, by name."""

    path: FilePath
    """The file."""
    inputs: dict[str, str] | None = Field(None, min_length=1)
    """For several inputs: input name → array name without its split's suffix: `left` reads `left_train`, `left_val`,
    `left_test`."""
    targets: dict[str, str] | None = Field(None, min_length=1)
    """For several targets: output name → array name without its split's suffix."""
    x_train: str = "x_train"
    """Name of the training inputs."""
    y_train: str = "y_train"
    """Name of the training targets."""
    x_val: str = "x_val"
    """Name of the validation inputs."""
    y_val: str = "y_val"
    """Name of the validation targets."""
    x_test: str = "x_test"
    """Name of the test inputs."""
    y_test: str = "y_test"
    """Name of the test targets."""
    sample_weight_train: str = "sample_weight_train"
    """Name of the training samples' weights."""
    sample_weight_val: str = "sample_weight_val"
    """Name of the validation samples' weights."""
    sample_weight_test: str = "sample_weight_test"
    """Name of the test samples' weights."""

    def open(self, path: Path) -> AbstractContextManager[Archive]:
        """The file; whatever is wrong with it becomes a problem."""
        raise NotImplementedError

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        with self.open(base / self.path) as archive:
            splits = self._splits(archive)
            rows = {split: _rows(archive, split, *names) for split, names in splits.items()}
            inputs, targets, _ = splits["train"]
            found = {name: _input(archive, array) for name, array in inputs.items()}
            aims = {name: _target(archive, array) for name, array in targets.items()}
            _require_same_shapes(archive, splits)
            return found, aims, rows

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        with self.open(base / self.path) as archive:
            return {
                split: Part(
                    {name: archive.read(array) for name, array in inputs.items()},
                    {name: archive.read(array) for name, array in targets.items()},
                    archive.read(weight)[:] if weight else None,
                )
                for split, (inputs, targets, weight) in self._splits(archive).items()
            }

    def _splits(self, archive: Archive) -> dict[str, tuple[dict[str, str], dict[str, str], str | None]]:
        """Of each split: the arrays of its inputs and targets by their names, and of its weights."""
        splits = {}
        for split, suffix in SUFFIXES.items():
            x, y = getattr(self, f"x_{suffix}"), getattr(self, f"y_{suffix}")
            inputs = {name: f"{stem}_{suffix}" for name, stem in self.inputs.items()} if self.inputs else {"x": x}
            targets = {name: f"{stem}_{suffix}" for name, stem in self.targets.items()} if self.targets else {"y": y}
            own = [*inputs.values(), *([] if self.targets else targets.values())]
            asked = split == "train" or x != f"x_{suffix}" or y != f"y_{suffix}"
            if not asked and not any(name in archive.names for name in own):
                continue
            require(
                archive,
                {
                    array: f"{what} of the {split} split"
                    for what, arrays in (("the inputs", inputs), ("the targets", targets))
                    for array in arrays.values()
                },
            )
            field = f"sample_weight_{suffix}"
            weight: str | None = getattr(self, field)
            if weight not in archive.names:
                if weight != field:
                    require(archive, {str(weight): f"the sample weights of the {split} split"})
                weight = None
            splits[split] = (inputs, targets, weight)
        return splits


def _rows(
    archive: Archive, split: str, inputs: Mapping[str, str], targets: Mapping[str, str], weight: str | None
) -> int:
    """The rows that all arrays of the split have."""
    names = [*inputs.values(), *targets.values(), *([weight] if weight else [])]
    shapes = {name: archive.header(name).shape for name in names}
    flat = [name for name, shape in shapes.items() if not shape]
    if flat:
        raise Failure(Problem("E403", f"array `{flat[0]}` of `{archive.path.name}` is a single value", archive.path))
    if len({shape[0] for shape in shapes.values()}) > 1:
        lengths = ", ".join(f"`{name}` {shape[0]:,}" for name, shape in shapes.items())
        raise Failure(Problem("E403", f"the arrays of the {split} split differ in length: {lengths}", archive.path))
    return shapes[names[0]][0]


def _require_same_shapes(
    archive: Archive, splits: Mapping[str, tuple[dict[str, str], dict[str, str], str | None]]
) -> None:
    """Samples of every split must look like those of train."""
    train = splits["train"]
    for inputs, targets, _ in splits.values():
        for mine, other in ((train[0], inputs), (train[1], targets)):
            for name, array in other.items():
                first, second = archive.header(mine[name]).shape[1:], archive.header(array).shape[1:]
                if first != second:
                    raise Failure(
                        Problem(
                            "E403", f"`{array}` has samples of shape {second}, `{mine[name]}` of {first}", archive.path
                        )
                    )


def _input(archive: Archive, name: str) -> InputInfo:
    header = archive.header(name)
    dtype = served_dtype(header.dtype)
    if dtype is None:
        raise Failure(
            Problem(
                "E402",
                f"array `{name}` of `{archive.path.name}` has dtype {header.dtype}",
                archive.path,
                help="inputs are integers, floats or texts",
            )
        )
    return InputInfo(header.shape[1:], dtype)


def _target(archive: Archive, name: str) -> TargetInfo:
    header = archive.header(name)
    shape, kind = header.shape[1:], header.dtype.kind
    if kind in "iubU" and math.prod(header.shape) * header.dtype.itemsize <= _MOST_LABELS and header.shape[0]:
        values = archive.read(name)[:]
        if kind == "U":
            names = tuple(str(text) for text in np.unique(values))
            return TargetInfo(shape, "int32", len(names), names)
        if kind == "b" or values.min() >= 0:
            return TargetInfo(shape, "int32", int(values.max()) + 1)
    if kind not in "iubf":
        raise Failure(
            Problem(
                "E402",
                f"array `{name}` of `{archive.path.name}` has dtype {header.dtype}",
                archive.path,
                help="targets are integers, floats or texts",
            )
        )
    return TargetInfo(shape, "float32")
