"""Batches of a split for the engine: rows of arrays in memory, or rows that readers fetch while the engine computes.

What is streamed passes through a ring of *slots* in shared memory, each the size of a batch. Readers fill the slots in
the order of the batches, so a streamed training sees the same numbers in the same order as one in memory, wherever it
begins; and memory does not grow with the data.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerascli.bounds import require_classes, require_ids
from kerascli.engine.memory import SharedMemory
from kerascli.engine.readers import Readers
from kerascli.engine.session import Session
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.sources.base import Split
from kerascli.sources.rows import Samples, Streamed

KEPT = 1 << 26
"""Bytes of streamed samples up to which they are read once and kept: small images need not be unpacked again."""
AHEAD = 1 << 28
"""Bytes that the slots of a ring should not exceed; there are two at least."""
MOST_SERVED = 1 << 29
"""Bytes of what layers on the host, such as TextVectorization, may make of a split in memory before it is made a batch
at a time instead."""
Order = Callable[[int], Array | None]
"""The rows of each batch by its number; None behind the last."""


@dataclass(frozen=True)
class Batch:
    """Where the engine finds a batch, and what metrics compare its outputs with."""

    index: Array
    """Its rows in the engine's feed."""
    truths: Mapping[str, Array]
    """The targets as the data have them; valid until the next batch is asked for."""
    weights: Array | None


class Feed(Protocol):
    number: int
    """By which the engine knows the arrays."""
    waited: float
    """Seconds that batches were waited for."""

    def batch(self, number: int) -> Batch:
        """A batch. Those that follow one another are read ahead; any other is where reading begins anew."""


def feed(session: Session, model: Model, split: Split, weights: Mapping[str, Array], batch: int, order: Order) -> Feed:
    """Feed a split to the engine in batches of at most so many samples."""
    streamed = any(isinstance(samples, Streamed) for samples in (*split.inputs.values(), *split.targets.values()))
    if streamed or _made(model, len(split)) > MOST_SERVED:
        return Staged(session, model, split, weights, batch, order)
    return Held(session, model, split, weights, order)


def _made(model: Model, samples: int) -> int:
    """Bytes that the host makes of so many samples; 0 where the engine reads them as they are."""
    graph = model.graph.computed
    if graph is model.graph:
        return 0
    return samples * sum(4 * math.prod(node.shape) for node in graph.nodes if node.name in graph.inputs)


class Held:
    """A split in memory, which the workers share."""

    def __init__(
        self, session: Session, model: Model, split: Split, weights: Mapping[str, Array], order: Order
    ) -> None:
        self._truths = {name: y[:] for name, y in split.targets.items()}
        self._weights, self._order, self.waited = weights, order, 0.0
        served = model.graph.served({name: x[:] for name, x in split.inputs.items()})
        require_ids(model.graph.computed, served)
        require_classes(model, self._truths)
        arrays = {f"x:{name}": np.ascontiguousarray(array) for name, array in served.items()}
        arrays |= {f"y:{name}": as_target(array, model, name) for name, array in self._truths.items()}
        self.number = session.add_feed(arrays | {f"w:{name}": array for name, array in weights.items()})

    def batch(self, number: int) -> Batch:
        rows = self._order(number)
        assert rows is not None
        truths = {name: y[rows] for name, y in self._truths.items()}
        return Batch(rows, truths, next((w[rows] for w in self._weights.values()), None))


