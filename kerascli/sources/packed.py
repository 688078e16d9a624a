"""Features of many rows in little room, made wide a batch at a time.

A category is kept as the number of its slot, a text as the numbers of its words, one that stays as it is in UTF-8: what
the network reads of them may take a hundred times as much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerascli.columns import Column, Unseen
from kerascli.encoders import Category, Encoder
from kerascli.ops.ir import Array
from kerascli.sources.ragged import KEPT, Ragged
from kerascli.sources.rows import TEXT, Samples, Streamed
from kerascli.sources.targets import one_hot
from kerascli.text import TextEncoder


class Packed(Protocol):
    """One feature of all rows."""

    @property
    def width(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    @property
    def nbytes(self) -> int:
        """Room that it takes as it is kept."""
        ...

    def __len__(self) -> int: ...

    def rows(self, wanted: Array) -> Array:
        """Shapes: (n,) → (n, width)."""
        ...


@dataclass(frozen=True)
class Whole:
    """A feature that is kept as the network reads it."""

    values: Array

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, wanted: Array) -> Array:
        found: Array = self.values[wanted]
        return found


@dataclass(frozen=True)
class Slots:
    """Categories by the numbers of their slots, to be one-hot."""

    slots: Array
    width: int
    dtype = np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        return self.slots.nbytes

    def __len__(self) -> int:
        return len(self.slots)

    def rows(self, wanted: Array) -> Array:
        return one_hot(self.slots[wanted], self.width)


class Texts:
    """Texts, as the numbers of their words or, without an encoder, as they stand. They are added one after the other;
    `order` says which of them is the first row, the second, and so on."""

    def __init__(self, encoder: TextEncoder | None) -> None:
        self.encoder = encoder
        self.width = encoder.width if encoder else 1
        self.dtype = np.dtype(encoder.dtype) if encoder else np.dtype(TEXT)
        self._kept = Ragged(np.int32 if encoder else np.uint8)
        self._order: Array | None = None

    def add(self, texts: Sequence[str]) -> None:
        self._kept.add(self.encoder.numbers(texts) if self.encoder else [text.encode() for text in texts])

    def finish(self, order: Array | None = None) -> None:
        self._kept.finish()
        self._order = order

    @property
    def nbytes(self) -> int:
        return self._kept.nbytes

    def __len__(self) -> int:
        return len(self._kept)

    def rows(self, wanted: Array) -> Array:
        found = self._kept.take(wanted if self._order is None else self._order[wanted])
        if self.encoder:
            return self.encoder.placed(found)
        return np.array([[row.tobytes().decode()] for row in found], TEXT).reshape(-1, 1)


def pack(feature: Encoder, column: Column, unseen: Unseen) -> Packed:
    """A feature whose column is in memory."""
    if isinstance(feature, Category) and feature.encoding == "one_hot":
        return Slots(feature.slots(column, unseen), feature.width)
    return Whole(feature.encode(column, unseen))


def wide(parts: Sequence[Packed]) -> Samples:
    """Features side by side: an array where that takes little room, or a few times what they take as they are kept;
    else rows that become wide when they are wanted."""
    count, width, dtype = len(parts[0]), sum(part.width for part in parts), parts[0].dtype
    found = Streamed((count, width), dtype, lambda wanted: np.concatenate([p.rows(wanted) for p in parts], axis=1))
    packed = sum(part.nbytes for part in parts)
    size = packed if dtype == TEXT else count * width * dtype.itemsize
    few = size <= 4 * packed and not any(isinstance(part, Texts) for part in parts)
    return found[:] if size <= KEPT or few else found


def numbered(texts: Iterable[Sequence[str]], encoder: TextEncoder) -> Samples:
    """Texts, which come in blocks, as the numbers of their words."""
    packed = Texts(encoder)
    for block in texts:
        packed.add(block)
    packed.finish()
    return wide([packed])
