"""The numbers a model is made of: trained weights in one flat vector, gradients and optimizer slots likewise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from kerascli.engine.memory import SharedMemory
from kerascli.ops.ir import Array, Shape


@dataclass(frozen=True)
class Parameter:
    """One variable of the model."""

    path: str
    shape: Shape
    trained: bool = True
    dtype: str = "float32"


class Parameters:
    """Arrays of all parameters in shared memory, by path."""

    def __init__(
        self, parameters: Iterable[Parameter], slots: Mapping[str, float], memory: SharedMemory, dtype: str = "float32"
    ) -> None:
        self.all = list(parameters)
        trained = [p for p in self.all if p.trained]
        size = sum(prod(p.shape) for p in trained)
        self.flat = memory.zeros((size,), dtype)
        self.gradient = memory.zeros((size,), dtype)
        self.slots = {name: memory.zeros((size,), dtype) for name in slots}
        for name, first in slots.items():
            self.slots[name].fill(first)
        self.spans: dict[str, slice] = {}
        start = 0
        for p in trained:
            self.spans[p.path] = slice(start, start + prod(p.shape))
            start += prod(p.shape)
        self.shapes = {p.path: p.shape for p in self.all}
        self.weights = {
            p.path: self.view(self.flat, p.path)
            if p.trained
            else memory.zeros(p.shape, dtype if p.dtype == "float" else p.dtype)
            for p in self.all
        }

    def view(self, flat: Array, path: str) -> Array:
        """The part of a flat vector that belongs to one trained parameter, in its shape."""
        return flat[self.spans[path]].reshape(self.shapes[path])

    def views(self, flat: Array) -> dict[str, Array]:
        return {path: self.view(flat, path) for path in self.spans}

    def load(self, weights: Mapping[str, Array]) -> None:
        """Set parameters by path; shapes must fit."""
        for path, array in weights.items():
            if self.weights[path].shape != array.shape:
                raise ValueError(f"{path}: expected shape {self.weights[path].shape}, got {array.shape}")
            np.copyto(self.weights[path], array, casting="same_kind")

    def copy(self) -> dict[str, Array]:
        """A copy of every parameter."""
        return {path: array.copy() for path, array in self.weights.items()}
