"""Figures of arrays that come in blocks: each is seen once, and memory does not grow with the data."""

from __future__ import annotations

import math

import numpy as np

from kerascli.inspection.facts import BINS, Numbers, Texts, Tokens
from kerascli.ops.ir import Array

SAMPLED = 1 << 14
"""Values that a histogram is made of, where there are more."""
MOST_CLASSES = 1 << 20
"""Values that a histogram is made of, where there are more."""


class Figures:
    """Moments, extremes and a sample of all values."""

    def __init__(self, total: int) -> None:
        self._rng = np.random.default_rng(0)
        self._share = min(1.0, SAMPLED / max(total, 1))
        self._bytes = np.zeros(256, np.int64)
        self._sampled: list[Array] = []
        self._count = self._zeros = self._lost = 0
        self._low, self._high, self._mean, self._square = math.inf, -math.inf, 0.0, 0.0

    def add(self, values: Array) -> None:
        values = values.reshape(-1)
        if values.dtype == np.uint8:  # counting is exact, and quick
            self._bytes += np.bincount(values, minlength=256)
            return
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        self._lost += len(values) - len(finite)
        if len(finite):
            self._add(finite.astype(np.float64), len(finite))
        if self._share < 1 and len(finite):
            finite = finite[self._rng.integers(len(finite), size=math.ceil(self._share * len(finite)))]
        self._sampled.append(finite.astype(np.float64))

    def _add(self, values: Array, count: int) -> None:
        self._zeros += count - int(np.count_nonzero(values))
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        mean = float(values.mean())
        values -= mean
        apart, both = mean - self._mean, self._count + count
        with np.errstate(over="ignore"):
            square = float(values @ values)
        self._square += square + apart * apart * self._count * count / both
        self._mean += apart * count / both
        self._count = both

    def found(self) -> Numbers:
        if self._bytes.any():
            self._from_bytes()
        if not self._count:
            return Numbers(self._lost, None, None, None, None, 0.0, self._lost)
        bars = self._histogram()
        deviation = math.sqrt(self._square / self._count)
        lost, zeros = self._lost, self._zeros / self._count
        return Numbers(self._count + lost, self._low, self._high, self._mean, deviation, zeros, lost, bars)

    def _from_bytes(self) -> None:
        counts = self._bytes
        present = np.flatnonzero(counts)
        self._count, self._zeros = int(counts.sum()), int(counts[0])
        self._low, self._high = float(present[0]), float(present[-1])
        self._mean = float(counts @ np.arange(256) / self._count)
        self._square = float(counts @ (np.arange(256) - self._mean) ** 2)

    def _histogram(self) -> tuple[int, ...]:
        if self._low == self._high:
            return ()
        if self._bytes.any():
            values, weights = np.arange(256.0), self._bytes
            bars, _ = np.histogram(values, BINS, (self._low, self._high), weights=weights)
        else:
            with np.errstate(over="ignore"):
                width = self._high - self._low
            if not math.isfinite(width):
                return ()
            bars, _ = np.histogram(np.concatenate(self._sampled), BINS, (self._low, self._high))
        return tuple(int(n) for n in bars)


class Places:
    """The least and the largest value at each place of a sample."""

    def __init__(self) -> None:
        self._low: Array | None = None
        self._high: Array | None = None
        self.blank = 0
        """Samples whose places all have one value."""

    def add(self, block: Array) -> None:
        low, high = block.min(axis=0), block.max(axis=0)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)
        if math.prod(block.shape[1:]) > 1:
            rows = block.reshape(len(block), -1)
            self.blank += int((rows == rows[:, :1]).all(axis=1).sum())

    @property
    def constant(self) -> int:
        return 0 if self._low is None else int(np.count_nonzero(self._low == self._high))


class Ids:
    """Token ids and the lengths of their samples."""

    def __init__(self, samples: int, unknown: int | None) -> None:
        self._lengths = Figures(samples)
        self._unknown, self._met, self._samples, self._full, self._padding, self._count = unknown, 0, 0, 0, 0, 0
        self._low, self._high = 0, 0

    def add(self, block: Array) -> None:
        rows = block.reshape(len(block), -1)
        lengths = np.count_nonzero(rows, axis=1)
        self._lengths.add(lengths)
        self._samples += len(rows)
        self._count += rows.size
        self._padding += rows.size - int(lengths.sum())
        self._full += int((lengths == rows.shape[1]).sum())
        low, high = int(rows.min()), int(rows.max())
        self._low, self._high = min(self._low, low), max(self._high, high)
        if self._unknown is not None:
            self._met += int((rows == self._unknown).sum())

    def found(self) -> Tokens:
        words = max(1, self._count - self._padding)
        unknown = None if self._unknown is None else self._met / words
        padding, full = self._padding / max(1, self._count), self._full / max(1, self._samples)
        return Tokens(self._high, self._low, padding, unknown, self._lengths.found(), full)


class Words:
    """Lengths of texts."""

    def __init__(self, samples: int) -> None:
        self._words = Figures(samples)
        self._longest = self._empty = 0

    def add(self, block: Array) -> None:
        texts = [" ".join(row) for row in block.reshape(len(block), -1).tolist()]
        counts = np.array([len(text.split()) for text in texts], np.int64)
        self._words.add(counts)
        self._longest = max(self._longest, max(map(len, texts), default=0))
        self._empty += int((counts == 0).sum())

    def found(self) -> Texts:
        return Texts(self._words.found(), self._longest, self._empty)


class Labels:
    """How often each class occurs, and in how many stretches."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros(classes, np.int64)
        self.runs = 0
        self._last: int | None = None

    def add(self, ids: Array) -> None:
        """Class numbers; those below 0 are no classes, but what `ignore_class` leaves out."""
        ids = ids.reshape(-1)
        ids = ids[(ids >= 0) & (ids < MOST_CLASSES)]
        if not len(ids):
            return
        counts = np.bincount(ids, minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        self.runs += int(np.count_nonzero(ids[1:] != ids[:-1])) + int(ids[0] != self._last)
        self._last = int(ids[-1])


def figures_of(values: Array) -> Numbers:
    """Figures of values that are all there."""
    figures = Figures(values.size)
    figures.add(values)
    return figures.found()
