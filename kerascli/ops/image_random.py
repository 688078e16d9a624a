"""The random numbers of image augmentation: uniform ones, a few for each image or for the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.elementwise import greater
from kerascli.ops.ir import Array, Call, Op, Scope, Shape, Site, Trace, Type, Value
from kerascli.ops.random import Noise, _Random, mixed


class Uniform(_Random):
    """Numbers spread evenly from `low` up to `high`, in steps of 2⁻²⁴ of the range."""

    low: float = 0.0
    high: float = 1.0

    def words(self) -> int:
        return prod(self.shape)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return self.word_scratch(rows)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, t = site.scratch
        flat = out.reshape(x.shape)
        return [
            *self.word_calls(site, x, t),
            partial(np.right_shift, x, np.asarray(8, np.uint32), x),
            partial(np.copyto, flat, x, casting="unsafe"),
            partial(np.multiply, flat, np.asarray((self.high - self.low) * 2.0**-24, out.dtype), flat),
            partial(np.add, flat, np.asarray(self.low, out.dtype), flat),
        ]


class WholeUniform(Uniform):
    """Whole numbers from `low` up to, and without, `high`, each as likely as the others."""

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        flat = out.reshape(site.scratch[0].shape)
        last = np.asarray(self.high - 1, out.dtype)
        return [
            *super().bind(site, out),
            partial(np.floor, flat, flat),
            partial(np.minimum, flat, last, out=flat),  # rounding may have made the upper end of it
        ]


class MixingWeights(Op):
    """AugMix's numbers of a step: `chains` weights that add up to 1 (Dirichlet), then the share of the image (beta)."""

    chains: int
    alpha: float
    stream: int
    seed: int | None

    def infer(self) -> Type:
        return Type((self.chains + 1,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        base = mixed(site.seed if self.seed is None else self.seed, self.stream, self.seed is not None)
        return [partial(self._draw, base, site, out)]

    def _draw(self, base: int, site: Site, out: Array) -> None:
        assert site.row is not None
        draws = np.random.Generator(np.random.Philox(key=mixed(base, int(site.row[1]))))
        out[:-1] = draws.dirichlet((self.alpha,) * self.chains)
        out[-1] = draws.beta(self.alpha, self.alpha)


def uniform(trace: Trace, low: float, high: float, shape: Shape = (), seed: int | None = None) -> Value:
    """Numbers of that shape for every image."""
    op = Uniform(shape, trace.stream(), seed, times=trace.times, low=float(low), high=float(high))
    return trace.add(op, scope=Scope.BLOCK)


def uniform_of_batch(trace: Trace, low: float, high: float, shape: Shape = (), seed: int | None = None) -> Value:
    """Numbers of that shape that all images of the batch share."""
    op = Uniform(shape, trace.stream(), seed, True, low=float(low), high=float(high))
    return trace.add(op, scope=Scope.STEP)


def whole_numbers(trace: Trace, low: int, high: int, shape: Shape = (), seed: int | None = None) -> Value:
    """Whole numbers from `low` to `high` - 1 for every image."""
    op = WholeUniform(shape, trace.stream(), seed, times=trace.times, low=float(low), high=float(high))
    return trace.add(op, scope=Scope.BLOCK)


def whole_numbers_of_batch(trace: Trace, low: int, high: int, shape: Shape = (), seed: int | None = None) -> Value:
    """Whole numbers from `low` to `high` - 1 that all images of the batch share."""
    op = WholeUniform(shape, trace.stream(), seed, True, low=float(low), high=float(high))
    return trace.add(op, scope=Scope.STEP)


def normal(trace: Trace, shape: Shape, seed: int | None = None) -> Value:
    """Normal numbers of mean 0 and deviation 1 for every image."""
    return trace.add(Noise(shape, trace.stream(), seed, times=trace.times), scope=Scope.BLOCK)


def chance(trace: Trace, probability: tuple[float, float], seed: int | None = None) -> Value:
    """Whether each image is changed, (1, 1, 1): with a probability drawn evenly between two, as Keras draws it."""
    bound = uniform(trace, *probability, (1, 1, 1), seed)
    return greater(bound, uniform(trace, 0, 1, (1, 1, 1), seed))


def mixing_weights(trace: Trace, chains: int, alpha: float, seed: int | None = None) -> Value:
    """AugMix's chain weights and, last, the image's own share, for the whole batch."""
    return trace.add(MixingWeights(chains, float(alpha), trace.stream(), seed), scope=Scope.STEP)
