"""Pooling over (H, W, C) and (D, H, W, C). Windows over images that do not overlap read p·q planes; their maxima form
a binary tree.

The tree's inner maxima are kept for the gradient: at each node the sign bit of left − right says who gets it, so the
first of equal inputs wins, as in Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value, constant
from kerascli.ops.window import Windows, pad

Node = tuple[str, int]


def tree(leaves: int) -> list[tuple[Node, Node, Node]]:
    """(result, left, right) of every node, children first; the last result is ("y", 0)."""
    level: list[Node] = [("leaf", k) for k in range(leaves)]
    steps: list[tuple[Node, Node, Node]] = []
    inner = 0
    while len(level) > 1:
        above: list[Node] = []
        for left, right in zip(level[::2], level[1::2], strict=False):
            result: Node = ("y", 0) if len(level) == 2 else ("inner", inner)
            inner += len(level) > 2
            steps.append((result, left, right))
            above.append(result)
        level = above + level[len(above) * 2 :]
    return steps


def planes(x: Array, p: int, q: int) -> list[Array]:
    """The p·q inputs of every window, as planes."""
    if x.ndim == 6:
        every = [x[i::p, j::q] for i in range(p) for j in range(q)]
        return [plane[0, 0] for plane in every] if x.shape[:2] == (p, q) else every
    _, height, width, _ = x.shape
    return [x[:, i : height // p * p : p, j : width // q * q : q] for i in range(p) for j in range(q)]


class MaxPool(Op):
    """Maximum of every p×q window, windows side by side; x is (H, W, C) or phased.

    Of phases (p, q, ·, a, b, C) natural order results, of a multiple of p and q phases fewer of them.
    """

    pool: tuple[int, int]

    def infer(self, x: Value) -> Type:
        p, q = self.pool
        if len(x.shape) == 5:
            left = (x.shape[0] // p, x.shape[1] // q)
            return Type(x.shape[2:]) if left == (1, 1) else Type((*left, *x.shape[2:]), batch_axis=2)
        height, width, channels = x.shape
        return Type((height // p, width // q, channels))

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        p, q = self.pool
        return (self.infer(*inputs),) * max(p * q - 2, 0)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        leaves = planes(inputs[0], *self.pool)
        if len(leaves) == 1:
            return [partial(np.copyto, out, leaves[0])]
        arrays = {"leaf": leaves, "inner": site.aux, "y": [out]}
        return [
            partial(np.maximum, arrays[a[0]][a[1]], arrays[b[0]][b[1]], out=arrays[o[0]][o[1]])
            for o, a, b in tree(len(leaves))
        ]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(MaxPoolGradient(self.pool), dy, y.inputs[0], *y.further),)

    def flops(self, y: Value, rows: int) -> int:
        return super().flops(y, rows) * self.pool[0] * self.pool[1]


class MaxPoolGradient(Op):
    """Hands each dy down the tree to the input that was the maximum."""

    pool: tuple[int, int]
    in_place = (1,)
    cheap = False

    def infer(self, dy: Value, x: Value, *inner: Value) -> Type:
        return x.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        return ((inputs[0].whole(rows), "float"),) * (len(inputs) - 1)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, x, *inner = inputs
        p, q = self.pool
        bits = np.dtype(f"i{x.dtype.itemsize}")
        shift = site.constant(x.dtype.itemsize * 8 - 1, (), bits)
        leaves, given = planes(x, p, q), [d.view(bits) for d in planes(out, p, q)]
        if len(leaves) == 1:
            return [partial(np.copyto, given[0], dy.view(bits))]
        mask, *carried = site.scratch
        value = {"leaf": leaves, "inner": inner}
        grad = {"leaf": given, "inner": [c.view(bits) for c in carried], "y": [dy.view(bits)]}
        calls: list[Call] = []
        for o, a, b in reversed(tree(len(leaves))):
            whole, left, right = grad[o[0]][o[1]], grad[a[0]][a[1]], grad[b[0]][b[1]]
            calls.append(partial(np.subtract, value[a[0]][a[1]], value[b[0]][b[1]], mask))
            calls.append(partial(np.right_shift, mask.view(bits), shift, mask.view(bits)))
            calls.append(partial(np.bitwise_and, whole, mask.view(bits), right))
            calls.append(partial(np.bitwise_xor, whole, right, left))
        return [*calls, *_clear_rest(out, p, q)]


def _clear_rest(out: Array, p: int, q: int) -> list[Call]:
    """Zeros where no window reaches: the last rows and columns of an extent that the pool does not divide."""
    if out.ndim == 6:
        return []
    height, width = out.shape[1] // p * p, out.shape[2] // q * q
    rest = [out[:, height:], out[:, :, width:]]
    return [partial(np.copyto, part, 0) for part in rest if part.size]


class MaxWindows(Op):
    """Maximum of windows over any number of axes, which may overlap, of an input already padded with −inf."""

    windows: Windows

    def infer(self, x: Value) -> Type:
        return Type((*self.windows.outputs(x.shape), x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        first, *others = self.windows.views(inputs[0], out.shape)
        return [partial(np.copyto, out, first), *(partial(np.maximum, out, view, out=out) for view in others)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(MaxWindowsGradient(self.windows), dy, y.inputs[0], y),)


class MaxWindowsGradient(Op):
    """Adds each dy to the first input of its window that equals the maximum."""

    windows: Windows

    def infer(self, dy: Value, x: Value, y: Value) -> Type:
        return x.type

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        whole = inputs[0].whole(rows)
        return (whole, "bool"), (whole, "bool"), (whole, "float")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        dy, x, y = inputs
        free, here, part = site.scratch
        calls: list[Call] = [partial(out.fill, 0), partial(free.fill, True)]
        places = self.windows.views(out, y.shape)
        for view, place in zip(self.windows.views(x, y.shape), places, strict=True):
            calls.append(partial(np.equal, view, y, here))
            calls.append(partial(np.logical_and, here, free, here))
            calls.append(partial(np.logical_xor, free, here, free))
            calls.append(partial(np.multiply, dy, here, part))
            calls.append(partial(np.add, place, part, place))
        return calls


class SumWindows(Op):
    """Sum over every window, which may overlap."""

    windows: Windows

    def infer(self, x: Value) -> Type:
        return Type((*self.windows.outputs(x.shape), x.shape[-1]))

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        first, *others = self.windows.views(inputs[0], out.shape)
        return [partial(np.copyto, out, first), *(partial(np.add, out, view, out) for view in others)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SpreadWindows(self.windows, y.inputs[0].shape), dy),)


class SpreadWindows(Op):
    """The adjoint of SumWindows."""

    windows: Windows
    shape: Shape

    def infer(self, dy: Value) -> Type:
        return Type(self.shape)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        (dy,) = inputs
        places = self.windows.views(out, dy.shape)
        return [partial(out.fill, 0), *(partial(np.add, place, dy, place) for place in places)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(SumWindows(self.windows), dy),)


def max_pool(x: Value, pool: Shape, strides: Shape, padding: str = "valid") -> Value:
    """Maximum over windows along all axes but the last: x (H, W, C) → (a, b, C)."""
    windows = Windows(pool, strides, (1,) * len(pool))
    if padding == "same":
        return x.trace.add(MaxWindows(windows), pad(x, windows.same_padding(x.shape), -np.inf))
    if len(pool) == 2 and strides == pool:
        return x.trace.add(MaxPool(pool), x)
    return x.trace.add(MaxWindows(windows), x)


def average_pool(x: Value, pool: Shape, strides: Shape, padding: str = "valid") -> Value:
    """Mean over windows, of the inputs that are really there: x (H, W, C) → (a, b, C)."""
    windows = Windows(pool, strides, (1,) * len(pool))
    if padding == "valid":
        return multiply(x.trace.add(SumWindows(windows), x), 1 / prod(pool))
    widths = windows.same_padding(x.shape)
    total = x.trace.add(SumWindows(windows), pad(x, widths))
    there = np.pad(np.ones((1, *x.shape[:-1], 1)), ((0, 0), *widths))
    counts = np.sum(windows.views(there, (1, *total.shape[:-1], 1)), axis=0)[0]
    return multiply(total, constant(x.trace, 1 / counts))
