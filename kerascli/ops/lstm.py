"""The LSTM over a whole sequence (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

i, f, o = σ(x W + h U + b), g = tanh(x W + h U + b)        gates in Keras's order i, f, g, o
c ← f c + i g;  h ← o tanh(c)

σ and tanh of all gates are one exponential: σ(v) = 1 / (1 + exp(−v)) and tanh(v) = 2 σ(2 v) − 1, the factors −1 and −2
being folded into the weights once a step.

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Array, Call, Shape, Site, Type, Value, constant
from kerascli.ops.linear import transpose_matrix
from kerascli.ops.recurrent import (
    SequenceOp,
    StateProduct,
    befores,
    by_gate,
    chunk_of,
    chunk_room,
    keep_where,
    project_gates,
    sequence,
    skipped,
    step_order,
)
from kerascli.ops.recurrent_gradient import SequenceGradient


def gate_scale(units: int) -> Array:
    """What each gate's preactivation is multiplied by, so that one exponential serves all."""
    return np.repeat([-1.0, -1.0, -2.0, -1.0], units)


class Lstm(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step.

    Further outputs: activated gates (T, 4, n, H), cells c and tanh(c) (T, n, H); the states at every time where the
    first output is the last; and the last states that are asked for.
    """

    gates = 4
    initial = ("h0", "c0")

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, units = self.extent(inputs)
        gates = Type((steps, 4, units), batch_axis=2)
        states = () if self.sequences else (1,)
        return (gates, *self.of_steps(inputs, 1, 1, *states), *self.end_types(inputs))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            (chunk_room(4, rows, units), "float"),
            ((rows, 4 * units), "float"),
            ((rows, units), "float"),
            *((((4, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = self.arrays(inputs)
        gates, cells, squashed = site.aux[:3]
        states = out if self.sequences else site.aux[3]
        steps, rows, units = cells.shape
        room, recurrent, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(4, a.get("drop"), rest[0] if "drop" in a else None)
        one, two = site.dtype.type(1), site.dtype.type(2)
        zeros = site.constant(0, (rows, units))
        before, c_before = a.get("h0"), a.get("c0", zeros)
        order, chunk = step_order(steps, self.backwards), chunk_of(4, steps, rows, units)
        h, c = states[order[-1]], cells[order[-1]]
        for k, t in enumerate(order):
            if k % chunk == 0:
                times = order[k : k + chunk]
                calls += project_gates(a, slice(min(times), max(times) + 1), room, gates)
            z, c, h = gates[t], cells[t], states[t]
            i, f, g, o = z
            if before is not None:
                calls += states_by_u.forward(before, a["us"], recurrent)
                calls.append(partial(np.add, z, by_gate(recurrent, 4), z))
            calls += [
                partial(np.exp, z, z),  # may overflow to infinity, whose reciprocal is the 0 that is meant
                partial(np.add, z, one, z),
                partial(np.reciprocal, z, z),
                partial(np.multiply, g, two, g),
                partial(np.subtract, g, one, g),
                partial(np.multiply, f, c_before, c),
                partial(np.multiply, i, g, term),
                partial(np.add, c, term, c),
                partial(np.tanh, c, squashed[t]),
                partial(np.multiply, o, squashed[t], h),
            ]
            if skip is not None:
                calls += keep_where(skip[t], c, c_before)
                calls += keep_where(skip[t], h, zeros if before is None else before)
            before, c_before = h, c
        return [*calls, *self.keep_last(site, out, h=h, c=c)]

    def gradients(self, y: Value, *dys: Value | None) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        gates, cells, squashed = y.further[:3]
        states = y if self.sequences else y.further[3]
        known = self.incoming(y, dys)
        known |= {"gates": gates, "cells": cells, "squashed": squashed, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "h0", "c0", "drop") if r in v}
        d = y.trace.add(LstmGradient(tuple(known), self.backwards), *known.values())
        found = {**self.input_gradients(y, d), "u": self.state_gradient(y, states, d)}
        found |= dict(zip((r for r in self.initial if r in v), d.further, strict=True))
        return [found.get(r) for r in self.roles]


class LstmGradient(SequenceGradient):
    """Gradients of the gates' preactivations (T, n, 4H); further, of the initial states.

    With dh and dc from the step after: dc += dh o (1 − tanh²c); the gates' gradients are dc g i(1−i), dc c₋ f(1−f),
    dc i (1−g²) and dh tanh(c) o(1−o); then dc ← dc f, dh ← gate gradients @ Uᵀ.
    """

    gates = 4
    parts = 4
    saved = "cells"
    initial = ("h0", "c0")

    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        return (chunk_room(4, rows, units), (rows, units), (rows, units))

    def begin(self, a: Mapping[str, Array], own: Sequence[Array]) -> list[Call]:
        return [partial(np.copyto, own[1], a.get("dc", 0))]

    def meet(self, a: Mapping[str, Array], t: int, d: Array, dh: Array, own: Sequence[Array], place: int) -> list[Call]:
        room, dc, term = own
        slope = room[place * dh.size : (place + 1) * dh.size].reshape(dh.shape)
        return [
            partial(np.multiply, dh, slope, term),
            partial(np.add, dc, term, dc),
            partial(np.multiply, d[:3], dc, d[:3]),
            partial(np.multiply, d[3], dh, d[3]),
        ]

    def onward(
        self, a: Mapping[str, Array], t: int, skip: Array | None, dh: Array, before: Array, own: Sequence[Array]
    ) -> list[Call]:
        where = {} if skip is None else {"where": a["mask"][t][:, None]}
        forget = partial(np.multiply, own[1], a["gates"][t, 1], own[1], **where)
        return [forget, *super().onward(a, t, skip, dh, before, own)]

    def end(self, site: Site, dh: Array, own: Sequence[Array]) -> list[Call]:
        return [*super().end(site, dh, own), partial(np.copyto, site.aux[1], own[1])]

    def factors(
        self, site: Site, a: Mapping[str, Array], s: slice, skip: Array | None, d: Array, own: Sequence[Array]
    ) -> list[Call]:
        gates, tc, cells, one = a["gates"][s], a["squashed"][s], a["cells"], site.dtype.type(1)
        slope = own[0][: tc.size].reshape(tc.shape)
        i, _, g, o = (gates[:, k] for k in range(4))
        qi, qf, qg, qo = (d[:, k] for k in range(4))
        calls: list[Call] = [
            partial(np.multiply, gates, gates, d),
            partial(np.subtract, gates[:, :2], d[:, :2], d[:, :2]),
            partial(np.subtract, one, qg, qg),
            partial(np.subtract, o, qo, qo),
            partial(np.multiply, qi, g, qi),
            partial(np.multiply, qg, i, qg),
            partial(np.multiply, qo, tc, qo),
            partial(np.multiply, tc, tc, slope),
            partial(np.subtract, one, slope, slope),
            partial(np.multiply, slope, o, slope),
        ]
        start = a.get("c0", site.constant(0, cells.shape[1:]))
        calls += [partial(np.multiply, qf[here], c, qf[here]) for here, c in befores(cells, start, s, self.backwards)]
        if skip is not None:
            calls += [partial(np.copyto, d, 0, where=skip[s][:, None]), partial(np.copyto, slope, 0, where=skip[s])]
        return calls


def lstm(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False) -> Value:
    """The states of an LSTM. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 with c0, and drop."""
    scale = constant(values["u"].trace, gate_scale(values["u"].shape[0]))
    prepared = {f"{r}s": multiply(values[r], scale) for r in ("w", "u", "b", "z") if r in values}
    values = {**values, **prepared}
    return sequence(Lstm(tuple(values), backwards, sequences, state), values)
