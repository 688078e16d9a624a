"""The LSTM over a whole sequence (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

i, f, o = σ(x W + h U + b), g = tanh(x W + h U + b)        gates in Keras's order i, f, g, o
c ← f c + i g;  h ← o tanh(c)

σ and tanh of all gates are one exponential: σ(v) = 1 / (1 + exp(−v)) and tanh(v) = 2 / (1 + exp(−2 v)) − 1, the factors
−1 and −2 being folded into the weights once a step.

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Shape, Site, Value
from kerascli.ops.recurrent import HUGE, Moment, SequenceOp, by_gate, prepare, sequence
from kerascli.ops.recurrent_gradient import SequenceGradient


class Lstm(SequenceOp):
    """Kept for the derivative: the gates, the cells c and tanh(c).

    A step that is skipped forgets nothing and lets nothing in, so that c stays; and nothing out, which leaves nothing
    to differentiate.
    """

    gates = 4
    scale = (-1.0, -1.0, -2.0, -1.0)
    idle = (-HUGE, HUGE, 0.0, -HUGE)
    initial = ("h0", "c0")
    kept = ("gates", "c", "squashed")

    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        return (4, rows, units), (4, rows, units), (rows, units)

    def begin(self, own: Sequence[Array]) -> list[Call]:
        numerators = own[0]
        return [partial(numerators.fill, 1), partial(numerators[2].fill, 2)]

    def step(self, site: Site, a: Mapping[str, Array], now: Moment) -> list[Call]:
        (numerators, work, term), u, here, one = now.own, now.u, now.here, site.constant(1, ())
        (i, f, g, o), c, squashed = here["gates"], here["c"], here["squashed"]
        return [
            partial(np.add, now.x, u, u),
            partial(np.exp, by_gate(u, 4), work),  # may overflow to infinity, and 1 / infinity is the 0 that is meant
            partial(np.add, work, one, work),
            partial(np.divide, numerators, work, here["gates"]),
            partial(np.subtract, g, one, g),
            partial(np.multiply, f, now.before["c"], c),
            partial(np.multiply, i, g, term),
            partial(np.add, c, term, c),
            partial(np.tanh, c, squashed),
            partial(np.multiply, o, squashed, here["h"]),
        ]

    def derivative(self, roles: tuple[str, ...]) -> SequenceGradient:
        return LstmGradient(roles, self.backwards)


class LstmGradient(SequenceGradient):
    """Gradients of the gates' preactivations (T, n, 4H); further, of the initial states.

    With dh and dc from the step after: dc += dh o (1 − tanh²c); the gates' gradients are dc g i(1−i), dc c₋ f(1−f),
    dc i (1−g²) and dh tanh(c) o(1−o); then dc ← dc f, dh ← gate gradients @ Uᵀ.
    """

    gates = 4
    parts = 5
    initial = ("h0", "c0")

    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        return (rows, units), (rows, units)

    def begin(self, a: Mapping[str, Array], own: Sequence[Array]) -> list[Call]:
        return [partial(np.copyto, own[0], a.get("dc", 0))]

    def factors(self, site: Site, a: Mapping[str, Array], s: slice, d: Array) -> list[Call]:
        gates, c, squashed, one = a["gates"][s], a["c"][s], a["squashed"][s], site.constant(1, ())
        i, f, g, o = (gates[:, k] for k in range(4))
        qi, qf, qg, qo, slope = (d[:, k] for k in range(5))
        return [
            partial(np.multiply, gates, gates, d[:, :4]),  # the square of f is not wanted, but one pass is quicker
            partial(np.subtract, i, qi, qi),
            partial(np.subtract, one, f, qf),
            partial(np.subtract, one, qg, qg),
            partial(np.subtract, o, qo, qo),
            partial(np.multiply, qi, g, qi),
            partial(np.multiply, qg, i, qg),
            partial(np.multiply, i, g, slope),
            partial(np.subtract, c, slope, slope),  # f c₋
            partial(np.multiply, qf, slope, qf),
            partial(np.multiply, qo, squashed, qo),
            partial(np.multiply, squashed, squashed, slope),
            partial(np.subtract, one, slope, slope),
            partial(np.multiply, slope, o, slope),
        ]

    def meet(self, d: Array, dh: Array, own: Sequence[Array]) -> list[Call]:
        (dc, term), (*inner, qo, slope) = own, d
        return [
            partial(np.multiply, dh, slope, term),
            partial(np.add, dc, term, dc),
            *(partial(np.multiply, q, dc, q) for q in inner),
            partial(np.multiply, qo, dh, qo),
        ]

    def onward(self, a: Mapping[str, Array], t: int, dh: Array, before: Array, own: Sequence[Array]) -> list[Call]:
        dc = own[0]
        return [partial(np.multiply, dc, a["gates"][t, 1], dc), *super().onward(a, t, dh, before, own)]

    def end(self, site: Site, dh: Array, own: Sequence[Array]) -> list[Call]:
        return [*super().end(site, dh, own), partial(np.copyto, site.aux[1], own[0])]


def lstm(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False) -> Value:
    """The states of an LSTM. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 with c0, and drop."""
    values = {**values, **prepare(Lstm, values)}
    return sequence(Lstm(tuple(values), backwards, sequences, state), values)
