"""Scaled dot-product attention of every head of a sample, as one op with a derivative of its own.

E = exp(Q Kᵀ) ∘ mask;  r = 1 / Σ E;  y = r (E ∘ drop) V        (Vaswani et al., 2017; the caller scales Q)

A column of ones beside V makes the sums part of the product E V. In the derivative a column beside r dy does the same
for the softmax: (r dy) Vᵀ − r (dy · y) is one product, and times E it is the gradient of the scores. The largest score
is subtracted only where the sums of a block show that exponentials are too large or too small; then all is done again.

Legend: n rows of a block, H heads, G groups of R = H / G heads that share keys and values, T queries, S keys,
D features of queries and keys, F features of values, beside which lies the column of ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from kerascli.ops.ir import Array, Call, Constant, Op, Scope, Shape, Site, Trace, Type, Value, constant
from kerascli.ops.linear import SpreadOverBatch
from kerascli.ops.shape import batch_major, concatenate, reshape

SUMS = (1e-18, 1e18)
"""Sums of exponentials that are far from both ends of float32; beyond, the largest score is subtracted first."""

Roles = Mapping[str, Array]


class _OfHeads(Op):
    """`roles` names the inputs: packed queries, keys and values `z`, or `q`, `k` and `v`; optionally `mask`, `drop`."""

    roles: tuple[str, ...]
    heads: int
    groups: int
    dim: int
    value_dim: int
    dead: str = ""
    """What a query reads that the mask leaves no key: the `mean` of all values, or `zero`; empty if there is none."""
    cheap = False

    def extent(self, inputs: Sequence[Value]) -> tuple[int, int]:
        """T and S."""
        v = dict(zip(self.roles, inputs, strict=True))
        return (v["z"] if "z" in v else v["q"]).shape[0], (v["z"] if "z" in v else v["v"]).shape[0]

    def parts(self, arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Queries (n, G, R, T, D), keys (n, G, S, D) and values (n, G, S, F + 1), as views of one array or of three."""
        if len(arrays) == 1:
            (z,), a, b = arrays, self.heads * self.dim, self.groups * self.dim
            arrays = z[:, :, :a], z[:, :, a : a + b], z[:, :, a + b :]
        q, k, v = arrays
        n, steps, _ = q.shape
        queries = q.reshape(n, steps, self.groups, -1, self.dim).transpose(0, 2, 3, 1, 4)
        keys = k.reshape(n, -1, self.groups, self.dim).transpose(0, 2, 1, 3)
        return queries, keys, v.reshape(n, -1, self.groups, self.value_dim + 1).transpose(0, 2, 1, 3)

    def given(self, a: Roles) -> tuple[Array, Array, Array]:
        return self.parts([a["z"]] if "z" in a else [a["q"], a["k"], a["v"]])

    def by_group(self, x: Array) -> Array:
        """(n, H, T, ...) → (n, G, R T, ...): queries of heads that share their keys lie one after the other."""
        n, _, *rest = x.shape
        return x.reshape(n, self.groups, -1, *rest[1:])

    @property
    def copied(self) -> bool:
        """Whether queries need a place of their own: to lie group by group, or to be changed."""
        return self.heads > self.groups or self.dead == "mean"

    def scratches(self, rows: int, inputs: Sequence[Value], squares: int, sums: bool) -> tuple[tuple[Shape, str], ...]:
        """What both ways need: y with a column beside it, so many arrays (H, T, S), the mask's, queries."""
        steps, keys = self.extent(inputs)
        queries = self.heads // self.groups * steps
        return (
            ((rows, self.groups, queries, self.value_dim + 1), "float"),
            *((((rows, self.heads, steps, keys), "float"),) * squares),
            *((((rows, steps, self.heads, self.value_dim), "float"), ((rows, steps, self.heads), "float")) * sums),
            *((((rows, self.groups, queries, self.dim), "float"),) * self.copied),
            *self.mask_scratch(rows, inputs),
        )

    def query_rows(self, q: Array, scratch: list[Array]) -> tuple[Array, list[Call]]:
        """The queries as (n, G, R T, D), and the calls that put them there."""
        if not self.copied:
            return q[:, :, 0], []
        room = scratch.pop(0)
        return room, [partial(np.copyto, room.reshape(q.shape), q)]

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
        return self.scratches(rows, inputs, squares=int("drop" in self.roles), sums=False)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        (weights, inverse), (read, *rest) = site.aux, site.scratch
        dropped = rest.pop(0) if "drop" in a else None
        q, k, v = self.given(a)
        rows, calls = self.query_rows(q, rest)
        calls += self.mask_calls(a, rest)
        n, _, steps, _ = weights.shape
        if self.dead == "mean":
            by_head = rows.reshape(n, self.heads, steps, self.dim)
            calls.append(partial(np.multiply, by_head, rest[2], by_head))
        score = partial(np.matmul, rows, k.swapaxes(2, 3), self.by_group(weights))
        weigh: list[Call] = [partial(np.exp, weights, weights)]
        if rest:
            weigh.append(partial(np.multiply, weights, rest[0], weights))
        if dropped is None:
            sums = read[..., -1]
            weigh.append(partial(np.matmul, self.by_group(weights), v, read))
        else:
            sums = self.by_group(inverse)
            weigh.append(partial(np.add.reduce, weights, -1, None, inverse))
        calls += [score, *weigh, partial(_mend, sums, weights, rest[0] if rest else None, score, weigh)]
        calls.append(partial(np.reciprocal, sums, self.by_group(inverse)))
        if self.dead == "zero":
            calls.append(partial(np.multiply, inverse, rest[2][..., 0], inverse))
        if dropped is not None:
            calls.append(partial(np.multiply, weights, a["drop"], dropped))
            calls.append(partial(np.matmul, self.by_group(dropped), v, read))
        values = read.reshape(n, self.heads, steps, -1)[..., :-1]
        result = out.reshape(n, steps, self.heads, self.value_dim).transpose(0, 2, 1, 3)
        return [*calls, partial(np.multiply, values, inverse[..., None], result)]

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
        return self.scratches(rows, inputs, squares=1 + ("drop" in self.roles), sums=True)

    def bind(self, site: Site, out: Array, *inputs: Array) -> Sequence[Call]:
        a = dict(zip(self.roles, inputs, strict=True))
        weights, inverse, (down, slopes, *rest) = a["weights"], a["inverse"], site.scratch
        dropped = rest.pop(0) if "drop" in a else None
        terms, sums = rest.pop(0), rest.pop(0)
        (q, k, v), (dq, dk, dv) = self.given(a), self.parts([out, *site.aux])
        rows, calls = self.query_rows(q, rest)
        if self.dead == "mean":
            calls += self.mask_calls(a, rest, wanted=False)
        dy, y = (a[r].reshape(terms.shape) for r in ("dy", "y"))
        beside = down.reshape(*inverse.shape, -1)
        minus = site.constant(-1, (self.value_dim,))
        calls += [
            partial(np.multiply, dy, y, terms),
            partial(np.dot, terms.reshape(-1, self.value_dim), minus, sums.reshape(-1)),
            partial(np.multiply, sums.transpose(0, 2, 1), inverse, beside[..., -1]),
            partial(np.multiply, dy.transpose(0, 2, 1, 3), inverse[..., None], beside[..., :-1]),
        ]
        if dropped is not None:
            calls.append(partial(np.multiply, weights, a["drop"], dropped))
        passed = self.by_group(weights if dropped is None else dropped)
        calls += [partial(np.matmul, passed.swapaxes(2, 3), down[..., :-1], dv[..., :-1]), partial(dv[..., -1].fill, 0)]
        if self.dead == "mean":
            calls.append(partial(np.multiply, beside, rest[2], beside))
        grouped = self.by_group(slopes)
        if dropped is None:
            calls.append(partial(np.matmul, down, v.swapaxes(2, 3), grouped))
        else:
            calls += [
                partial(np.matmul, down[..., :-1], v[..., :-1].swapaxes(2, 3), grouped),
                partial(np.multiply, slopes, a["drop"], slopes),
                partial(np.add, slopes, beside[..., -1:], slopes),
            ]
        calls += [
            partial(np.multiply, slopes, weights, slopes),
            partial(np.matmul, grouped.swapaxes(2, 3), rows, dk),
        ]
        if not self.copied:
            return [*calls, partial(np.matmul, grouped, k, dq[:, :, 0])]
        return [*calls, partial(np.matmul, grouped, k, rows), partial(np.copyto, dq, rows.reshape(q.shape))]

    def flops(self, y: Value, rows: int) -> int:
        return 2 * super().flops(y, rows)


