"""What the recurrent sequences share: the order of the steps, carried states, dropped states, and weight gradients.

A whole sequence is one op, and its derivative another, because a step is small and its calls are many. Arrays are
time-major, so that a step is a contiguous matrix. States are kept at the index of the time they belong to, whichever
way the sequence is read, so gate gradients line up with the inputs.

The inputs of such an op vary (a mask, initial states, dropout), so each op carries the `roles` of its inputs:

- x, w, u, b: sequence (T, n, E) and weights in Keras's form; the derivative belongs to these;
- z: instead of x, w and b, the projected sequence (T, n, G·H), where every gate drops its own inputs;
- ws, us, zs: the same as the kernel wants them, prepared once a step (see `prepare`); never differentiated;
- mask (T, n): a step that is False for a sample leaves its states as they were;
- h0, c0 (n, H): states before the first step, zeros by default;
- drop (n, G·H): what each gate multiplies the previous state by (recurrent dropout).

Legend: T steps, n rows of a block, E inputs, H units, G gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from kerascli.ops.elementwise import multiply
from kerascli.ops.ir import Array, Call, Op, Scope, Shape, ShapeError, Site, Type, Value, constant
from kerascli.ops.linear import RowsProduct, column_sums, matmul, product, rows_of, transpose_matrix
from kerascli.ops.shape import concatenate, move_batch, reshape, whole_axis

if TYPE_CHECKING:
    from kerascli.ops.recurrent_gradient import SequenceGradient

CHUNK = 1 << 16
"""Elements of a few steps' gates, which stay in the cache from the products or factors to the steps that use them."""
HUGE = 1e30
"""Opens or closes a gate wholly, whatever else goes into it."""


def step_order(steps: int, backwards: bool) -> range:
    """The time of each step, in the order they are read."""
    return range(steps - 1, -1, -1) if backwards else range(steps)


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


def keep_where(skip: Array | None, new: Array, old: Array) -> list[Call]:
    """Put the old values back into `new` for the samples that skip this step."""
    return [] if skip is None else [partial(np.copyto, new, old, where=skip)]


class Moment(NamedTuple):
    """What one step works on. States and what is kept go by role."""

    x: Array
    """What the inputs add to the gates (n, G·H)."""
    u: Array
    """What the state before adds; may be overwritten."""
    before: Mapping[str, Array]
    """The states before (n, H)."""
    here: Mapping[str, Array]
    """Where the states and all that is kept of the step go."""
    own: Sequence[Array]
    """The kind's temporary arrays."""


