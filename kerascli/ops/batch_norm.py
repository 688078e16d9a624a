"""Batch statistics and normalisation by them: the ops that mix the samples of a batch.

Sums over the batch are kept in float64. With s₁ = Σx, s₂ = Σx², N values a channel: μ = s₁/N, σ² = s₂/N − μ²,
r = 1/√(σ² + ε), and y = a·x + c with a = γr, c = β − μa. Backward, with t₁ = Σdy, t₂ = Σdy·x:
dβ = t₁, dγ = r(t₂ − μt₁), dx = a·dy − (a·r·dγ/N)·x + a(r·μ·dγ − t₁)/N  (Ioffe and Szegedy, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Scope, Shape, Site, Type, Value, Variable


def wide(x: Array, width: int) -> Array:
    """x as rows of `width` numbers, whole channels side by side."""
    return x.reshape(-1, width)


class ChannelSums(Op):
    """[Σx, Σx·z] a channel, over the batch and all positions; z is x where only one input is given."""

    width: int
    contracts = True

    def infer(self, x: Value, z: Value | None = None) -> Type:
        return Type((2, x.shape[-1]), "float64")

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((2, self.width), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, z = (wide(i, self.width) for i in (inputs[0], inputs[-1]))
        (sums,) = site.scratch
        folded = sums.reshape(2, -1, out.shape[1])
        return [
            partial(np.dot, site.constant(1, (len(x),)), x, sums[0]),
            partial(np.einsum, "ij,ij->j", x, z, out=sums[1]),
            partial(np.add.reduce, folded, 1, np.float64, out),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 3 * rows * y.inputs[0].size


class Normalise(Op):
    """From the sums, γ and β: (a, c) tiled to `width`, as float; further: μ and σ² (float64), for the averages."""

    width: int
    positions: int
    epsilon: float

    def infer(self, sums: Value, gamma: Value, beta: Value, inverse_batch: Value) -> Type:
        return Type((2, self.width))

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        channels = inputs[0].shape[1]
        return (Type((2, channels), "float64"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        sums, gamma, beta, inverse_batch = inputs
        (moments,) = site.aux
        tiled = out.reshape(2, -1, sums.shape[1])

        def normalise() -> None:
            np.multiply(sums, float(inverse_batch) / self.positions, out=moments)
            mean, variance = moments
            variance -= mean * mean
            np.maximum(variance, 0, out=variance)
            a = gamma / np.sqrt(variance + self.epsilon)
            tiled[0] = a
            tiled[1] = beta - mean * a

        return [normalise]


class ScaleShift(Op):
    """y = a·x + c a channel. Its derivative is that of the whole normalisation."""

    positions: int
    epsilon: float

    def infer(self, x: Value, coefficients: Value, moments: Value, gamma: Value, beta: Value, n: Value) -> Type:
        return x.type

    in_place = (0,)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x, (a, c) = inputs[0], inputs[1]
        rows, y = wide(x, a.size), wide(out, a.size)
        return [partial(np.multiply, rows, a, y), partial(np.add, y, c, y)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, coefficients, moments, gamma, _, n = y.inputs
        trace, width = y.trace, coefficients.shape[1]
        sums = trace.add(ChannelSums(width), dy, x)
        back = trace.add(NormaliseGradient(width, self.positions, self.epsilon), sums, moments, gamma, n)
        dgamma, dbeta = back.further
        return trace.add(ScaleShiftGradient(), dy, x, back), None, None, dgamma, dbeta, None

    def flops(self, y: Value, rows: int) -> int:
        return 2 * super().flops(y, rows)


class NormaliseGradient(Op):
    """The three factors of dx = f₀·dy + f₁·x + f₂, tiled to `width`; further: dγ and dβ."""

    width: int
    positions: int
    epsilon: float

    def infer(self, sums: Value, moments: Value, gamma: Value, inverse_batch: Value) -> Type:
        return Type((3, self.width))

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        channels = inputs[0].shape[1]
        return Type((channels,)), Type((channels,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        sums, moments, gamma, inverse_batch = inputs
        dgamma, dbeta = site.aux
        tiled = out.reshape(3, -1, sums.shape[1])

        def back() -> None:
            share = float(inverse_batch) / self.positions
            (t1, t2), (mean, variance) = sums, moments
            r = 1 / np.sqrt(variance + self.epsilon)
            slope = r * (t2 - mean * t1)
            a = gamma * r
            tiled[0] = a
            tiled[1] = -a * r * slope * share
            tiled[2] = a * (r * mean * slope - t1) * share
            dgamma[...] = slope
            dbeta[...] = t1

        return [back]


class ScaleShiftGradient(Op):
    """dx = f₀·dy + f₁·x + f₂."""

    in_place = (0,)

    def infer(self, dy: Value, x: Value, factors: Value) -> Type:
        return dy.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((inputs[0].whole(rows), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        f0, f1, f2 = inputs[2]
        dy, x, dx, t = (wide(i, f0.size) for i in (inputs[0], inputs[1], out, site.scratch[0]))
        return [
            partial(np.multiply, x, f1, t),
            partial(np.add, t, f2, t),
            partial(np.multiply, dy, f0, dx),
            partial(np.add, dx, t, dx),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 4 * super().flops(y, rows)


def row_width(shape: Shape) -> int:
    """Length of the rows that a channels-last sample is worked on in: several positions, about 2,000 numbers."""
    channels = shape[-1]
    near = prod(shape[-2:-1])
    times = max((t for t in range(1, near + 1) if near % t == 0 and t * channels <= 2048), default=1)
    return times * channels


def batch_norm(x: Value, gamma: Value, beta: Value, epsilon: float) -> tuple[Value, Value]:
    """Normalise x over the batch and all positions, a channel at a time.

    Returns y and the float64 moments, (2, C): mean and (biased) variance of this batch.
    """
    trace, width, positions = x.trace, row_width(x.shape), prod(x.shape[:-1])
    inverse_batch = trace.add(Variable("inverse_batch"), scope=Scope.WEIGHT)
    sums = trace.add(ChannelSums(width), x)
    coefficients = trace.add(Normalise(width, positions, epsilon), sums, gamma, beta, inverse_batch)
    (moments,) = coefficients.further
    y = trace.add(ScaleShift(positions, epsilon), x, coefficients, moments, gamma, beta, inverse_batch)
    return y, moments
