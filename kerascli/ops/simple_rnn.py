"""The fully connected recurrent net over a whole sequence: h ← tanh(x W + b + h U).

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.linear import transpose_matrix
from kerascli.ops.recurrent import SequenceOp, StateProduct, keep_where, project, sequence, skipped, step_order


class SimpleRnn(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step with the states further."""

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return () if self.sequences else self.of_steps(inputs, 1)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            ((rows, units), "float"),
            *((((1, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = self.arrays(inputs)
        states = out if self.sequences else site.aux[0]
        recurrent, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(1, a.get("drop"), rest[0] if "drop" in a else None)
        calls += project({**a, **{f"{r}s": a[r] for r in ("w", "b", "z") if r in a}}, states)
        before = a.get("h0")
        zeros = site.constant(0, recurrent.shape)
        for t in step_order(len(states), self.backwards):
            h = states[t]
            if before is not None:
                calls += states_by_u.forward(before, a["u"], recurrent)
                calls.append(partial(np.add, h, recurrent, h))
            calls.append(partial(np.tanh, h, h))
            calls += keep_where(None if skip is None else skip[t], h, zeros if before is None else before)
            before = h
        return calls if self.sequences or before is None else [*calls, partial(np.copyto, out, before)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        states = y if self.sequences else y.further[0]
        known = {"dy": dy, "states": states, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "h0", "drop") if r in v}
        d = y.trace.add(SimpleRnnGradient(tuple(known), self.backwards, self.sequences), *known.values())
        found = {**self.input_gradients(y, d), "u": self.state_gradient(y, states, d)}
        if "h0" in v:
            found["h0"] = d.further[0]
        return [found.get(r) for r in self.roles]


class SimpleRnnGradient(Op):
    """Gradients before the tanh (T, n, H): d = dh (1 − h²), then dh ← d @ Uᵀ; further, of the initial state."""

    roles: tuple[str, ...]
    backwards: bool
    sequences: bool
    cheap = False

    def infer(self, *inputs: Value) -> Type:
        return inputs[self.roles.index("states")].type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (inputs[self.roles.index("h0")].type,) if "h0" in self.roles else ()

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = inputs[self.roles.index("states")].shape
        return (
            *((((rows, units), "float"),) * 2),
            *((((1, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        dh, dh_before, *rest = site.scratch
        skip, calls = skipped(a.get("mask"), rest)
        states_by_u = StateProduct(1, a.get("drop"), rest[0] if "drop" in a else None)
        calls += [
            partial(np.multiply, a["states"], a["states"], out),
            partial(np.subtract, site.dtype.type(1), out, out),
            partial(np.copyto, dh, 0 if self.sequences else a["dy"]),
        ]
        calls += keep_where(skip, out, site.constant(0, ()))
        for k, t in enumerate(step_order(len(out), not self.backwards)):
            if self.sequences:
                calls.append(partial(np.add, dh, a["dy"][t], dh))
            calls.append(partial(np.multiply, out[t], dh, out[t]))
            if k == len(out) - 1 and "h0" not in a:
                break
            calls += states_by_u.backward(out[t], a["ut"], dh_before)
            calls += keep_where(None if skip is None else skip[t], dh_before, dh)
            dh, dh_before = dh_before, dh
        return calls if "h0" not in a else [*calls, partial(np.copyto, site.aux[0], dh)]

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * y.shape[-1] + 4)


def simple_rnn(values: Mapping[str, Value], backwards: bool = False, sequences: bool = False) -> Value:
    """The states of the simple net. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 and drop."""
    return sequence(SimpleRnn(tuple(values), backwards, sequences), values)
