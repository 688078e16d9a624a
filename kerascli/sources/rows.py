"""Samples as a split holds them: an array in memory, or rows that stay in their files until a batch wants them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array

Shape = tuple[int, ...]
TEXT = np.dtypes.StringDType()


@dataclass(frozen=True)
class Streamed:
    """Rows that are read whenever they are wanted, and never kept. Forked processes may read them too."""

    shape: Shape
    """(rows, ...), as an array's."""
    dtype: np.dtype[Any]
    read: Callable[[Array], Array]
    """The rows of these numbers, in this order; a number may occur twice."""
    marks: Callable[[Array], Array] | None = None
    """64 bits of each of these rows that tell it from others, where they are quicker found than the row is read."""
    name: Callable[[int], str] | None = None
    """The file that a row is, where each is one."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Array:
        if isinstance(rows, slice):
            chosen = range(*rows.indices(len(self)))
            return self.read(np.arange(chosen.start, max(chosen.stop, chosen.start), chosen.step))
        return self.read(rows)

    def part(self, rows: slice | Array) -> Streamed:
        """Some of the rows, as streamed as these."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        marks, name, chosen = self.marks, self.name, rows
        return replace(
            self,
            shape=(len(rows), *self.shape[1:]),
            read=lambda wanted: self.read(chosen[wanted]),
            marks=marks and (lambda wanted: marks(chosen[wanted])),
            name=name and (lambda row: name(int(chosen[row]))),
        )

    def made(self, make: Callable[[Array, Array], Array], sample: Shape, dtype: Any) -> Streamed:
        """What `make` gives for rows and their numbers."""
        return replace(
            self,
            shape=(len(self), *sample),
            dtype=np.dtype(dtype),
            read=lambda wanted: make(self.read(wanted), wanted),
        )


Samples = Array | Streamed


def served_dtype(stored: np.dtype[Any]) -> str | None:
    """What an input is served as: uint8 stays, other integers become int32, floats float32, texts `string`; None for
    anything else."""
    if stored == np.uint8:
        return "uint8"
    kinds = {"b": "int32", "i": "int32", "u": "int32", "f": "float32", "U": "string", "S": "string", "T": "string"}
    return kinds.get(stored.kind)


def decoded(values: Array) -> Array:
    """Texts of any length; bytes are UTF-8."""
    if values.dtype.kind != "S":
        return values
    try:
        found: Array = np.strings.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        message = f"a text is not UTF-8: {bytes(error.object[:40])!r}"
        raise Failure(Problem("E402", message, help="store str arrays")) from None
    return found


def served(values: Array) -> Array:
    """The array in the dtype that it is served in; integers that int32 cannot hold are an error."""
    dtype = served_dtype(values.dtype)
    if dtype == "string":
        return decoded(values)
    if dtype == "int32" and values.dtype.itemsize >= 4 and values.size:
        low, high = values.min(), values.max()
        if low < -(2**31) or high >= 2**31:
            raise Failure(Problem("E403", f"integers from {low} to {high} do not fit 32 bits", help="store floats"))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and that is reported
        return np.ascontiguousarray(values, dtype)


def require_finite(arrays: Mapping[str, Samples], where: str, first: int = 0, numbers: Array | None = None) -> None:
    """Raises E404 that names the first NaN or infinity of each array in memory.

    `first` is the number of the first sample; or `numbers` are those of all.
    """
    problems = []
    for name, values in arrays.items():
        if isinstance(values, Streamed) or values.dtype.kind != "f":
            continue
        rows = max(1, (1 << 20) // max(1, math.prod(values.shape[1:])))
        for start in range(0, len(values), rows):
            wrong = ~np.isfinite(values[start : start + rows])
            if wrong.any():
                place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
                at = [start + int(place[0]), *(int(index) for index in place[1:])]
                value = values[tuple(at)]
                at[0] = at[0] + first if numbers is None else int(numbers[at[0]])
                problems.append(
                    Problem(
                        "E404",
                        f"`{name}` of {where} has {value} at {at}",
                        help="mend the data, or allow it: `dataset: {allow_nan: true}`",
                    )
                )
                break
    if problems:
        raise Failure(problems)
