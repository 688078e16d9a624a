"""The fully connected recurrent net over a whole sequence: h ← tanh(x W + b + h U).

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Site, Value
from kerascli.ops.recurrent import Moment, SequenceOp, keep_where, prepare, sequence
from kerascli.ops.recurrent_gradient import SequenceGradient


class SimpleRnn(SequenceOp):
    """The derivative wants nothing but the states."""

    def step(self, site: Site, a: Mapping[str, Array], now: Moment) -> list[Call]:
        return [partial(np.add, now.x, now.u, now.u), partial(np.tanh, now.u, now.here["h"])]

    def derivative(self, roles: tuple[str, ...]) -> SequenceGradient:
        return SimpleRnnGradient(roles, self.backwards)


class SimpleRnnGradient(SequenceGradient):
    """Gradients before the tanh (T, n, H): d = dh (1 − h²), then dh ← d @ Uᵀ; further, of the initial state."""

    def factors(self, site: Site, a: Mapping[str, Array], s: slice, d: Array) -> list[Call]:
        h, slope = a["h"][s], d[:, 0]
        squared = [partial(np.multiply, h, h, slope), partial(np.subtract, site.constant(1, ()), slope, slope)]
        return [*squared, *keep_where(a["skip"][s] if "skip" in a else None, slope, site.constant(0, ()))]

    def meet(self, d: Array, dh: Array, own: Sequence[Array]) -> list[Call]:
        return [partial(np.multiply, d[0], dh, d[0])]


def simple_rnn(
    values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False
) -> Value:
    """The states of the simple net. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 and drop."""
    values = {**values, **prepare(SimpleRnn, values)}
    return sequence(SimpleRnn(tuple(values), backwards, sequences, state), values)
