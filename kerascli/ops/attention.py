"""Scaled dot-product attention of every head of a sample, as one op with a derivative of its own.

E = exp(Q Kᵀ) ∘ mask;  r = 1 / Σ E;  y = r (E ∘ drop) V        (Vaswani et al., 2017; the caller scales Q)

A column of ones beside V makes the sums part of the product E V. In the derivative a column beside r dy does the same
for the softmax: (r dy) Vᵀ − r (dy · y) is one product, and times E it is the gradient of the scores. The largest score
is subtracted only in blocks where scores are large.

Legend: n rows of a block, H heads, G groups of R = H / G heads that share keys and values, T queries, S keys,
D features of queries and keys, F features of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Constant, Op, Scope, Shape, Site, Trace, Type, Value, constant
from kerascli.ops.shape import batch_major, reshape

BOUND = 40.0
"""Scores up to here, up and down, need no maximum subtracted: their exponentials are far from both ends of float32."""

Roles = Mapping[str, Array]


class _OfHeads(Op):
    """`roles` names the inputs: packed queries, keys and values `z`, or `q`, `k` and `v`; optionally `mask`, `drop`."""

    roles: tuple[str, ...]
    heads: int
    groups: int
    dim: int
    value_dim: int
    dead: bool = False
    """Whether the mask may leave a query no key at all: such a query weighs all keys alike, whatever its scores."""
    cheap = False

    def extent(self, inputs: Sequence[Value]) -> tuple[int, int]:
        """T and S."""
        v = dict(zip(self.roles, inputs, strict=True))
        return (v["z"] if "z" in v else v["q"]).shape[0], (v["z"] if "z" in v else v["v"]).shape[0]

    @property
    def columns(self) -> tuple[int, int, int]:
        return self.heads * self.dim, self.groups * self.dim, self.groups * self.value_dim

    def parts(self, arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Queries (n, G, R, T, D), keys (n, G, S, D) and values (n, G, S, F), as views of one array or of three."""
        if len(arrays) == 1:
            (z,), (a, b, _) = arrays, self.columns
            arrays = z[:, :, :a], z[:, :, a : a + b], z[:, :, a + b :]
        q, k, v = arrays
        n, steps, _ = q.shape
        queries = q.reshape(n, steps, self.groups, -1, self.dim).transpose(0, 2, 3, 1, 4)
        keys = k.reshape(n, -1, self.groups, self.dim).transpose(0, 2, 1, 3)
        return queries, keys, v.reshape(n, -1, self.groups, self.value_dim).transpose(0, 2, 1, 3)

    def given(self, a: Roles) -> tuple[Array, Array, Array]:
        return self.parts([a["z"]] if "z" in a else [a["q"], a["k"], a["v"]])

    def by_group(self, x: Array) -> Array:
        """(n, H, T, ...) → (n, G, R T, ...): queries of heads that share their keys lie one after the other."""
        n, _, *rest = x.shape
        return x.reshape(n, self.groups, -1, *rest[1:])

    def mask_scratch(self, rows: int, inputs: Sequence[Value]) -> tuple[tuple[Shape, str], ...]:
        """The mask as numbers, and for each of its rows whether anything is left of it: as truth, as number."""
        if "mask" not in self.roles:
            return ()
        mask = inputs[self.roles.index("mask")]
        whole = mask.whole(rows) if mask.scope == Scope.BLOCK else (1, *mask.shape)
        return (whole, "float"), (whole[:-1], "bool"), ((*whole[:-1], 1), "float")

    def mask_calls(self, a: Roles, scratch: Sequence[Array], wanted: bool = True) -> list[Call]:
        """Fill the mask's scratch; where nothing is left of a row, all of it counts."""
        if "mask" not in a:
            return []
        keep, some, alive = scratch
        mask = a["mask"].reshape(keep.shape)
        calls: list[Call] = [partial(np.copyto, keep, mask)] if wanted else []
        if self.dead:
            calls += [
                partial(np.logical_or.reduce, mask, -1, None, some),
                partial(np.copyto, alive[..., 0], some),
            ]
            if wanted:
                calls += [partial(np.logical_not, some, some), partial(np.copyto, keep, 1, where=some[..., None])]
        return calls

    def flops(self, y: Value, rows: int) -> int:
        steps, keys = self.extent(y.inputs[: len(self.roles)])
        return 2 * rows * self.heads * steps * keys * (self.dim + self.value_dim + 2)