class SequenceOp(Op):
    """A whole recurrent sequence. The first output is the state at every time, or only after the last step.

    Further outputs: what is `kept` for the derivative; the states at every time where the first output is the last; the
    states after the last step, where `state` asks for them: without h where that is the first output already.
    """

    roles: tuple[str, ...]
    backwards: bool
    sequences: bool
    state: bool = False
    cheap = False
    stepwise = True
    gates: ClassVar[int] = 1
    scale: ClassVar[tuple[float, ...]] = (1.0,)
    """What each gate's weights are multiplied by, to suit its activation."""
    idle: ClassVar[tuple[float, ...]] = (0.0,)
    """What goes into the gates in a step that is skipped, so that they keep all states but the `held` ones."""
    held: ClassVar[tuple[str, ...]] = ("h",)
    """States that are put back after a step that is skipped."""
    initial: ClassVar[tuple[str, ...]] = ("h0",)
    """Roles of the states before the first step."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Roles of further outputs: `gates` after their activations (T, G, n, H), others (T, n, H)."""

    # ------------------------------------------------------------ what a kind fills in
    def own_scratch(self, rows: int, units: int) -> tuple[Shape, ...]:
        """Further temporary arrays, which `begin` and `step` get."""
        return ()

    def begin(self, own: Sequence[Array]) -> list[Call]:
        return []

    def step(self, site: Site, a: Mapping[str, Array], now: Moment) -> list[Call]:
        """One step, given the op's inputs by role."""
        raise NotImplementedError

    def derivative(self, roles: tuple[str, ...]) -> SequenceGradient:
        """The op that goes back through the sequence."""
        raise NotImplementedError

    def shares(self, d: Value) -> tuple[Value, Value]:
        """The gradients of what inputs and state add to the gates."""
        return d, d

    # ------------------------------------------------------------ inputs and outputs
    def by_role(self, inputs: Iterable[Value]) -> dict[str, Value]:
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

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, units = self.extent(inputs)
        gates, states = Type((steps, self.gates, units), batch_axis=2), Type((steps, units), batch_axis=1)
        kept = [gates if role == "gates" else states for role in self.kept]
        return (*kept, *(() if self.sequences else (states,)), *(Type((units,)) for _ in self.ends))

    @property
    def ends(self) -> tuple[str, ...]:
        """Roles of the last states that are further outputs: h, c."""
        return tuple(role[0] for role in self.initial[not self.sequences :]) if self.state else ()

    def last_states(self, y: Value) -> tuple[Value, ...]:
        """The states after the last step."""
        found = y.further[len(y.further) - len(self.ends) :]
        return found if self.sequences else (y, *found)

    def flops(self, y: Value, rows: int) -> int:
        v = self.by_role(y.inputs)
        steps, units = self.extent(y.inputs)
        wide = units + (v["x"].shape[-1] if "x" in v else 0)
        return rows * steps * self.gates * units * (2 * wide + 8)

    # ------------------------------------------------------------ forward
    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        v = self.by_role(inputs)
        steps, units = self.extent(inputs)
        (room,) = chunk_room(self.gates, rows, units)
        wide = v["ws"].shape[0] if "ws" in v else 0
        return (
            ((room,), "float"),
            ((max(-(-room * wide // (self.gates * units)), rows * wide),), "float"),
            ((rows, self.gates * units), "float"),
            *((shape, "float") for shape in self.own_scratch(rows, units)),
            *((((self.gates, rows, units), "float"),) if "drop" in self.roles else ()),
            *((((steps, rows), "bool"),) if "mask" in self.roles else ()),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        states = out if self.sequences else site.aux[len(self.kept)]
        kept = {**dict(zip(self.kept, site.aux, strict=False)), "h": states}
        steps, rows, units = states.shape
        room, wide, u, *own = site.scratch
        skip, calls = skipped(a.get("mask"), own)
        by_state = StateProduct(self.gates, a.get("drop"), own.pop() if "drop" in a else None)
        order, chunk = step_order(steps, self.backwards), chunk_of(self.gates, steps, rows, units)
        before = {role[0]: a.get(role, site.constant(0, (rows, units))) for role in self.initial}
        calls += self.begin(own)
        for first in range(0, steps, chunk):
            times = order[first : first + chunk]
            s = slice(min(times), max(times) + 1)
            x = room[: len(times) * u.size].reshape(-1, *u.shape)
            calls += self._project(a, s, skip, wide, x)
            for t in times:
                started = t != order[0] or "h0" in a
                calls += by_state.forward(before["h"], a["us"], u) if started else [partial(u.fill, 0)]
                here = {role: array[t] for role, array in kept.items()}
                calls += self.step(site, a, Moment(x[t - s.start], u, before, here, own))
                for role in self.held:
                    calls += keep_where(None if skip is None else skip[t], here[role], before[role])
                before = {role: here[role] for role in before}
        last = dict(zip(self.ends, site.aux[len(site.aux) - len(self.ends) :], strict=True))
        last |= {} if self.sequences else {"h": out}
        return [*calls, *(partial(np.copyto, array, before[role]) for role, array in last.items())]

    def _project(self, a: Mapping[str, Array], s: slice, skip: Array | None, wide: Array, out: Array) -> list[Call]:
        """The inputs' share of all gates of some steps: out = [x, 1, skip] @ ws, or zs where it is at hand."""
        steps, rows, _ = out.shape
        if "zs" in a:
            calls = [partial(np.copyto, out, a["zs"][s])]
            idle = np.repeat(np.multiply(self.idle, self.scale), out.shape[-1] // self.gates)
            return [*calls, *keep_where(None if skip is None else skip[s], out, idle.astype(out.dtype))]
        x, ws = a["x"][s], a["ws"]
        features, width = x.shape[-1], len(ws)
        if width == features:
            return [product(rows_of(x), ws, rows_of(out))]
        operand = wide[: steps * rows * width].reshape(steps, rows, width)
        calls = [partial(np.copyto, operand[..., :features], x)]
        if "b" in a:
            calls.append(partial(operand[..., features].fill, 1))
        if skip is not None:
            calls.append(partial(np.copyto, operand[..., :-1], 0, where=skip[s]))
            calls.append(partial(np.copyto, operand[..., -1:], skip[s]))
        return [*calls, product(rows_of(operand), ws, rows_of(out))]

    # ------------------------------------------------------------ backward
    def gradients(self, y: Value, *dys: Value | None) -> Sequence[Value | None]:
        v = self.by_role(y.inputs)
        saved = {
            **dict(zip(self.kept, y.further, strict=False)),
            "h": y if self.sequences else y.further[len(self.kept)],
        }
        known = {**self._incoming(dys), **saved, "ut": transpose_matrix(v["u"])}
        known |= {r: v[r] for r in (*self.initial, "drop", *(("mask",) if self.held else ())) if r in v}
        d = y.trace.add(self.derivative(tuple(known)), *known.values())
        by_inputs, by_state = self.shares(d)
        roles = tuple(r for r in ("h0", "drop") if r in v)
        rows = StateRowsProduct(self.gates, self.backwards, roles)
        found = {"u": y.trace.add(rows, saved["h"], by_state, *(v[r] for r in roles)), "z": by_inputs}
        found |= dict(zip((r for r in self.initial if r in v), d.further, strict=False))
        if "x" in v:
            found["x"] = matmul(by_inputs, transpose_matrix(v["w"]))
            found["w"] = y.trace.add(RowsProduct(), v["x"], by_inputs)
        for role, share in (("b", by_inputs), ("rb", by_state)):
            if role in v:
                found[role] = column_sums(share, share.shape[-1])
        return [found.get(r) for r in self.roles]

    def _incoming(self, dys: Sequence[Value | None]) -> dict[str, Value]:
        """The gradients of the outputs by role: dy of the states at every time, dh and dc of the last ones."""
        names = ("dy" if self.sequences else "dh", *(f"d{role}" for role in self.ends))
        given = zip(names, (dys[0], *dys[len(dys) - len(self.ends) :]), strict=True)
        return {name: d for name, d in given if d is not None}


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


def prepare(kind: type[SequenceOp], values: Mapping[str, Value]) -> dict[str, Value]:
    """The weights as the kernel wants them: scaled, with rows for the bias and for the steps that are skipped."""
    units = values["u"].shape[0]

    def by_gate(numbers: Sequence[float]) -> Value:
        return constant(values["u"].trace, np.repeat(numbers, units))

    def scaled(value: Value) -> Value:
        return value if set(kind.scale) == {1.0} else multiply(value, by_gate(kind.scale))

    prepared = {"us": scaled(values["u"])}
    if "z" in values:
        return {**prepared, "zs": scaled(values["z"])}
    more = [*([values["b"]] if "b" in values else []), *([by_gate(kind.idle)] if "mask" in values else [])]
    return {
        **prepared,
        "ws": scaled(concatenate([values["w"], *(reshape(row, (1, row.size)) for row in more)], axis=0)),
    }


def sequence(op: SequenceOp, values: Mapping[str, Value]) -> Value:
    """Record a sequence op on inputs given by role."""
    first = values["z"] if "z" in values else values["x"]
    return first.trace.add(op, *(values[r] for r in op.roles), scope=Scope.BLOCK)


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
