"""Memory that lanes share. Anonymous mappings stay shared across a fork, so forked lanes see one another's results."""

from __future__ import annotations

import mmap
from math import prod

import numpy as np
import numpy.typing as npt

from kerascli.ops.ir import Array, Shape

ALIGNMENT = 64
CHUNK = 1 << 20


class SharedMemory:
    """Hands out zeroed arrays from shared mappings; they live as long as anything refers to them."""

    def __init__(self) -> None:
        self._chunk = np.empty(0, np.uint8)
        self.bytes = 0

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        kind = np.dtype(dtype)
        size = -(-prod(shape) * kind.itemsize // ALIGNMENT) * ALIGNMENT or ALIGNMENT
        if size > self._chunk.size:
            room = max(size, CHUNK)
            self._chunk = np.frombuffer(mmap.mmap(-1, room), np.uint8)
            self.bytes += room
        part, self._chunk = self._chunk[:size], self._chunk[size:]
        return part[: prod(shape) * kind.itemsize].view(kind).reshape(shape)
