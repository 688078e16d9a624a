"""The frame that the derivatives of the recurrent sequences share: back through time, a chunk of steps at a time.

Legend: T steps, n rows of a block, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Shape, Site, Type, Value
from kerascli.ops.recurrent import StateProduct, by_gate, chunk_of, chunk_room, keep_where, skipped, step_order

WIDE_STEP = 1500
"""Numbers of a state from which the factors of each step are better made on their own: more leave the first cache."""


class SequenceGradient(Op):
    """Back through a sequence: the gradients of the gates' preactivations (T, n, G·H); further, of the initial states.

    Every gradient is that of a state times a factor known beforehand. The factors of a chunk of steps are computed
    where the gradients will stand, in (`parts`, n, H) for every step, those of the gates first; then each step
    multiplies its own.
    Roles: dy (T, n, H) of the outputs and dh, dc (n, H) of the last states, each optional; h and what else the forward
    op saved; ut, U transposed; its h0, c0, drop and mask.
    """

    roles: tuple[str, ...]
    backwards: bool
    cheap = False
    gates: ClassVar[int] = 1
    parts: ClassVar[int] = 1
    initial: ClassVar[tuple[str, ...]] = ("h0",)

    # ------------------------------------------------------------ what a kind fills in
    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        """Further temporary arrays; the methods below get them as `own`."""
        return ()

    def begin(self, a: Mapping[str, Array], own: Sequence[Array]) -> list[Call]:
        return []

    def factors(self, site: Site, a: Mapping[str, Array], s: slice, d: Array) -> list[Call]:
        """The factors of some steps; zeros for samples that skip a step."""
        raise NotImplementedError

    def meet(self, d: Array, dh: Array, own: Sequence[Array]) -> list[Call]:
        """The gradients of one step from its factors."""
        raise NotImplementedError

    def onward(self, a: Mapping[str, Array], t: int, dh: Array, before: Array, own: Sequence[Array]) -> list[Call]:
        """Add to `before`, which came through the product, what comes from dh past it."""
        return keep_where(a["skip"][t] if "skip" in a else None, before, dh)

    def leave(self, site: Site, d: Array, out: Array, s: slice) -> list[Call]:
        """Keep more of some steps than the gates' gradients."""
        return []

    def end(self, site: Site, dh: Array, own: Sequence[Array]) -> list[Call]:
        """Keep the gradients of the initial states."""
        return [partial(np.copyto, site.aux[0], dh)]

    # ------------------------------------------------------------ the frame
    def extent(self, inputs: Sequence[Value]) -> Shape:
        return inputs[self.roles.index("h")].shape

    def infer(self, *inputs: Value) -> Type:
        steps, units = self.extent(inputs)
        return Type((steps, self.gates * units), batch_axis=1)

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return tuple(Type((self.extent(inputs)[1],)) for role in self.initial if role in self.roles)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            (chunk_room(self.parts, rows, units) if self.parts > 1 else (0,), "float"),
            *((((rows, units), "float"),) * 2),
            *((shape, "float") for shape in self.own_scratch(rows, units)),
            *((((self.gates, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        steps, rows, units = a["h"].shape
        room, dh, before, *own = site.scratch
        skip, calls = skipped(a.get("mask"), own)
        a |= {} if skip is None else {"skip": skip}
        through = StateProduct(self.gates, a.get("drop"), own.pop() if "drop" in a else None)
        order = step_order(steps, not self.backwards)
        alone = self.parts > 1 and rows * units >= WIDE_STEP
        chunk = 1 if alone else chunk_of(self.parts, steps, rows, units)
        calls += [partial(np.copyto, dh, a.get("dh", 0)), *self.begin(a, own)]
        for first in range(0, steps, chunk):
            times = order[first : first + chunk]
            s = slice(min(times), max(times) + 1)
            size = len(times) * self.parts * dh.size
            d = (room[:size] if self.parts > 1 else out[s]).reshape(-1, self.parts, rows, units)
            calls += self.factors(site, a, s, d)
            for t in times:
                if "dy" in a:
                    calls.append(partial(np.add, dh, a["dy"][t], dh))
                calls += self.meet(d[t - s.start], dh, own)
                if self.parts > 1:
                    calls.append(partial(np.copyto, by_gate(out[t], self.gates), d[t - s.start][: self.gates]))
                if t != order[-1] or "h0" in a:
                    calls += through.backward(out[t], a["ut"], before)
                    calls += self.onward(a, t, dh, before, own)
                    dh, before = before, dh
            calls += self.leave(site, d, out, s)
        return calls if "h0" not in a else [*calls, *self.end(site, dh, own)]

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * (y.shape[-1] // self.gates) + 8)
