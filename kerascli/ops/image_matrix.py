"""Where images are read, given by a matrix for each: shifts, turns, zooms and perspective.

Legend: n images, H W height and width of the input, P Q those of the output. A *coordinate* is a place
along one axis of the input, in pixels from the centre of the first, for every pixel of the output: (P, Q), or (P, 1)
and (1, Q) where all columns or all rows read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.elementwise import add
from kerascli.ops.image import resample
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value, constant
from kerascli.ops.linear import matmul


class Coordinate(Op):
    """Where each pixel reads along one axis: (m₀·x + m₁·y + m₂) / (m₆·x + m₇·y + 1) of a sample's matrix m.

    The horizontal axis uses m₀…m₂, the vertical one m₃…m₅; a matrix of six numbers has no division. `straight`: a
    coordinate depends on its own axis alone.
    """

    height: int
    width: int
    vertical: bool
    straight: bool = False

    def infer(self, matrix: Value) -> Type:
        if not self.straight:
            return Type((self.height, self.width))
        return Type((self.height, 1) if self.vertical else (1, self.width))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        divides = inputs[0].shape[0] == 8
        parts = (((rows, 1, self.width), "float"), ((rows, self.height, 1), "float"))
        return (*parts, ((rows, self.height, self.width), "float")) if divides else parts

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        m = inputs[0].T[:, :, None, None]
        along_x, along_y, *whole = site.scratch
        x, y = np.arange(self.width, dtype=out.dtype), np.arange(self.height, dtype=out.dtype)[:, None]
        a, b, c = m[3:6] if self.vertical else m[:3]
        if self.straight:
            factor, places = (b, y) if self.vertical else (a, x)
            return [partial(np.multiply, factor, places, out), partial(np.add, out, c, out)]

        def plane(a: Array, b: Array, c: Array, target: Array) -> list[Call]:
            return [
                partial(np.multiply, a, x, along_x),
                partial(np.multiply, b, y, along_y),
                partial(np.add, along_y, c, along_y),
                partial(np.add, along_x, along_y, target),
            ]

        calls = plane(a, b, c, out)
        if whole:
            calls += [*plane(m[6], m[7], np.ones((), out.dtype), whole[0]), partial(np.divide, out, whole[0], out)]
        return calls

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (None,)

    def flops(self, y: Value, rows: int) -> int:
        return 3 * super().flops(y, rows)


class CosSin(Op):
    """Cosine and sine of an angle in degrees: () → (2,)."""

    def infer(self, degrees: Value) -> Type:
        return Type((2,))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        cosine, sine = out[:, 0], out[:, 1]
        return [
            partial(np.multiply, inputs[0], np.asarray(np.pi / 180, out.dtype), sine),
            partial(np.cos, sine, cosine),
            partial(np.sin, sine, sine),
        ]


class PerspectiveMatrix(Op):
    """The matrix that moves three corners of every image, (H, W) → m₀…m₇, given how far: (4, 2) shares of the sides.

    Corners in order: the origin, which stays; along x; along y; the opposite one. With the moved ones at (a, 0),
    (0, b) and (c, d), and the old ones at W - 1 and H - 1: m₆ = (d / b - 1) / c, m₇ = (c / a - 1) / d,
    m₀ = (W - 1) · (m₆ + 1 / a), m₄ = (H - 1) · (m₇ + 1 / b), all others 0.
    """

    height: int
    width: int

    def infer(self, shares: Value) -> Type:
        return Type((8,))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return (((2, 2, rows), "float"),)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        moved = inputs[0]
        near, far = site.scratch[0]  # (a, b) and (c, d)
        last = np.array([[self.width - 1], [self.height - 1]], out.dtype)
        one = np.ones((), out.dtype)
        m, ends = out[:, 0:8:4].T, out[:, 6:8].T  # (m₀, m₄) and (m₆, m₇)
        return [
            partial(out.fill, 0),
            partial(np.add, _diagonal(moved), one, near),
            partial(np.multiply, near, last, near),
            partial(np.add, moved[:, 3].T, one, far),
            partial(np.multiply, far, last, far),
            partial(np.divide, far, near, ends[::-1]),
            partial(np.subtract, ends, one, ends),
            partial(np.divide, ends, far, ends),
            partial(np.divide, one, near, near),
            partial(np.add, near, ends, near),
            partial(np.multiply, near, last, m),
        ]


def _diagonal(moved: Array) -> Array:
    """(4, 2) shares: that of x of the second corner, that of y of the third, as (2, n)."""
    flat = moved.reshape(len(moved), 8)
    return flat[:, 2:6:3].T


def affine_matrix(parameters: Value, linear: Array, offset: Array) -> Value:
    """The numbers a₀…a₂, b₀…b₂ of every image's matrix, which are linear in its few parameters."""
    return add(matmul(parameters, constant(parameters.trace, linear)), constant(parameters.trace, offset))


def warp(
    image: Value,
    matrix: Value,
    interpolation: str,
    fill_mode: str,
    fill_value: float,
    straight: bool = False,
) -> Value:
    """Every output pixel (x, y) read at the place of the input that the matrix gives."""
    trace, (height, width, _) = image.trace, image.shape
    y, x = (trace.add(Coordinate(height, width, vertical, straight), matrix) for vertical in (True, False))
    return resample(image, y, x, interpolation, fill_mode, fill_value)
