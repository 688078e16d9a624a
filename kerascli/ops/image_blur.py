"""Weighted sums over the neighbours of every pixel, with weights that are drawn anew for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.depthwise import depthwise_conv
from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import reshape


class BellCurve(Op):
    """exp(-d² / 2σ²) at `size` places around the middle one, over their sum; σ is a number of the step.

    With `reach`, places further than ⌊reach · σ⌋ / 2 from the middle count nothing: a window that grows with σ.
    """

    size: int
    reach: float = 0.0

    def infer(self, sigma: Value) -> Type:
        return Type((self.size,))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((self.size,), "float"), ((1,), "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        sigma, (t, total) = inputs[0], site.scratch
        places = np.arange(self.size, dtype=out.dtype) - np.asarray((self.size - 1) / 2, out.dtype)
        calls: list[Call] = [
            partial(np.divide, places, sigma, out),
            partial(np.square, out, out),
            partial(np.multiply, out, np.asarray(-0.5, out.dtype), out),
            partial(np.exp, out, out),
        ]
        if self.reach:
            calls += [partial(self._window, t, sigma, np.abs(places)), partial(np.multiply, out, t, out)]
        return [
            *calls,
            partial(np.add.reduce, out, out=total[0, ...]),
            partial(np.divide, out, total, out),
        ]

    def _window(self, window: Array, sigma: Array, distances: Array) -> None:
        np.less_equal(distances, (int(self.reach * sigma) | 1) // 2, out=window)


def bell_curve(sigma: Value, size: int, reach: float = 0.0) -> Value:
    """Weights of a normal distribution over `size` places: () → (size,)."""
    return sigma.trace.add(BellCurve(size, reach), sigma)


def blur(x: Value, down: Value, across: Value) -> Value:
    """Every channel's weighted sums over columns of |down| and rows of |across| pixels, zeros beyond the edges."""
    (height,), (width,), channels = down.shape, across.shape, x.shape[-1]
    kernel = multiply(reshape(down, (height, 1)), reshape(across, (1, width)))
    wide = broadcast_to(reshape(kernel, (height, width, 1, 1)), (height, width, channels, 1))
    return depthwise_conv(x, wide, padding="same")
