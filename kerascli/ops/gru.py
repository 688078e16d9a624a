"""The GRU over a whole sequence (Cho et al. 2014), in the form that resets after the product, Keras's default.

z, r = σ(x W + h U + b);  a = h Uₕ + b'ₕ;  c = tanh(x Wₕ + bₕ + r a);  h ← z h + (1 − z) c
gates in Keras's order z, r, h; b is the bias of the inputs, b' that of the state (their sum counts for z and r).

σ(v) = 1 / (1 + exp(−v)), the minus sign being folded into the weights once a step.

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.elementwise import add, multiply
from kerascli.ops.ir import Array, Call, Shape, Site, Type, Value, constant
from kerascli.ops.recurrent import HUGE, Moment, SequenceOp, by_gate, prepare, sequence
from kerascli.ops.recurrent_gradient import SequenceGradient
from kerascli.ops.shape import cut


class Gru(SequenceOp):
    """Kept for the derivative: z, r, c as `gates`, and a as `inner`.

    Roles beside the common ones: rb (3H,), the state's bias, and rbh (H,), its last third, prepared.
    A step that is skipped has z = 1, r = 0 and c = 0, which leaves h as it was to the last digit.
    """

    gates = 3
    scale = (-1.0, -1.0, 1.0)
    idle = (HUGE, -HUGE, 0.0)
    held = ()
    kept = ("gates", "inner")

    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        return (2, rows, units), (rows, units)

    def step(self, site: Site, a: Mapping[str, Array], now: Moment) -> list[Call]:
        (work, term), x, u, inner, h = now.own, by_gate(now.x, 3), by_gate(now.u, 3), now.here["inner"], now.here["h"]
        zr, (z, r, c) = now.here["gates"][:2], now.here["gates"]
        return [
            partial(np.add, x[:2], u[:2], work),
            partial(np.exp, work, work),  # may overflow to infinity, and 1 / infinity is the 0 that is meant
            partial(np.add, work, site.constant(1, ()), work),
            partial(np.divide, site.constant(1, zr.shape), work, zr),  # twice as fast as np.reciprocal
            partial(np.add, u[2], a.get("rbh", site.constant(0, ())), inner),
            partial(np.multiply, r, inner, term),
            partial(np.add, x[2], term, c),
            partial(np.tanh, c, c),
            partial(np.subtract, now.before["h"], c, h),
            partial(np.multiply, h, z, h),
            partial(np.add, h, c, h),
        ]

    def derivative(self, roles: tuple[str, ...]) -> SequenceGradient:
        return GruGradient(roles, self.backwards)

    def shares(self, d: Value) -> tuple[Value, Value]:
        return d.further[-1], d


class GruGradient(SequenceGradient):
    """Gradients of the state's share of z, r and a (T, n, 3H); further, of h0, and of the inputs' share (z, r, c).

    All are dh times a factor: for z (h₋ − c) z(1−z), for c (1−z)(1−c²), for a that times r, for r that times a r(1−r).
    Then dh ← dh z + (z, r, a gradients) @ Uᵀ.
    """

    gates = 3
    parts = 4

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (*super().further(*inputs), self.infer(*inputs))

    def factors(self, site: Site, a: Mapping[str, Array], s: slice, d: Array) -> list[Call]:
        one = site.constant(1, ())
        z, r, c = (a["gates"][s, k] for k in range(3))
        qz, qr, qa, qc = (d[:, k] for k in range(4))
        return [
            partial(np.subtract, a["h"][s], c, qz),  # (h₋ − c) z
            partial(np.subtract, one, z, qa),
            partial(np.multiply, qz, qa, qz),
            partial(np.multiply, c, c, qc),
            partial(np.subtract, one, qc, qc),
            partial(np.multiply, qc, qa, qc),
            partial(np.multiply, qc, r, qa),
            partial(np.subtract, one, r, qr),
            partial(np.multiply, qr, qa, qr),
            partial(np.multiply, qr, a["inner"][s], qr),
        ]

    def meet(self, d: Array, dh: Array, own: Sequence[Array]) -> list[Call]:
        return [partial(np.multiply, d, dh, d)]

    def onward(self, a: Mapping[str, Array], t: int, dh: Array, before: Array, own: Sequence[Array]) -> list[Call]:
        return [partial(np.multiply, dh, a["gates"][t, 0], dh), partial(np.add, before, dh, before)]

    def leave(self, site: Site, d: Array, out: Array, s: slice) -> list[Call]:
        share, units = site.aux[-1][s], d.shape[-1]
        c = by_gate(share, 3)[:, 2]
        return [partial(np.copyto, share[..., : 2 * units], out[s][..., : 2 * units]), partial(np.copyto, c, d[:, 3])]


def gru(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False) -> Value:
    """The states of a GRU. `values` by role: x, w, u, b, rb (or z, u, rb), and optionally mask, h0 and drop."""
    units, whole = values["u"].shape[0], dict(values)
    if "rb" in values:
        shared = multiply(values["rb"], constant(values["u"].trace, np.repeat([1.0, 1.0, 0.0], units)))
        whole |= {r: add(values[r], shared) for r in ("b", "z") if r in values}
    prepared = prepare(Gru, whole)
    if "rb" in values:
        prepared["rbh"] = cut(values["rb"], 2 * units, 3 * units)
    values = {**values, **prepared}
    return sequence(Gru(tuple(values), backwards, sequences, state), values)
