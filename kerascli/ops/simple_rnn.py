"""The fully connected recurrent net over a whole sequence: h ← tanh(x W + b + h U).

Legend: T steps, n rows of a block, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Shape, Site, Type, Value
from kerascli.ops.linear import transpose_matrix
from kerascli.ops.recurrent import (
    SequenceOp,
    StateProduct,
    keep_where,
    project,
    sequence,
    skipped,
    step_order,
)
from kerascli.ops.recurrent_gradient import SequenceGradient


class SimpleRnn(SequenceOp):
    """States (T, n, H) at every time, or (n, H) after the last step with the states further."""

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return (*(() if self.sequences else self.of_steps(inputs, 1)), *self.end_types(inputs))

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
        zeros, h = site.constant(0, recurrent.shape), states[0]
        for t in step_order(len(states), self.backwards):
            h = states[t]
            if before is not None:
                calls += states_by_u.forward(before, a["u"], recurrent)
                calls.append(partial(np.add, h, recurrent, h))
            calls.append(partial(np.tanh, h, h))
            calls += keep_where(None if skip is None else skip[t], h, zeros if before is None else before)
            before = h
        return [*calls, *self.keep_last(site, out, h=h)]

    def gradients(self, y: Value, *dys: Value | None) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        states = y if self.sequences else y.further[0]
        known = {**self.incoming(y, dys), "states": states, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in ("mask", "h0", "drop") if r in v}
        d = y.trace.add(SimpleRnnGradient(tuple(known), self.backwards), *known.values())
        found = {**self.input_gradients(y, d), "u": self.state_gradient(y, states, d)}
        if "h0" in v:
            found["h0"] = d.further[0]
        return [found.get(r) for r in self.roles]


class SimpleRnnGradient(SequenceGradient):
    """Gradients before the tanh (T, n, H): d = dh (1 − h²), then dh ← d @ Uᵀ; further, of the initial state."""

    saved = "states"

    def factors(
        self, site: Site, a: Mapping[str, Array], s: slice, skip: Array | None, d: Array, own: Sequence[Array]
    ) -> list[Call]:
        h, slope = a["states"][s], d[:, 0]
        squared = [partial(np.multiply, h, h, slope), partial(np.subtract, site.dtype.type(1), slope, slope)]
        return [*squared, *keep_where(None if skip is None else skip[s], slope, site.constant(0, ()))]

    def meet(self, a: Mapping[str, Array], t: int, d: Array, dh: Array, own: Sequence[Array], place: int) -> list[Call]:
        return [partial(np.multiply, d[0], dh, d[0])]


def simple_rnn(
    values: Mapping[str, Value], backwards: bool = False, sequences: bool = False, state: bool = False
) -> Value:
    """The states of the simple net. `values` by role: x, w, u, b (or z, u), and optionally mask, h0 and drop."""
    return sequence(SimpleRnn(tuple(values), backwards, sequences, state), values)
