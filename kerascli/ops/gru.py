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
from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value, constant
from kerascli.ops.linear import column_sums, transpose_matrix
from kerascli.ops.recurrent import (
    LARGEST_EXPONENT,
    SequenceOp,
    StateProduct,
    keep_where,
    project,
    sequence,
    skipped,
    step_order,
)
from kerascli.ops.shape import cut


def split(x: Array) -> tuple[Array, Array, Array]:
    """The three parts of (..., 3H) as views."""
    z, r, h = np.split(x, 3, -1)
    return z, r, h


class Gru(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step.

    Roles beside the common ones: rb (3H,), the state's bias, and rbh (H,), its last third, prepared.
    Further outputs: z, r, c (T, n, 3H), a (T, n, H), and the states where the first output is the last.
    """

    gates = 3

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return self.of_steps(inputs, 3, 1, *(() if self.sequences else (1,)))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
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
        recurrent, term, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(3, a.get("drop"), rest[0] if "drop" in a else None)
        calls += project(a, gates)
        one, zeros = site.dtype.type(1), site.constant(0, (rows, units))
        limit = site.constant(LARGEST_EXPONENT, (rows, 2 * units))
        offset = a.get("rbh", zeros)
        before = a.get("h0")
        for t in step_order(steps, self.backwards):
            h, (z, r, c), zr = states[t], split(gates[t]), gates[t][:, : 2 * units]
            if before is None:
                calls.append(partial(np.copyto, inner[t], offset))
            else:
                calls += states_by_u.forward(before, a["us"], recurrent)
                calls.append(partial(np.add, zr, recurrent[:, : 2 * units], zr))
                calls.append(partial(np.add, recurrent[:, 2 * units :], offset, inner[t]))
            start = zeros if before is None else before
            calls += [
                partial(np.minimum, zr, limit, out=zr),
                partial(np.exp, zr, zr),
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
        return calls if self.sequences or before is None else [*calls, partial(np.copyto, out, before)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        gates, inner = y.further[:2]
        states = y if self.sequences else y.further[2]
        known = {"dy": dy, "gates": gates, "inner": inner, "states": states, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "h0", "drop") if r in v}
        ds = y.trace.add(GruGradient(tuple(known), self.backwards, self.sequences), *known.values())
        found = {**self.input_gradients(y, ds.further[0]), "u": self.state_gradient(y, states, ds)}
        if "rb" in v:
            found["rb"] = column_sums(ds, ds.shape[-1])
        if "h0" in v:
            found["h0"] = ds.further[1]
        return [found.get(r) for r in self.roles]


class GruGradient(Op):
    """Gradients of the state's share of z, r and a (T, n, 3H); further, of the inputs' share (z, r, c), and of h0.

    All are dh times a factor known beforehand: for z (h₋ − c) z(1−z), for c (1−z)(1−c²), for a that times r, for r that
    times a r(1−r). Then dh ← dh z + (z, r, a gradients) @ Uᵀ.
    """

    roles: tuple[str, ...]
    backwards: bool
    sequences: bool
    cheap = False

    def infer(self, *inputs: Value) -> Type:
        return inputs[self.roles.index("gates")].type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        first = (inputs[self.roles.index("gates")].type,)
        return (*first, inputs[self.roles.index("h0")].type) if "h0" in self.roles else first

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = inputs[self.roles.index("states")].shape
        return (
            *((((rows, units), "float"),) * 2),
            *((((3, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        update, candidate = split(a["gates"])[0], split(site.aux[0])[2]
        steps, rows, units = a["states"].shape
        dh, dh_before, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(3, a.get("drop"), rest[0] if "drop" in a else None)
        by_gate = out.reshape(steps, rows, 3, units)
        calls += self._factors(site, a, skip, out, candidate)
        calls.append(partial(np.copyto, dh, 0 if self.sequences else a["dy"]))
        for k, t in enumerate(step_order(steps, not self.backwards)):
            if self.sequences:
                calls.append(partial(np.add, dh, a["dy"][t], dh))
            calls += [
                partial(np.multiply, by_gate[t], dh[:, None], by_gate[t]),
                partial(np.multiply, candidate[t], dh, candidate[t]),
            ]
            if k == steps - 1 and "h0" not in a:
                break
            calls += states_by_u.backward(out[t], a["ut"], dh_before)
            where = {} if skip is None else {"where": a["mask"][t][:, None]}
            calls.append(partial(np.multiply, dh, update[t], dh, **where))
            calls.append(partial(np.add, dh_before, dh, dh_before))
            dh, dh_before = dh_before, dh
        inputs_share = site.aux[0][..., : 2 * units]
        calls.append(partial(np.copyto, inputs_share, out[..., : 2 * units]))
        return calls if "h0" not in a else [*calls, partial(np.copyto, site.aux[1], dh)]

    def _factors(
        self, site: Site, a: Mapping[str, Array], skip: Array | None, out: Array, candidate: Array
    ) -> list[Call]:
        """What dh is multiplied by to give each gradient, written where that will stand."""
        (z, r, c), (qz, qr, qa) = split(a["gates"]), split(out)
        states, one = a["states"], site.dtype.type(1)
        here, there, begin = (slice(1, None), slice(None, -1), 0)
        if self.backwards:
            here, there, begin = there, here, len(states) - 1
        calls: list[Call] = [
            partial(np.subtract, states[there], c[here], qa[here]),
            partial(np.subtract, a.get("h0", site.constant(0, states.shape[1:])), c[begin], qa[begin]),
            partial(np.subtract, one, z, candidate),
            partial(np.multiply, z, candidate, qz),
            partial(np.multiply, qz, qa, qz),
            partial(np.multiply, c, c, qr),
            partial(np.subtract, one, qr, qr),
            partial(np.multiply, candidate, qr, candidate),
            partial(np.multiply, candidate, r, qa),
            partial(np.subtract, one, r, qr),
            partial(np.multiply, qr, qa, qr),
            partial(np.multiply, qr, a["inner"], qr),
        ]
        if skip is not None:
            calls += [partial(np.copyto, out, 0, where=skip), partial(np.copyto, candidate, 0, where=skip)]
        return calls

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * (y.shape[-1] // 3) + 8)


def gru(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False) -> Value:
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
    return sequence(Gru(tuple(values), backwards, sequences), values)
