"""Hue, saturation and value of colours, each in a plane of its own: (H, W, 3) → (3, H, W) and back.

Neither op has a derivative: layers that use them stand before everything that is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.shape import batch_major

TINY = float(np.finfo(np.float32).eps)
"""Numbers smaller than this are taken for zero."""


class RgbToHsv(Op):
    """Value is the largest of red, green and blue, saturation their range over it, hue the place on the circle."""

    def infer(self, x: Value) -> Type:
        height, width, _ = x.shape
        return Type((3, height, width))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        height, width, _ = inputs[0].shape
        plane = (rows, height, width)
        return ((3, *plane), "float"), (plane, "float"), (plane, "float"), (plane, "bool"), ((3, *plane), "bool")

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        rgb, t, norm, test, small = site.scratch
        r, g, b = rgb
        hue, saturation, value = out[:, 0], out[:, 1], out[:, 2]
        number = partial(np.asarray, dtype=out.dtype)

        def towards(a: Array, b: Array, shift: float) -> list[Call]:
            """t = norm · (a - b) + shift"""
            calls: list[Call] = [partial(np.subtract, a, b, t), partial(np.multiply, norm, t, t)]
            return [*calls, partial(np.add, t, number(shift), t)] if shift else calls

        return [
            partial(np.copyto, rgb, inputs[0].transpose(3, 0, 1, 2)),
            partial(_tiny_to_zero, rgb, small, number(TINY), number(-TINY), number(0)),
            partial(np.maximum, r, g, out=value),
            partial(np.maximum, value, b, out=value),
            partial(np.minimum, r, g, out=norm),
            partial(np.minimum, norm, b, out=norm),
            partial(np.subtract, value, norm, norm),  # the range
            # saturation: range / value where that is positive
            partial(np.greater, value, number(0), test),
            partial(saturation.fill, 0),
            partial(np.divide, norm, value, out=saturation, where=test),
            # hue, by the largest component: red before green before blue
            partial(np.greater, norm, number(0), test),
            partial(np.logical_not, test, small[0]),
            partial(np.copyto, norm, number(1), where=small[0]),
            partial(np.multiply, norm, number(6), norm),
            partial(np.divide, number(1), norm, norm),
            *towards(r, g, 4 / 6),
            partial(np.copyto, hue, t),
            *towards(b, r, 2 / 6),
            partial(np.equal, value, g, small[1]),
            partial(np.copyto, hue, t, where=small[1]),
            *towards(g, b, 0),
            partial(np.equal, value, r, small[1]),
            partial(np.copyto, hue, t, where=small[1]),
            partial(np.less, hue, number(0), small[1]),
            partial(np.add, hue, number(1), out=hue, where=small[1]),
            partial(np.copyto, hue, number(0), where=small[0]),
        ]


def _tiny_to_zero(x: Array, tiny: Array, high: Array, low: Array, zero: Array) -> None:
    np.less(x, high, out=tiny)
    np.greater(x, low, out=tiny, where=tiny)
    np.copyto(x, zero, where=tiny)


class HsvToRgb(Op):
    """component = value · (1 - saturation + saturation · d), d being 1 near the component's own hue, 0 far from it."""

    def infer(self, x: Value) -> Type:
        _, height, width = x.shape
        return Type((height, width, 3))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        plane = (rows, *inputs[0].shape[1:])
        return ((plane, "float"),) * 4

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        x = inputs[0]
        hue, saturation, value = x[:, 0], x[:, 1], x[:, 2]
        h, rest, d, t = site.scratch
        number = partial(np.asarray, dtype=out.dtype)

        calls: list[Call] = [
            partial(np.floor, hue, t),
            partial(np.subtract, hue, t, h),
            partial(np.multiply, h, number(6), h),
            partial(np.subtract, number(1), saturation, rest),
        ]
        for k, (centre, sign, shift) in enumerate(((3, 1, -1), (2, -1, 2), (4, -1, 2))):
            calls += [
                partial(np.subtract, h, number(centre), d),
                partial(np.abs, d, d),
                partial(np.multiply, d, number(sign), d),
                partial(np.add, d, number(shift), d),
                partial(np.maximum, d, number(0), out=d),
                partial(np.minimum, d, number(1), out=d),
                partial(np.multiply, saturation, d, d),
                partial(np.add, rest, d, d),
                partial(np.multiply, value, d, d),
                partial(np.copyto, out[..., k], d),
            ]
        return calls


def rgb_to_hsv(x: Value) -> Value:
    """Planes of hue, saturation and value of an image (H, W, 3)."""
    return x.trace.add(RgbToHsv(), batch_major(x))


def hsv_to_rgb(x: Value) -> Value:
    """The image (H, W, 3) of planes of hue, saturation and value."""
    return x.trace.add(HsvToRgb(), batch_major(x))
