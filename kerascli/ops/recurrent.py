"""What the recurrent sequences share: the order of the steps, carried states, dropped states, and weight gradients.

A whole sequence is one op, and its derivative another, because a step is small and its calls are many. Arrays are
time-major, so that a step is a contiguous matrix. States are kept at the index of the time they belong to, whichever
way the sequence is read, so gate gradients line up with the inputs.

The inputs of such an op vary (a mask, initial states, dropout), so each op carries the `roles` of its inputs:

- x, w, u, b: sequence (T, n, E) and weights in Keras's form; the derivative belongs to these;
- z: instead of x, w and b, the projected sequence (T, n, G·H), where every gate drops its own inputs;
- ws, us, bs, zs: the same as the kernel wants them (scaled), the weights prepared once a step; never differentiated;
- mask (T, n): a step that is False for a sample leaves its states as they were;
- h0, c0 (n, H): states before the first step, zeros by default;
- drop (n, G·H): what each gate multiplies the previous state by (recurrent dropout).

Legend: T steps, n rows of a block, E inputs, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from kerascli.ops.ir import Array, Call, Op, Scope, Shape, ShapeError, Site, Type, Value
from kerascli.ops.linear import RowsProduct, column_sums, matmul, product, rows_of, transpose_matrix
from kerascli.ops.shape import move_batch, whole_axis

CHUNK = 1 << 16
"""Elements of a few steps' gates, which stay in the cache between the factors and the steps that use them."""


def step_order(steps: int, backwards: bool) -> range:
    """The time of each step, in the order they are read."""
    return range(steps - 1, -1, -1) if backwards else range(steps)


def project(arrays: Mapping[str, Array], out: Array) -> list[Call]:
    """The inputs' share of all gates of all steps in one product: out = x @ ws + bs, or zs where it is at hand."""
    if "zs" in arrays:
        return [partial(np.copyto, out, arrays["zs"])]
    calls = [product(rows_of(arrays["x"]), arrays["ws"], rows_of(out))]
    if "bs" in arrays:
        calls.append(partial(np.add, out, arrays["bs"], out))
    return calls


def gate_major(x: Array, gates: int) -> Array:
    """(..., n, G·H) → (G, ..., n, H), a view."""
    return np.moveaxis(x.reshape(*x.shape[:-1], gates, -1), -2, 0)


def by_gate(x: Array, gates: int) -> Array:
    """(..., n, G·H) → (..., G, n, H), a view. Gates lie one after the other where they are worked on: it is faster."""
    return x.reshape(*x.shape[:-1], gates, -1).swapaxes(-3, -2)


