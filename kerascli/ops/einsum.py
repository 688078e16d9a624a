"""Einstein sums of a sample and a weight.

Letters of the weight are summed over (in the sample too), free (in the result only) or shared (in all three). Without
shared ones the sum is a matrix product between two changes of the order of axes.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops import reduction
from kerascli.ops.ir import Array, Call, Op, Site, Type, Value
from kerascli.ops.linear import matmul
from kerascli.ops.shape import batch_major, permute, reshape, transpose


def _spelt(*parts: str) -> str:
    """NumPy's equation, a part that ends in `*` having the batch axis in front."""
    batch = next(letter for letter in string.ascii_letters if letter not in "".join(parts))
    x, w, y = (batch + part.removesuffix("*") if part.endswith("*") else part for part in parts)
    return f"{x},{w}->{y}"


class Einsum(Op):
    """The sum that x, w and y spell, without the batch's letter."""

    x: str
    w: str
    y: str
    cheap = False

    def infer(self, x: Value, w: Value) -> Type:
        sizes = dict(zip(self.x + self.w, x.shape + w.shape, strict=True))
        return Type(tuple(sizes[letter] for letter in self.y))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.einsum, _spelt(self.x + "*", self.w, self.y + "*"), *inputs, out=out)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        x, w = y.inputs
        return y.trace.add(Einsum(self.y, self.w, self.x), dy, w), y.trace.add(
            EinsumWeight(self.x, self.y, self.w), x, dy
        )

    def flops(self, y: Value, rows: int) -> int:
        sizes = dict(zip(self.x + self.w, y.inputs[0].shape + y.inputs[1].shape, strict=True))
        return 2 * rows * prod(sizes.values())


class EinsumWeight(Op):
    """The same of two blocks, summed over the samples: the gradient of the weight."""

    x: str
    y: str
    w: str
    contracts = True

    def infer(self, x: Value, dy: Value) -> Type:
        sizes = dict(zip(self.x + self.y, x.shape + dy.shape, strict=True))
        return Type(tuple(sizes[letter] for letter in self.w))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.einsum, _spelt(self.x + "*", self.y + "*", self.w), *inputs, out=out)]


def einsum(x: Value, w: Value, equation: tuple[str, str, str]) -> Value:
    """The sum over the letters that the result lacks; `equation` names the axes of x, w and the result."""
    letters, weight, result = equation
    x = batch_major(x)
    alone = tuple(k for k, letter in enumerate(letters) if letter not in weight + result)
    if alone:
        x = reduction.sum(x, alone)
        letters = "".join(letter for letter in letters if letter in weight + result)
    if set(letters) & set(weight) & set(result):
        return x.trace.add(Einsum(letters, weight, result), x, w)
    kept, summed = _part(letters, result), _part(letters, weight)
    free = _part(weight, result)
    sizes = dict(zip(letters + weight, x.shape + w.shape, strict=True))
    matrix = transpose(w, tuple(weight.index(letter) for letter in summed + free))
    inner = prod(sizes[letter] for letter in summed)
    matrix = reshape(matrix, (inner, prod(sizes[letter] for letter in free)))
    rows = permute(x, tuple(letters.index(letter) for letter in kept + summed))
    y = matmul(reshape(rows, (*(sizes[letter] for letter in kept), inner)), matrix)
    y = reshape(y, tuple(sizes[letter] for letter in kept + free))
    return permute(y, tuple((kept + free).index(letter) for letter in result))


def _part(letters: str, others: str) -> str:
    return "".join(letter for letter in letters if letter in others)
