"""Random numbers that depend on nothing but where they are used: dropout's masks and Gaussian noise.

Number k of sample i at step t is a hash of (seed, stream, t, i, k), so neither threads nor the size of blocks change
it, and a resumed run goes on exactly. The hash is a 32-bit mixer of the counter with three rounds of multiply and
xor-shift and two keys; in NumPy it costs 0.9 ns for two 16-bit numbers, Philox in numpy.random 6.6 ns for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import pi, prod

import numpy as np

from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Array, Call, Op, Scope, Shape, Site, Trace, Type, Value

MIXERS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB))
LAST_SHIFT = 14
"""Shifts and factors of Wellons's `triple32`, a bijection of 32 bits with a bias of 0.02 % from perfect avalanche."""


def mixed(*numbers: int) -> int:
    """64 well-mixed bits of a few integers (the finaliser of splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & (1 << 64) - 1
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        state = (state ^ state >> 27) * 0x94D049BB133111EB & (1 << 64) - 1
        state ^= state >> 31
    return state


class _Random(Op):
    """Random numbers of one `shape` a sample, or one array for all samples where `shared`."""

    shape: Shape
    stream: int
    seed: int | None
    """The layer's own seed, in place of the run's."""
    shared: bool = False
    times: int = 1
    """Rows a sample, each with numbers of its own."""

    def infer(self) -> Type:
        return Type(self.shape, times=self.times)

    def words(self) -> int:
        """32-bit words a row needs."""
        raise NotImplementedError

    def word_scratch(self, rows: int) -> tuple[tuple[Shape, str], ...]:
        return (((1 if self.shared else rows, self.words()), "uint32"),) * 2

    def word_calls(self, site: Site, x: Array, t: Array) -> list[Call]:
        """Fill x with random bits."""
        assert site.row is not None
        offset, key = np.zeros((), np.uint32), np.zeros((), np.uint32)
        base = mixed(site.seed if self.seed is None else self.seed, self.stream, self.seed is not None)
        start = partial(_start, base, site.row, 0 if self.shared else self.words() * self.times, offset, key)
        calls: list[Call] = [start, partial(np.add, np.arange(x.size, dtype=np.uint32).reshape(x.shape), offset, x)]
        for place, (shift, factor) in enumerate(MIXERS):
            calls += _xor_shift(x, t, shift)
            calls.append(partial(np.multiply, x, np.asarray(factor, np.uint32), x))
            if place == 0:
                calls.append(partial(np.add, x, key, x))
        return [*calls, *_xor_shift(x, t, LAST_SHIFT)]


def _start(base: int, row: Array, words: int, offset: Array, key: Array) -> None:
    """The two keys of this step, and the counter of the block's first sample."""
    bits = mixed(base, int(row[1]))
    offset[...] = (bits + int(row[0]) * words) & 0xFFFFFFFF
    key[...] = bits >> 32


def _xor_shift(x: Array, t: Array, shift: int) -> list[Call]:
    return [partial(np.right_shift, x, np.asarray(shift, np.uint32), t), partial(np.bitwise_xor, x, t, x)]


class KeepMask(_Random):
    """0 with probability `rate` (in steps of 1/65,536), else 1 / (1 - rate)."""

    rate: float = 0.5

    def words(self) -> int:
        return (prod(self.shape) + 1) // 2

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return self.word_scratch(rows)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, t = site.scratch
        flat = out.reshape(len(x), -1)
        halves = x.view(np.uint16)[:, : flat.shape[1]]
        dropped = round(self.rate * 65536)
        scale = np.asarray(1 / (1 - self.rate) if self.rate < 1 else 0, out.dtype)
        return [
            *self.word_calls(site, x, t),
            partial(np.greater_equal, halves, np.asarray(min(dropped, 65535), np.uint16), flat),
            partial(np.multiply, flat, scale, flat),
        ]


class Noise(_Random):
    """Normal numbers of mean 0 and deviation 1 (Box and Muller: two from two uniform ones)."""

    def words(self) -> int:
        return (prod(self.shape) + 1) // 2 * 2

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        half = (rows, 2, self.words() // 2)
        return (*self.word_scratch(rows), (half, "float"), (half, "float"))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, t, u, z = site.scratch
        flat = out.reshape(len(x), -1)
        length, angle = u[:, 0], u[:, 1]
        number = partial(np.asarray, dtype=out.dtype)
        return [
            *self.word_calls(site, x, t),
            partial(np.right_shift, x, np.asarray(8, np.uint32), x),
            partial(np.copyto, u, x.reshape(u.shape), casting="unsafe"),
            partial(np.multiply, u, number(2.0**-24), u),
            partial(np.subtract, number(1), length, length),  # in (0, 1]
            partial(np.log, length, length),
            partial(np.multiply, length, number(-2), length),
            partial(np.sqrt, length, length),
            partial(np.multiply, angle, number(2 * pi), angle),
            partial(np.cos, angle, z[:, 0]),
            partial(np.sin, angle, z[:, 1]),
            partial(np.multiply, z, u[:, :1], z),
            partial(np.copyto, flat, z.reshape(len(x), -1)[:, : flat.shape[1]]),
        ]


def keep_mask(trace: Trace, shape: Shape, rate: float, seed: int | None = None, shared: bool = False) -> Value:
    """What samples of that shape are multiplied by when they drop out: 0, or 1 / (1 - rate)."""
    times = 1 if shared else trace.times
    return _add(trace, KeepMask(shape, trace.stream(), seed, shared, times, float(rate)))


def dropout(x: Value, rate: float, shape: Shape | None = None, seed: int | None = None, shared: bool = False) -> Value:
    """x with a part of its numbers set to zero and the others scaled up; `shape` broadcasts to that of x.

    With `shared` all samples of the batch lose the same numbers.
    """
    return multiply(x, keep_mask(x.trace, x.shape if shape is None else shape, rate, seed, shared))


def gaussian_noise(x: Value, stddev: float, seed: int | None = None) -> Value:
    """x plus normal noise of that deviation."""
    noise = _add(x.trace, Noise(x.shape, x.trace.stream(), seed, times=x.trace.times))
    return add(x, multiply(noise, stddev))


def _add(trace: Trace, op: _Random) -> Value:
    return trace.add(op, scope=Scope.STEP if op.shared else Scope.BLOCK)


def is_shared(op: Op) -> bool:
    """Whether an op draws numbers that all samples share."""
    return isinstance(op, _Random) and op.shared
