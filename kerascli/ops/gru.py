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
from kerascli.ops.linear import column_sums, transpose_matrix
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
from kerascli.ops.shape import cut


class Gru(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step.

    Roles beside the common ones: rb (3H,), the state's bias, and rbh (H,), its last third, prepared.
    Further outputs: z, r, c (T, 3, n, H), a (T, n, H); the states at every time where the first output is the last; and
    the last states that are asked for.
    """

    gates = 3

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, units = self.extent(inputs)
        gates = Type((steps, 3, units), batch_axis=2)
        return (gates, *self.of_steps(inputs, 1, *(() if self.sequences else (1,))), *self.end_types(inputs))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            (chunk_room(3, rows, units), "float"),
            ((rows, 3 * units), "float"),
            ((rows, units), "float"),
            *((((3, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = self.arrays(inputs)
        gates, inner = site.aux[:2]
        states = out if self.sequences else site.aux[2]
        steps, rows, units = inner.shape
        room, recurrent, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(3, a.get("drop"), rest[0] if "drop" in a else None)
        share = by_gate(recurrent, 3)
        one, zeros = site.dtype.type(1), site.constant(0, (rows, units))
        order, chunk = step_order(steps, self.backwards), chunk_of(3, steps, rows, units)
        before, h = a.get("h0"), states[0]
        for k, t in enumerate(order):
            if k % chunk == 0:
                times = order[k : k + chunk]
                calls += project_gates(a, slice(min(times), max(times) + 1), room, gates)
            h, (z, r, c), zr = states[t], gates[t], gates[t][:2]
            if before is not None:
                calls += states_by_u.forward(before, a["us"], recurrent)
                calls += [partial(np.add, zr, share[:2], zr), partial(np.add, share[2], a.get("rbh", zeros), inner[t])]
            else:
                calls.append(partial(np.copyto, inner[t], a.get("rbh", zeros)))
            start = zeros if before is None else before
            calls += [
                partial(np.exp, zr, zr),  # may overflow to infinity, whose reciprocal is the 0 that is meant
                partial(np.add, zr, one, zr),
                partial(np.reciprocal, zr, zr),
                partial(np.multiply, r, inner[t], term),
                partial(np.add, c, term, c),
                partial(np.tanh, c, c),
                partial(np.subtract, start, c, h),
                partial(np.multiply, h, z, h),
                partial(np.add, h, c, h),
            ]
            calls += keep_where(None if skip is None else skip[t], h, start)
            before = h
        return [*calls, *self.keep_last(site, out, h=h)]

    def gradients(self, y: Value, *dys: Value | None) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        gates, inner = y.further[:2]
        states = y if self.sequences else y.further[2]
        known = self.incoming(y, dys)
        known |= {"gates": gates, "inner": inner, "states": states, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "h0", "drop") if r in v}
        ds = y.trace.add(GruGradient(tuple(known), self.backwards), *known.values())
        found = {**self.input_gradients(y, ds.further[-1]), "u": self.state_gradient(y, states, ds)}
        if "rb" in v:
            found["rb"] = column_sums(ds, ds.shape[-1])
        if "h0" in v:
            found["h0"] = ds.further[0]
        return [found.get(r) for r in self.roles]


class GruGradient(SequenceGradient):
    """Gradients of the state's share of z, r and a (T, n, 3H); further, of h0, and of the inputs' share (z, r, c).

    All are dh times a factor: for z (h₋ − c) z(1−z), for c (1−z)(1−c²), for a that times r, for r that times a r(1−r).
    Then dh ← dh z + (z, r, a gradients) @ Uᵀ.
    """

    gates = 3
    parts = 4
    saved = "states"

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (*super().further(*inputs), self.infer(*inputs))

    def factors(
        self, site: Site, a: Mapping[str, Array], s: slice, skip: Array | None, d: Array, own: Sequence[Array]
    ) -> list[Call]:
        gates, states, one = a["gates"][s], a["states"], site.dtype.type(1)
        z, r, c = (gates[:, k] for k in range(3))
        qz, qr, qa, qc = (d[:, k] for k in range(4))
        start = a.get("h0", site.constant(0, states.shape[1:]))
        pairs = befores(states, start, s, self.backwards)
        calls: list[Call] = [
            *(partial(np.subtract, h, c[here], qz[here]) for here, h in pairs),
            partial(np.subtract, one, z, qa),
            partial(np.multiply, qz, z, qz),
            partial(np.multiply, qz, qa, qz),
            partial(np.multiply, c, c, qc),
            partial(np.subtract, one, qc, qc),
            partial(np.multiply, qc, qa, qc),
            partial(np.multiply, qc, r, qa),
            partial(np.subtract, one, r, qr),
            partial(np.multiply, qr, qa, qr),
            partial(np.multiply, qr, a["inner"][s], qr),
        ]
        return calls if skip is None else [*calls, partial(np.copyto, d, 0, where=skip[s][:, None])]

    def meet(self, a: Mapping[str, Array], t: int, d: Array, dh: Array, own: Sequence[Array], place: int) -> list[Call]:
        return [partial(np.multiply, d, dh, d)]

    def onward(
        self, a: Mapping[str, Array], t: int, skip: Array | None, dh: Array, before: Array, own: Sequence[Array]
    ) -> list[Call]:
        where = {} if skip is None else {"where": a["mask"][t][:, None]}
        return [partial(np.multiply, dh, a["gates"][t, 0], dh, **where), partial(np.add, before, dh, before)]

    def leave(self, site: Site, s: slice, d: Array) -> list[Call]:
        share = by_gate(site.aux[-1][s], 3)
        return [partial(np.copyto, share[:, :2], d[:, :2]), partial(np.copyto, share[:, 2], d[:, 3])]


def gru(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False) -> Value:
    """The states of a GRU. `values` by role: x, w, u, b, rb (or z, u, rb), and optionally mask, h0 and drop."""
    trace, units = values["u"].trace, values["u"].shape[0]
    scale = constant(trace, np.repeat([-1.0, -1.0, 1.0], units))
    scaled = dict(values)
    if "rb" in values:
        share = multiply(values["rb"], constant(trace, np.repeat([1.0, 1.0, 0.0], units)))
        scaled |= {r: add(values[r], share) for r in ("b", "z") if r in values}
    prepared = {f"{r}s": multiply(scaled[r], scale) for r in ("w", "u", "b", "z") if r in values}
    if "rb" in values:
        prepared["rbh"] = cut(values["rb"], 2 * units, 3 * units)
    values = {**values, **prepared}
    return sequence(Gru(tuple(values), backwards, sequences, state), values)