class Staged:
    """A split that is streamed."""

    def __init__(
        self, session: Session, model: Model, split: Split, weights: Mapping[str, Array], batch: int, order: Order
    ) -> None:
        self._session, self._model, self._split, self._weights = session, model, split, weights
        self._batch, self._order, self.waited = batch, order, 0.0
        self._inputs = {name: kept(samples, session.memory) for name, samples in split.inputs.items()}
        graph = model.graph.computed
        nodes = [node for node in graph.nodes if node.name in graph.inputs]
        kinds = {f"x:{n.name}": (n.shape, "float32" if n.dtype == "float" else n.dtype) for n in nodes}
        targets = model.targets.items()
        kinds |= {f"y:{n}": (t.shape, "float32" if t.dtype == "float" else t.dtype) for n, t in targets}
        kinds |= {f"w:{name}": ((), "float32") for name in weights}
        size = batch * sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in kinds.values())
        self._slots = max(2, min(session.workers + 2, AHEAD // max(size, 1)))
        zeros = session.memory.zeros
        self._stage = {name: zeros((self._slots * batch, *shape), kind) for name, (shape, kind) in kinds.items()}
        self._rows = zeros((self._slots, batch), np.int64)
        self.number = session.add_feed(self._stage)
        self._task = session.add_task(self._fill)
        self._readers: Readers | None = None
        self._counts = [0] * self._slots
        self._asked: deque[tuple[int, int]] = deque()
        """The batches that readers have been asked for: their numbers, and what to wait for."""

    def batch(self, number: int) -> Batch:
        began = time.perf_counter()
        readers = self._session.readers
        if self._readers is not readers or not self._asked or self._asked[0][0] != number:
            self._begin(readers)
        following = self._asked[-1][0] + 1 if self._asked else number
        while following < number + self._slots and self._ask(readers, following):
            following += 1
        readers.wait(self._asked.popleft()[1])
        self.waited += time.perf_counter() - began
        slot, count = number % self._slots, self._counts[number % self._slots]
        index = np.arange(slot * self._batch, slot * self._batch + count)
        rows, truths = self._rows[slot, :count], {}
        for name, y in self._split.targets.items():
            staged = self._stage[f"y:{name}"][index[0] : index[-1] + 1]
            truths[name] = staged.reshape(count, *y.shape[1:]) if isinstance(y, Streamed) else y[rows]
        return Batch(index, truths, next((w[rows] for w in self._weights.values()), None))

    def _begin(self, readers: Readers) -> None:
        """Begin anew; what is being read is of no use any more."""
        if self._readers is readers:
            for _, asked in self._asked:
                readers.wait(asked)
        self._readers = readers
        self._asked.clear()

    def _ask(self, readers: Readers, number: int) -> bool:
        rows = self._order(number)
        if rows is None:
            return False
        slot = number % self._slots
        self._rows[slot, : len(rows)] = rows
        self._counts[slot] = len(rows)
        self._asked.append((number, readers.ask(number % readers.size, self._task, slot, len(rows))))
        return True

    def _fill(self, slot: int, count: int) -> None:
        """Put the samples of a slot into their places: what a reader does."""
        model, rows = self._model, self._rows[slot, :count].copy()
        served = model.graph.served({name: x[rows] for name, x in self._inputs.items()})
        require_ids(model.graph.computed, served, rows)
        truths = {name: y[rows] for name, y in self._split.targets.items()}
        require_classes(model, truths, rows)
        found = {f"x:{name}": array for name, array in served.items()}
        found |= {f"y:{name}": as_target(array, model, name) for name, array in truths.items()}
        found |= {f"w:{name}": array[rows] for name, array in self._weights.items()}
        first = slot * self._batch
        for name, array in self._stage.items():
            np.copyto(array[first : first + count], found[name], casting="same_kind")


class _Kept:
    """Samples that are read the first time they are wanted, by whichever reader, and known to all from then on."""

    def __init__(self, samples: Streamed, memory: SharedMemory) -> None:
        self._samples = samples
        self._values = memory.zeros(samples.shape, samples.dtype)
        self._known = memory.zeros((len(samples),), np.bool_)

    def __getitem__(self, rows: Array) -> Array:
        missing = rows[~self._known[rows]]
        if len(missing):
            self._values[missing] = self._samples[missing]
            self._known[missing] = True
        return self._values[rows]


def kept(samples: Samples, memory: SharedMemory) -> Samples | _Kept:
    """Streamed numbers that take little room, kept once they are read; all else as it is."""
    small = math.prod(samples.shape) * samples.dtype.itemsize <= KEPT
    if isinstance(samples, Streamed) and small and samples.dtype.kind in "biuf":
        return _Kept(samples, memory)
    return samples


def as_target(array: Array, model: Model, name: str) -> Array:
    """Targets in the dtype and shape of the program: (n,) numbers stand for (n, 1)."""
    target = model.targets[name]
    kind = np.float32 if target.dtype == "float" else np.dtype(target.dtype)
    return np.ascontiguousarray(array, kind).reshape(len(array), *target.shape)
