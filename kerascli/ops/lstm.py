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
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value, constant
from kerascli.ops.linear import transpose_matrix
from kerascli.ops.recurrent import (
    CHUNK,
    LARGEST_EXPONENT,
    SequenceOp,
    StateProduct,
    keep_where,
    project,
    sequence,
    skipped,
    step_order,
)


def split(x: Array) -> tuple[Array, Array, Array, Array]:
    """The four gates of (..., 4H) as views."""
    i, f, g, o = np.split(x, 4, -1)
    return i, f, g, o


def gate_scale(units: int) -> Array:
    """What each gate's preactivation is multiplied by, so that one exponential serves all."""
    return np.repeat([-1.0, -1.0, -2.0, -1.0], units)


class Lstm(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step.

    Further outputs: activated gates (T, n, 4H), cells c and tanh(c) (T, n, H); and the states at every time where the
    first output is the last.
    """

    gates = 4

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return self.of_steps(inputs, 4, 1, 1, *(() if self.sequences else (1,)))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
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
        recurrent, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(4, a.get("drop"), rest[0] if "drop" in a else None)
        calls += project(a, gates)
        one, two = site.dtype.type(1), site.dtype.type(2)
        limit, zeros = site.constant(LARGEST_EXPONENT, recurrent.shape), site.constant(0, (rows, units))
        h_before, c_before = a.get("h0"), a.get("c0", zeros)
        for t in step_order(steps, self.backwards):
            z, c, h = gates[t], cells[t], states[t]
            i, f, g, o = split(z)
            if h_before is not None:
                calls += states_by_u.forward(h_before, a["us"], recurrent)
                calls.append(partial(np.add, z, recurrent, z))
            calls += [
                partial(np.minimum, z, limit, out=z),
                partial(np.exp, z, z),
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
                calls += keep_where(skip[t], h, zeros if h_before is None else h_before)
            h_before, c_before = h, c
        return calls if self.sequences or h_before is None else [*calls, partial(np.copyto, out, h_before)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        gates, cells, squashed = y.further[:3]
        states = y if self.sequences else y.further[3]
        known = {"dy": dy, "gates": gates, "cells": cells, "squashed": squashed, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "c0", "drop") if r in v}
        d = y.trace.add(LstmGradient(tuple(known), self.backwards, self.sequences), *known.values())
        found = self.input_gradients(y, d)
        found["u"] = self.state_gradient(y, states, d)
        if "h0" in v:
            found["h0"], found["c0"] = d.further
        return [found.get(r) for r in self.roles]


class LstmGradient(Op):
    """Gradients of the gates' preactivations (T, n, 4H); further, of the initial states.

    With dh and dc from the step after: dc += dh o (1 − tanh²c); the gates' gradients are dc g i(1−i), dc c₋ f(1−f),
    dc i (1−g²) and dh tanh(c) o(1−o); then dc ← dc f, dh ← gate gradients @ Uᵀ. What stands beside dc and dh is
    computed for several steps at once.
    """

    roles: tuple[str, ...]
    backwards: bool
    sequences: bool
    cheap = False

    def infer(self, *inputs: Value) -> Type:
        return inputs[self.roles.index("gates")].type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        units = inputs[self.roles.index("cells")].shape[-1]
        return (Type((units,)), Type((units,))) if "c0" in self.roles else ()

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = inputs[self.roles.index("cells")].shape
        return (
            ((steps, rows, units), "float"),
            *((((rows, units), "float"),) * 4),
            *((((4, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        forget = split(a["gates"])[1]
        steps, rows, units = a["cells"].shape
        slope, dh, dh_before, dc, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(4, a.get("drop"), rest[0] if "drop" in a else None)
        by_gate = out.reshape(steps, rows, 4, units)
        order = step_order(steps, not self.backwards)
        chunk = max(1, CHUNK // (4 * rows * units))
        calls += [partial(np.copyto, dh, 0 if self.sequences else a["dy"]), partial(np.copyto, dc, 0)]
        for k, t in enumerate(order):
            if k % chunk == 0:
                calls += self._factors(site, a, order[k : k + chunk], slope, skip, out)
            if self.sequences:
                calls.append(partial(np.add, dh, a["dy"][t], dh))
            first, last = by_gate[t, :, :3], by_gate[t, :, 3]
            calls += [
                partial(np.multiply, dh, slope[t], term),
                partial(np.add, dc, term, dc),
                partial(np.multiply, first, dc[:, None], first),
                partial(np.multiply, last, dh, last),
            ]
            if k == steps - 1 and "c0" not in a:
                break
            where = {} if skip is None else {"where": a["mask"][t][:, None]}
            calls.append(partial(np.multiply, dc, forget[t], dc, **where))
            calls += states_by_u.backward(out[t], a["ut"], dh_before)
            if skip is not None:
                calls += keep_where(skip[t], dh_before, dh)
            dh, dh_before = dh_before, dh
        if "c0" in a:
            calls += [partial(np.copyto, site.aux[0], dh), partial(np.copyto, site.aux[1], dc)]
        return calls

    def _factors(
        self, site: Site, a: Mapping[str, Array], times: range, slope: Array, skip: Array | None, out: Array
    ) -> list[Call]:
        """For some steps: what dc and dh are multiplied by to give the gradients, written where those will stand."""
        low, high = min(times), max(times) + 1
        s = slice(low, high)
        gates, tc, r = a["gates"][s], a["squashed"][s], slope[s]
        (i, f, g, o), q = split(gates), out[s]
        qi, qf, qg, qo = split(q)
        one = site.dtype.type(1)
        calls: list[Call] = [
            partial(np.multiply, gates, gates, q),
            partial(np.subtract, i, qi, qi),
            partial(np.subtract, f, qf, qf),
            partial(np.subtract, one, qg, qg),
            partial(np.subtract, o, qo, qo),
            partial(np.multiply, qi, g, qi),
            partial(np.multiply, qg, i, qg),
            partial(np.multiply, qo, tc, qo),
            partial(np.multiply, tc, tc, r),
            partial(np.subtract, one, r, r),
            partial(np.multiply, r, o, r),
        ]
        cells, away = a["cells"], 1 if self.backwards else -1
        begin = len(cells) - 1 if self.backwards else 0
        if low <= begin < high:
            start = a.get("c0", site.constant(0, cells.shape[1:]))
            calls.append(partial(np.multiply, split(out[begin])[1], start, split(out[begin])[1]))
            low, high = (low, high - 1) if self.backwards else (low + 1, high)
        if low < high:
            qf = split(out[low:high])[1]
            calls.append(partial(np.multiply, qf, cells[low + away : high + away], qf))
        if skip is not None:
            calls += [partial(np.copyto, q, 0, where=skip[s]), partial(np.copyto, r, 0, where=skip[s])]
        return calls

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * (y.shape[-1] // 4) + 6)


def lstm(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False) -> Value:
    """The states of an LSTM. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 with c0, and drop."""
    scale = constant(values["u"].trace, gate_scale(values["u"].shape[0]))
    prepared = {f"{r}s": multiply(values[r], scale) for r in ("w", "u", "b", "z") if r in values}
    values = {**values, **prepared}
    return sequence(Lstm(tuple(values), backwards, sequences), values)