class Attention(_OfHeads):
    """What the heads read, (T, H F). Further outputs: E (H, T, S) and r (H, T)."""

    def infer(self, *inputs: Value) -> Type:
        return Type((self.extent(inputs)[0], self.heads * self.value_dim))

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        steps, keys = self.extent(inputs)
        return Type((self.heads, steps, keys)), Type((self.heads, steps))

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, keys = self.extent(inputs)
        queries = self.heads // self.groups * steps
        return (
            ((rows, self.groups, queries, self.dim), "float"),
            ((rows, self.groups, keys, self.value_dim + 1), "float"),
            ((rows, self.groups, queries, self.value_dim + 1), "float"),
            *((((rows, self.heads, steps, keys), "float"),) if "drop" in self.roles else ()),
            *self.mask_scratch(rows, inputs),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        weights, inverse = site.aux
        queries, beside, read, *rest = site.scratch
        dropped = [rest.pop(0)] if "drop" in a else []
        q, k, v = self.given(a)
        n, _, steps, _ = weights.shape
        rows = queries.reshape(n, self.heads, steps, self.dim)
        values, sums = read[..., :-1], read[..., -1]
        result = out.reshape(n, steps, self.heads, self.value_dim).transpose(0, 2, 1, 3)
        calls: list[Call] = [*self.mask_calls(a, rest), partial(np.copyto, queries.reshape(q.shape), q)]
        if self.dead:
            calls.append(partial(np.multiply, rows, rest[2], rows))
        calls += [
            partial(np.matmul, queries, k.swapaxes(2, 3), self.by_group(weights)),
            partial(_bounded, weights, rest[0] if rest else None),
            partial(np.exp, weights, weights),
        ]
        if rest:
            calls.append(partial(np.multiply, weights, rest[0], weights))
        calls += [partial(np.copyto, beside[..., :-1], v), partial(beside[..., -1].fill, 1)]
        if dropped:
            calls += [
                partial(np.add.reduce, weights, -1, None, inverse),
                partial(np.multiply, weights, a["drop"], dropped[0]),
                partial(np.matmul, self.by_group(dropped[0]), beside, read),
                partial(np.reciprocal, inverse, inverse),
            ]
        else:
            calls += [
                partial(np.matmul, self.by_group(weights), beside, read),
                partial(np.reciprocal, sums, self.by_group(inverse)),
            ]
        by_head = values.reshape(n, self.heads, steps, self.value_dim)
        return [*calls, partial(np.multiply, by_head, inverse[..., None], result)]

    def gradient(self, y: Value, dy: Value) -> Sequence[Value | None]:
        roles = (*self.roles, "dy", "y", "weights", "inverse")
        op = AttentionGradient(roles, self.heads, self.groups, self.dim, self.value_dim, self.dead)
        d = y.trace.add(op, *y.inputs, batch_major(dy), y, *y.further)
        found = dict(zip(("z",) if "z" in self.roles else ("q", "k", "v"), (d, *d.further), strict=True))
        return [found.get(role) for role in self.roles]


class AttentionGradient(_OfHeads):
    """The gradient of the packed inputs; or that of the queries, and further those of keys and values."""

    def infer(self, *inputs: Value) -> Type:
        return inputs[0].type

    def further(self, *inputs: Value) -> tuple[Type, ...]:
        return () if "z" in self.roles else (inputs[1].type, inputs[2].type)

    def scratch(self, rows: int, *inputs: Value) -> tuple[tuple[Shape, str], ...]:
        steps, keys = self.extent(inputs)
        queries = self.heads // self.groups * steps
        square = ((rows, self.heads, steps, keys), "float")
        return (
            ((rows, self.groups, queries, self.dim), "float"),
            ((rows, self.groups, keys, self.value_dim + 1), "float"),
            ((rows, self.groups, queries, self.value_dim + 1), "float"),
            square,
            *((square,) if "drop" in self.roles else ()),
            *self.mask_scratch(rows, inputs),
        )

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        weights, inverse = a["weights"], a["inverse"]
        queries, beside, down, slopes, *rest = site.scratch
        dropped = [rest.pop(0)] if "drop" in a else []
        (q, k, v), (dq, dk, dv) = self.given(a), self.parts([out, *site.aux])
        n, _, steps, _ = weights.shape
        dy, y = (a[r].reshape(n, steps, self.heads, self.value_dim) for r in ("dy", "y"))
        rows = down.reshape(n, self.heads, steps, self.value_dim + 1)
        scaled, slope = rows[..., :-1], rows[..., -1]
        passed = dropped[0] if dropped else weights
        seen = self.by_group(passed).swapaxes(2, 3)
        minus = np.asarray(-1, out.dtype)
        calls: list[Call] = [
            *self.mask_calls(a, rest, wanted=False),
            partial(np.einsum, "nthf,nthf->nht", dy, y, out=slope),
            partial(np.multiply, slope, inverse, slope),
            partial(np.multiply, slope, minus, slope),
            partial(np.multiply, dy.transpose(0, 2, 1, 3), inverse[..., None], scaled),
        ]
        if dropped:
            calls.append(partial(np.multiply, weights, a["drop"], passed))
        calls.append(partial(np.matmul, seen, down[..., :-1], dv))
        if self.dead:
            calls.append(partial(np.multiply, rows, rest[2], rows))
        calls += [partial(np.copyto, beside[..., :-1], v), partial(beside[..., -1].fill, 0 if dropped else 1)]
        calls.append(partial(np.matmul, down, beside.swapaxes(2, 3), self.by_group(slopes)))
        if dropped:
            calls.append(partial(np.multiply, slopes, a["drop"], slopes))
            calls.append(partial(np.add, slopes, slope[..., None], slopes))
        grouped = self.by_group(slopes)
        return [
            *calls,
            partial(np.multiply, slopes, weights, slopes),
            partial(np.copyto, queries.reshape(q.shape), q),
            partial(np.matmul, grouped.swapaxes(2, 3), queries, dk),
            partial(np.matmul, grouped, k, queries),
            partial(np.copyto, dq, queries.reshape(q.shape)),
        ]

    def flops(self, y: Value, rows: int) -> int:
        return 2 * super().flops(y, rows)


def _bounded(scores: Array, keep: Array | None) -> None:
    """Subtract the largest score of each row that counts, where exponentials might overflow or vanish."""
    if scores.max() < BOUND and scores.min() > -BOUND:
        return
    if keep is not None:
        np.copyto(scores, -np.inf, where=keep == 0)
    np.subtract(scores, scores.max(-1, keepdims=True), scores)


def attend(
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    drop: Value | None = None,
) -> Value:
    """What T queries (T, H, D), already scaled, read of values (S, G, F) by their keys (S, G, D): (T, H F).

    `mask`, true where a query may read a key, broadcasts to (H, T, S) and may be a constant; `drop`, of that very
    shape, multiplies the weights. Heads come in G groups that share keys and values.
    """
    heads, dim, groups, value_dim = *q.shape[1:], *v.shape[1:]
    flat = {role: reshape(x, (x.shape[0], x.shape[1] * x.shape[2])) for role, x in zip("qkv", (q, k, v), strict=True)}
    return _attend(flat, heads, groups, dim, value_dim, mask, drop)


def attend_packed(
    z: Value, heads: int, groups: int, dim: int, mask: Value | None = None, drop: Value | None = None
) -> Value:
    """The same where queries, keys and values of the same steps lie side by side, (T, H D + G D + G F)."""
    value_dim = z.shape[-1] // groups - dim - heads // groups * dim
    return _attend({"z": batch_major(z)}, heads, groups, dim, value_dim, mask, drop)


def _attend(
    given: dict[str, Value],
    heads: int,
    groups: int,
    dim: int,
    value_dim: int,
    mask: Value | None,
    drop: Value | None,
) -> Value:
    dead = mask is not None
    if mask is not None:
        given["mask"], source = mask, mask
        while source.op.view:
            source = source.inputs[0]
        if isinstance(source.op, Constant):
            dead = not source.op.array(np.dtype(bool)).any(-1).all()
    if drop is not None:
        given["drop"] = drop
    trace = next(iter(given.values())).trace
    return trace.add(Attention(tuple(given), heads, groups, dim, value_dim, dead), *given.values())


def causal(trace: Trace, steps: int, keys: int, window: int | None = None, forward: bool = True) -> Value:
    """A constant mask (T, S): no key after its query (`forward`), none `window` steps away or more."""
    distance = np.arange(steps)[:, None] - np.arange(keys)
    near = np.ones_like(distance, bool) if window is None else np.abs(distance) < window
    return constant(trace, near & (distance >= 0) if forward else near)