def _mend(sums: Array, scores: Array, keep: Array | None, score: Call, weigh: Sequence[Call]) -> None:
    """Where exponentials were too large or too small, begin anew and subtract each row's largest score that counts."""
    if SUMS[0] < sums.min() and sums.max() < SUMS[1]:
        return
    score()
    if keep is not None:
        np.copyto(scores, -np.inf, where=keep == 0)
    np.subtract(scores, scores.max(-1, keepdims=True), scores)
    for call in weigh:
        call()


def attend(
    q: Value, k: Value, v: Value, mask: Value | None = None, drop: Value | None = None, dead: str = "mean"
) -> Value:
    """What T queries (T, H, D), already scaled, read of values (S, G, F) by their keys (S, G, D): (T, H F).

    `mask`, true where a query may read a key, broadcasts to (H, T, S) and may be a constant; `drop`, of that very
    shape, multiplies the weights. Heads come in G groups that share keys and values. A query without a key reads the
    `mean` of all values, or `zero`.
    """
    keys, groups, width = v.shape
    ones = v.trace.add(SpreadOverBatch(0), constant(v.trace, np.ones((keys, groups, 1))), v)
    parts = zip("qkv", (q, k, concatenate([batch_major(v), ones])), strict=True)
    flat = {role: reshape(x, (x.shape[0], x.shape[1] * x.shape[2])) for role, x in parts}
    return _attend(flat, (q.shape[1], groups, q.shape[2], width), mask, drop, dead)


