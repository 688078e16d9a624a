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
from kerascli.ops.linear import product, rows_of
from kerascli.ops.recurrent import CHUNK, SequenceOp, gate_major, keep_where, sequence, skipped, step_order
from kerascli.ops.shape import reshape, transpose


def gate_scale(units: int) -> Array:
    """What each gate's preactivation is multiplied by, so that one exponential serves all."""
    return np.repeat([-1.0, -1.0, -2.0, -1.0], units)


def by_gate(rows: Array) -> Array:
    """(T, n, 4H) → (T, 4, n, H), a view. Gates lie one after the other where they are worked on, which is faster."""
    steps, n, width = rows.shape
    return rows.reshape(steps, n, 4, width // 4).transpose(0, 2, 1, 3)


def chunk_of(steps: int, rows: int, units: int) -> int:
    """Steps whose gates stay in the cache from one pass to the next."""
    return max(1, min(steps, CHUNK // (4 * rows * units)))


def chunk_room(rows: int, units: int) -> Shape:
    """Room for the gates of so many steps; never more for fewer rows."""
    return (max(CHUNK, 4 * rows * units),)


class Lstm(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step.

    Further outputs: activated gates (T, 4, n, H), cells c and tanh(c) (T, n, H); and the states at every time where the
    first output is the last. The scaled recurrent weights `us` come gate by gate, (4, H, H).
    """

    gates = 4

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, units = self.extent(inputs)
        gates = Type((steps, 4, units), batch_axis=2)
        return (gates, *self.of_steps(inputs, 1, 1, *(() if self.sequences else (1,))))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            (chunk_room(rows, units), "float"),
            ((4, rows, units), "float"),
            ((rows, units), "float"),
            *((((4, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = self.arrays(inputs)
        gates, cells, squashed = site.aux[:3]
        states = out if self.sequences else site.aux[3]
        steps, rows, units = cells.shape
        projected, recurrent, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        one, two = site.dtype.type(1), site.dtype.type(2)
        zeros = site.constant(0, (rows, units))
        h_before, c_before = a.get("h0"), a.get("c0", zeros)
        order, chunk = step_order(steps, self.backwards), chunk_of(steps, rows, units)
        for k, t in enumerate(order):
            if k % chunk == 0:
                calls += self._project(a, order[k : k + chunk], projected, gates)
            z, c, h = gates[t], cells[t], states[t]
            i, f, g, o = z
            if h_before is not None:
                if "drop" in a:
                    calls.append(partial(np.multiply, h_before, gate_major(a["drop"], 4), rest[0]))
                state = rest[0] if "drop" in a else h_before
                calls += [partial(np.matmul, state, a["us"], recurrent), partial(np.add, z, recurrent, z)]
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
                calls += keep_where(skip[t], h, zeros if h_before is None else h_before)
            h_before, c_before = h, c
        return calls if self.sequences or h_before is None else [*calls, partial(np.copyto, out, h_before)]

    def _project(self, a: Mapping[str, Array], times: range, room: Array, gates: Array) -> list[Call]:
        """The inputs' share of all gates of some steps in one product, then gate by gate."""
        s = slice(min(times), max(times) + 1)
        here = gates[s]
        if "zs" in a:
            return [partial(np.copyto, here, by_gate(a["zs"][s]))]
        steps, _, rows, units = here.shape
        projected = room[: here.size].reshape(steps, rows, 4 * units)
        calls = [product(rows_of(a["x"][s]), a["ws"], rows_of(projected))]
        if "bs" in a:
            return [*calls, partial(np.add, by_gate(projected), a["bs"].reshape(4, 1, -1), here)]
        return [*calls, partial(np.copyto, here, by_gate(projected))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        gates, cells, squashed = y.further[:3]
        states = y if self.sequences else y.further[3]
        known = {"dy": dy, "gates": gates, "cells": cells, "squashed": squashed, "ut": gates_first(v["u"], (1, 2, 0))}
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
        steps, units = inputs[self.roles.index("cells")].shape
        return Type((steps, 4 * units), batch_axis=1)

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        units = inputs[self.roles.index("cells")].shape[-1]
        return (Type((units,)), Type((units,))) if "c0" in self.roles else ()

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = inputs[self.roles.index("cells")].shape
        return (
            (chunk_room(rows, units), "float"),
            (chunk_room(rows, units), "float"),
            ((4, rows, units), "float"),
            *((((rows, units), "float"),) * 4),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        steps, rows, units = a["cells"].shape
        room, slope_room, work, dh, dh_before, dc, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        order, chunk = step_order(steps, not self.backwards), chunk_of(steps, rows, units)
        d = room[: chunk * 4 * rows * units].reshape(chunk, 4, rows, units)
        slope = slope_room[: chunk * rows * units].reshape(chunk, rows, units)
        calls += [partial(np.copyto, dh, 0 if self.sequences else a["dy"]), partial(np.copyto, dc, 0)]
        for k, t in enumerate(order):
            times = order[k - k % chunk : k - k % chunk + chunk]
            if k % chunk == 0:
                calls += self._factors(site, a, times, slope, skip, d)
            if self.sequences:
                calls.append(partial(np.add, dh, a["dy"][t], dh))
            gate = d[t - min(times)]
            calls += [
                partial(np.multiply, dh, slope[t - min(times)], term),
                partial(np.add, dc, term, dc),
                *(partial(np.multiply, gate[g], dc, gate[g]) for g in range(3)),
                partial(np.multiply, gate[3], dh, gate[3]),
            ]
            if k < steps - 1 or "c0" in a:
                where = {} if skip is None else {"where": a["mask"][t][:, None]}
                calls.append(partial(np.multiply, dc, a["gates"][t, 1], dc, **where))
                calls.append(partial(np.matmul, gate, a["ut"], work))
                if "drop" in a:
                    calls.append(partial(np.multiply, work, gate_major(a["drop"], 4), work))
                calls.append(partial(np.add.reduce, work, 0, None, dh_before))
                if skip is not None:
                    calls += keep_where(skip[t], dh_before, dh)
                dh, dh_before = dh_before, dh
            if t == times[-1]:
                done = out[min(times) : max(times) + 1]
                calls.append(partial(np.copyto, by_gate(done), d[: len(done)]))
        if "c0" in a:
            calls += [partial(np.copyto, site.aux[0], dh), partial(np.copyto, site.aux[1], dc)]
        return calls

    def _factors(
        self, site: Site, a: Mapping[str, Array], times: range, slope: Array, skip: Array | None, d: Array
    ) -> list[Call]:
        """For some steps: what dc and dh are multiplied by to give the gradients, written where those will stand."""
        low, high = min(times), max(times) + 1
        s = slice(low, high)
        gates, tc, r, q = a["gates"][s], a["squashed"][s], slope[: high - low], d[: high - low]
        i, _, g, o = (gates[:, k] for k in range(4))
        qi, qf, qg, qo = (q[:, k] for k in range(4))
        one = site.dtype.type(1)
        calls: list[Call] = [
            partial(np.multiply, gates, gates, q),
            partial(np.subtract, gates[:, :2], q[:, :2], q[:, :2]),
            partial(np.subtract, one, qg, qg),
            partial(np.subtract, o, qo, qo),
            partial(np.multiply, qi, g, qi),
            partial(np.multiply, qg, i, qg),
            partial(np.multiply, qo, tc, qo),
            partial(np.multiply, tc, tc, r),
            partial(np.subtract, one, r, r),
            partial(np.multiply, r, o, r),
        ]
        cells, away, first = a["cells"], 1 if self.backwards else -1, low
        begin = len(cells) - 1 if self.backwards else 0
        if low <= begin < high:
            start = a.get("c0", site.constant(0, cells.shape[1:]))
            calls.append(partial(np.multiply, qf[begin - first], start, qf[begin - first]))
            low, high = (low, high - 1) if self.backwards else (low + 1, high)
        if low < high:
            here = qf[low - first : high - first]
            calls.append(partial(np.multiply, here, cells[low + away : high + away], here))
        if skip is not None:
            calls += [partial(np.copyto, q, 0, where=skip[s][:, None]), partial(np.copyto, r, 0, where=skip[s])]
        return calls

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * (y.shape[-1] // 4) + 6)


def gates_first(u: Value, axes: tuple[int, int, int]) -> Value:
    """Recurrent weights (H, 4H) gate by gate, contiguous: once a step."""
    units = u.shape[0]
    return transpose(reshape(u, (units, 4, units)), axes)


def lstm(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False) -> Value:
    """The states of an LSTM. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 with c0, and drop."""
    scale = constant(values["u"].trace, gate_scale(values["u"].shape[0]))
    prepared = {f"{r}s": multiply(values[r], scale) for r in ("w", "u", "b", "z") if r in values}
    prepared["us"] = gates_first(prepared["us"], (1, 0, 2))
    values = {**values, **prepared}
    return sequence(Lstm(tuple(values), backwards, sequences), values)