def chunk_of(parts: int, steps: int, rows: int, units: int) -> int:
    """Steps whose gates stay in the cache from one pass to the next."""
    return max(1, min(steps, CHUNK // (parts * rows * units)))


def chunk_room(parts: int, rows: int, units: int) -> Shape:
    """Room for the gates of so many steps; never more for fewer rows."""
    return (max(CHUNK, parts * rows * units),)


def project_gates(a: Mapping[str, Array], s: slice, room: Array, gates: Array) -> list[Call]:
    """The inputs' share of all gates of some steps in one product, then gate by gate: gates (T, G, n, H)."""
    here = gates[s]
    steps, count, rows, units = here.shape
    if "zs" in a:
        return [partial(np.copyto, here, by_gate(a["zs"][s], count))]
    projected = room[: here.size].reshape(steps, rows, count * units)
    calls = [product(rows_of(a["x"][s]), a["ws"], rows_of(projected))]
    if "bs" in a:
        return [*calls, partial(np.add, by_gate(projected, count), a["bs"].reshape(count, 1, -1), here)]
    return [*calls, partial(np.copyto, here, by_gate(projected, count))]


class StateProduct:
    """Binds the product of a state with the recurrent weights, and its derivative; each gate may drop its own units."""

    def __init__(self, gates: int, drop: Array | None, work: Array | None) -> None:
        self.gates, self.work = gates, work
        self.drop = None if drop is None else gate_major(drop, gates)

    def forward(self, h: Array, u: Array, out: Array) -> list[Call]:
        """out (n, G·H) = h (n, H) @ u (H, G·H)"""
        if self.drop is None:
            return [product(h, u, out)]
        return [
            partial(np.multiply, h, self.drop, self.work),
            partial(np.matmul, self.work, gate_major(u, self.gates), gate_major(out, self.gates)),
        ]

    def backward(self, d: Array, ut: Array, out: Array) -> list[Call]:
        """out (n, H) = d (n, G·H) @ ut (G·H, H)"""
        if self.drop is None or self.work is None:
            return [product(d, ut, out)]
        parts = ut.reshape(self.gates, -1, ut.shape[-1])
        return [
            partial(np.matmul, gate_major(d, self.gates), parts, self.work),
            partial(np.multiply, self.work, self.drop, self.work),
            partial(np.add.reduce, self.work, 0, None, out),
        ]


def skipped(mask: Array | None, scratch: list[Array]) -> tuple[Array | None, list[Call]]:
    """Where a sample skips a step, (T, n, 1), and the call that finds out; takes the last scratch array."""
    if mask is None:
        return None, []
    skip = scratch.pop()
    return skip[..., None], [partial(np.logical_not, mask, skip)]


def befores(states: Array, start: Array, s: slice, backwards: bool) -> list[tuple[slice | int, Array]]:
    """The state before each of some steps (T, n, H): pairs of places among these steps, and states."""
    low, high = s.start, s.stop
    first = len(states) - 1 if backwards else 0
    if not low <= first < high:
        return [(slice(None), states[low + 1 : high + 1] if backwards else states[low - 1 : high - 1])]
    if backwards:
        return [(high - 1 - low, start), (slice(0, high - 1 - low), states[low + 1 : high])]
    return [(0, start), (slice(1, None), states[low : high - 1])]


def keep_where(skip: Array | None, new: Array, old: Array) -> list[Call]:
    """Put the old values back into `new` for the samples that skip this step."""
    return [] if skip is None else [partial(np.copyto, new, old, where=skip)]


class SequenceOp(Op):
    """A whole recurrent sequence. The first output is the state at every time, or only after the last step.

    The last further outputs are the states after the last step, where `state` asks for them: without the first of them
    where that is the first output already.
    """

    roles: tuple[str, ...]
    backwards: bool
    sequences: bool
    state: bool = False
    cheap = False
    stepwise = True
    gates = 1
    initial: ClassVar[tuple[str, ...]] = ("h0",)
    """Roles of the states before the first step."""

    def by_role(self, inputs: Iterable[Value]) -> dict[str, Value]:
        return dict(zip(self.roles, inputs, strict=True))

    def arrays(self, inputs: Iterable[Array]) -> dict[str, Array]:
        return dict(zip(self.roles, inputs, strict=True))

    def extent(self, inputs: Iterable[Value]) -> tuple[int, int]:
        """Steps and units."""
        v = self.by_role(inputs)
        return (v["z"] if "z" in v else v["x"]).shape[0], v["u"].shape[0]

    def infer(self, *inputs: Value) -> Type:
        steps, units = self.extent(inputs)
        v = self.by_role(inputs)
        first = v["z"] if "z" in v else v["x"]
        if len(first.shape) != 2 or first.batch_axis != 1:
            raise ShapeError(f"a recurrent sequence wants (time, features), not {first.shape}")
        return Type((steps, units), batch_axis=1) if self.sequences else Type((units,))

    def of_steps(self, inputs: Iterable[Value], *widths: int) -> tuple[Type, ...]:
        """Types of saved values (T, n, width · H)."""
        steps, units = self.extent(inputs)
        return tuple(Type((steps, width * units), batch_axis=1) for width in widths)

    @property
    def ends(self) -> tuple[str, ...]:
        """Roles of the last states that are further outputs: h, c."""
        return tuple(role[0] for role in self.initial[not self.sequences :]) if self.state else ()

    def end_types(self, inputs: Iterable[Value]) -> tuple[Type, ...]:
        return (Type((self.extent(inputs)[1],)),) * len(self.ends)

    def last_states(self, y: Value) -> tuple[Value, ...]:
        """The states after the last step."""
        found = y.further[len(y.further) - len(self.ends) :]
        return found if self.sequences else (y, *found)

    def keep_last(self, site: Site, out: Array, **last: Array) -> list[Call]:
        """Copy the states after the last step, by role, to the outputs that are these."""
        outputs = dict(zip(self.ends, site.aux[len(site.aux) - len(self.ends) :], strict=True))
        if not self.sequences:
            outputs["h"] = out
        return [partial(np.copyto, array, last[role]) for role, array in outputs.items()]

    def incoming(self, y: Value, dys: Sequence[Value | None]) -> dict[str, Value]:
        """The gradients of the outputs by role: dy of the states at every time, dh and dc of the last ones."""
        names = ("dy" if self.sequences else "dh", *(f"d{role}" for role in self.ends))
        given = zip(names, (dys[0], *dys[len(dys) - len(self.ends) :]), strict=True)
        return {name: d for name, d in given if d is not None}

    def input_gradients(self, y: Value, d: Value) -> dict[str, Value]:
        """Gradients of all that enters through the projection, from those of the gates (T, n, G·H)."""
        v = self.by_role(y.inputs)
        if "z" in v:
            return {"z": d}
        found = {"x": matmul(d, transpose_matrix(v["w"])), "w": y.trace.add(RowsProduct(), v["x"], d)}
        return {**found, "b": column_sums(d, d.shape[-1])} if "b" in v else found

    def state_gradient(self, y: Value, states: Value, d: Value) -> Value:
        """Gradient of the recurrent weights."""
        v = self.by_role(y.inputs)
        roles = tuple(r for r in ("h0", "drop") if r in v)
        return y.trace.add(StateRowsProduct(self.gates, self.backwards, roles), states, d, *(v[r] for r in roles))

    def flops(self, y: Value, rows: int) -> int:
        v = self.by_role(y.inputs)
        steps, units = self.extent(y.inputs)
        wide = units + (v["x"].shape[-1] if "x" in v else 0)
        return rows * steps * self.gates * units * (2 * wide + 8)


class StateRowsProduct(Op):
    """u' = Σ hᵀ @ d over all steps and samples, h being the state before the step: the recurrent weights' gradient.

    Inputs: states (T, n, H), gate gradients (T, n, G·H), then h0 and drop if `roles` says so.
    """

    gates: int
    backwards: bool
    roles: tuple[str, ...]
    contracts = True

    def infer(self, *inputs: Value) -> Type:
        return Type((inputs[0].shape[-1], inputs[1].shape[-1]))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, units = inputs[0].shape
        dropped: tuple[tuple[Shape, str], ...] = (((steps, rows, units), "float"),) if "drop" in self.roles else ()
        first = (((units, self.gates * units), "float"),) if "h0" in self.roles else ()
        return (*dropped, *first)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        states, d, *more = inputs
        extra = dict(zip(self.roles, more, strict=True))
        before, after = (slice(1, None), slice(None, -1)) if self.backwards else (slice(None, -1), slice(1, None))
        calls = self._products(site, states[before], d[after], extra.get("drop"), out)
        if "h0" in extra:
            start = -1 if self.backwards else 0
            part = site.scratch[-1]
            calls += self._products(site, extra["h0"][None], d[start][None], extra.get("drop"), part)
            calls.append(partial(np.add, out, part, out))
        return calls

    def _products(self, site: Site, h: Array, d: Array, drop: Array | None, out: Array) -> list[Call]:
        if drop is None:
            return [product(rows_of(h).T, rows_of(d), out)]
        work = site.scratch[0][: len(h)]
        columns = [slice(g * h.shape[-1], (g + 1) * h.shape[-1]) for g in range(self.gates)]
        calls: list[Call] = []
        for gate in columns:
            calls.append(partial(np.multiply, h, drop[:, gate], work))
            calls.append(partial(np.matmul, rows_of(work).T, rows_of(d)[:, gate], out[:, gate]))
        return calls

    def slices(self, y: Value) -> int:
        return 1 if self.roles else y.shape[0]

    def slice(self, first: int, end: int, out: Array, *inputs: Array) -> tuple[Array, ...]:
        states, d = inputs
        return out[first:end], states[..., first:end], d

    def flops(self, y: Value, rows: int) -> int:
        return 2 * rows * y.inputs[1].size * y.shape[0]


def sequence(op: SequenceOp, values: Mapping[str, Value]) -> Value:
    """Record a sequence op on inputs given by role."""
    scope = Scope.BLOCK
    first = values["z"] if "z" in values else values["x"]
    return first.trace.add(op, *(values[r] for r in op.roles), scope=scope)


class Reverse(Op):
    """The last step first, along `axis` of the whole array."""

    axis: int

    def infer(self, *inputs: Value) -> Type:
        return inputs[0].type

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        return [partial(np.copyto, out, np.flip(inputs[0], self.axis))]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        return (y.trace.add(self, move_batch(dy, y.batch_axis)),)

    def flops(self, y: Value, rows: int) -> int:
        return 0


def reverse(x: Value, axis: int = 0) -> Value:
    """`x` backwards along an axis of its samples."""
    op = Reverse(whole_axis(x, axis))
    return x.inputs[0] if x.op == op else x.trace.add(op, x)