def attend_packed(
    z: Value, heads: int, groups: int, dim: int, mask: Value | None, drop: Value | None, dead: str
) -> Value:
    """The same where queries, keys and values of the same steps lie side by side, (T, H D + G D + G (F + 1))."""
    wide = (z.shape[-1] - (heads + groups) * dim) // groups
    return _attend({"z": batch_major(z)}, (heads, groups, dim, wide - 1), mask, drop, dead)


def _attend(
    given: dict[str, Value], sizes: tuple[int, int, int, int], mask: Value | None, drop: Value | None, dead: str
) -> Value:
    if mask is None:
        dead = ""
    else:
        given["mask"], source = mask, mask
        while source.op.view:
            source = source.inputs[0]
        if isinstance(source.op, Constant) and source.op.array(np.dtype(bool)).any(-1).all():
            dead = ""
    if drop is not None:
        given["drop"] = drop
    trace = next(iter(given.values())).trace
    return trace.add(Attention(tuple(given), *sizes, dead), *given.values())


def causal(trace: Trace, steps: int, keys: int, window: int | None = None, forward: bool = True) -> Value:
    """A constant mask (T, S): no key after its query (`forward`), none `window` steps away or more."""
    distance = np.arange(steps)[:, None] - np.arange(keys)
    near = np.ones_like(distance, bool) if window is None else np.abs(distance) < window
    return constant(trace, near & (distance >= 0) if forward else near)
