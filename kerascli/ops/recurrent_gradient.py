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


class SequenceGradient(Op):
    """Back through a sequence: the gradients of the gates' preactivations (T, n, G·H); further, of the initial states.

    Every gradient is that of a state times a factor known beforehand. The factors of a chunk of steps are computed
    where the gradients will stand, in (`parts`, n, H) for every step; then each step multiplies its own.
    Roles: dy (T, n, H) of the outputs and dh, dc (n, H) of the last states, each optional; what the forward op saved.
    """

    roles: tuple[str, ...]
    backwards: bool
    cheap = False
    gates = 1
    parts: ClassVar[int] = 1
    saved: ClassVar[str] = ""
    """Role of a saved (T, n, H)."""
    initial: ClassVar[tuple[str, ...]] = ("h0",)

    def extent(self, inputs: Sequence[Value]) -> Shape:
        return inputs[self.roles.index(self.saved)].shape

    def infer(self, *inputs: Value) -> Type:
        steps, units = self.extent(inputs)
        return Type((steps, self.gates * units), batch_axis=1)

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return tuple(Type((self.extent(inputs)[1],)) for role in self.initial if role in self.roles)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = self.extent(inputs)
        return (
            *(((chunk_room(self.parts, rows, units), "float"),) if self.parts > 1 else ()),
            *((((rows, units), "float"),) * 2),
            *((((self.gates, rows, units), "float"),) if "drop" in self.roles else ()),
            *((shape, "float") for shape in self.own_scratch(rows, units)),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        steps, rows, units = a[self.saved].shape
        *room, dh, before = site.scratch[: 2 + (self.parts > 1)]
        own = site.scratch[2 + (self.parts > 1) :]
        skip, calls = skipped(a.get("mask"), own)
        through = StateProduct(self.gates, a.get("drop"), own.pop(0) if "drop" in a else None)
        order, chunk = step_order(steps, not self.backwards), chunk_of(self.parts, steps, rows, units)
        calls += [partial(np.copyto, dh, a.get("dh", 0)), *self.begin(a, own)]
        for k, t in enumerate(order):
            times = order[k - k % chunk : k - k % chunk + chunk]
            low, s = min(times), slice(min(times), max(times) + 1)
            d = by_gate(out[s], 1)
            if room:
                d = room[0][: d.size // self.gates * self.parts].reshape(len(times), self.parts, rows, units)
            if k % chunk == 0:
                calls += self.factors(site, a, s, skip, d, own)
            if "dy" in a:
                calls.append(partial(np.add, dh, a["dy"][t], dh))
            calls += self.meet(a, t, d[t - low], dh, own, t - low)
            if room:
                calls.append(partial(np.copyto, by_gate(out[t], self.gates), d[t - low][: self.gates]))
            if k < steps - 1 or "h0" in a:
                calls += through.backward(out[t], a["ut"], before)
                calls += self.onward(a, t, skip, dh, before, own)
                dh, before = before, dh
            if t == times[-1]:
                calls += self.leave(site, s, d)
        return calls if "h0" not in a else [*calls, *self.end(site, dh, own)]

    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        """Further temporary arrays; the methods below get them as `own`."""
        return ()

    def begin(self, a: Mapping[str, Array], own: Sequence[Array]) -> list[Call]:
        return []

    def factors(
        self, site: Site, a: Mapping[str, Array], s: slice, skip: Array | None, d: Array, own: Sequence[Array]
    ) -> list[Call]:
        """The factors of some steps; zeros for samples that skip a step."""
        raise NotImplementedError

    def meet(self, a: Mapping[str, Array], t: int, d: Array, dh: Array, own: Sequence[Array], place: int) -> list[Call]:
        """The gradients of one step from its factors."""
        raise NotImplementedError

    def onward(
        self, a: Mapping[str, Array], t: int, skip: Array | None, dh: Array, before: Array, own: Sequence[Array]
    ) -> list[Call]:
        """Add to `before`, which came through the product, what comes from dh past it."""
        return keep_where(None if skip is None else skip[t], before, dh)

    def leave(self, site: Site, s: slice, d: Array) -> list[Call]:
        """Keep more than the gates' gradients."""
        return []

    def end(self, site: Site, dh: Array, own: Sequence[Array]) -> list[Call]:
        """Keep the gradients of the initial states."""
        return [partial(np.copyto, site.aux[0], dh)]

    def flops(self, y: Value, rows: int) -> int:
        return rows * y.size * (2 * (y.shape[-1] // self.gates) + 8)
