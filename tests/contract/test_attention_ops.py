"""The attention op agrees with a softmax written out, and its derivative with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from kerascli.ops.attention import attend, causal
from kerascli.ops.elementwise import greater
from kerascli.ops.ir import Array, Value
from tests.gradients import check
from tests.traces import computed

N = 3
SIZES = [(2, 2, 4, 5, 3, 2), (4, 2, 3, 5, 2, 3), (4, 1, 3, 3, 2, 2)]
"""H heads, G groups, T queries, S keys, D and F features."""
MASKS = ["none", "given", "causal", "window"]


def oracle(
    q: Array, k: Array, v: Array, mask: Array | None = None, drop: Array | None = None, dead: str = "mean"
) -> Array:
    heads, groups = q.shape[2], k.shape[2]
    k, v = (x.repeat(heads // groups, 2) for x in (k, v))
    scores = np.einsum("nthd,nshd->nhts", q, k)
    if mask is not None:
        scores = np.where(mask, scores, -1e9)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    if dead == "zero" and mask is not None:
        weights = np.where(mask, weights, 0)
    if drop is not None:
        weights = weights * drop
    return np.einsum("nhts,nshf->nthf", weights, v).reshape(*q.shape[:2], -1)


def draw(size: tuple[int, ...], loud: float = 1.0) -> dict[str, Array]:
    heads, groups, steps, keys, dim, width = size
    rng = np.random.default_rng(0)
    shapes = {"q": (steps, heads, dim), "k": (keys, groups, dim), "v": (keys, groups, width)}
    found = {name: rng.standard_normal((N, *shape)) for name, shape in shapes.items()}
    return {**found, "q": found["q"] * loud}


def run(blocks: dict[str, Array], mask: Array | None = None, dtype: type = np.float64) -> Array:
    return computed(attend, blocks if mask is None else {**blocks, "mask": mask}, dtype=dtype)


@pytest.mark.parametrize("dropped", [False, True], ids=["whole", "dropped"])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("loud", "dead"), [(1.0, "mean"), (60.0, "zero"), (1.0, "zero")], ids=str)
def test_heads_read_a_softmax_of_scores(
    size: tuple[int, ...], kind: str, dropped: bool, loud: float, dead: str
) -> None:
    heads, _, steps, keys, *_ = size
    rng = np.random.default_rng(1)
    blocks = draw(size, loud)
    noise = rng.standard_normal((N, 1, steps, keys))
    noise[0, 0, 1] = -1  # a query that may read nothing
    drop = rng.standard_normal((N, heads, steps, keys))
    masks = {"given": noise > 0, "causal": np.tril(np.ones((1, steps, keys), bool))}
    masks["window"] = masks["causal"] & np.triu(np.ones((1, steps, keys), bool), -1)

    def build(q: Value, k: Value, v: Value, noise: Value | None = None, drop: Value | None = None) -> Value:
        mask = greater(noise, 0.0) if noise is not None else None
        if kind in ("causal", "window"):
            mask = causal(q.trace, steps, keys, 2 if kind == "window" else None)
        return attend(q, k, v, mask, drop, dead)

    extra = ({"noise": noise} if kind == "given" else {}) | ({"drop": drop} if dropped else {})
    check(build, {**blocks, **extra}, constants=[*extra])
    got = computed(build, blocks | extra)
    expected = oracle(**blocks, mask=masks.get(kind), drop=drop if dropped else None, dead=dead)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_scores_beyond_float32s_exponentials_are_no_trouble() -> None:
    blocks = draw(SIZES[0], loud=300.0)
    assert np.abs(np.einsum("nthd,nshd->nhts", blocks["q"], blocks["k"])).max() > 300
    np.testing.assert_allclose(run(blocks, dtype=np.float32), oracle(**blocks), rtol=1e-3, atol=1e-3)


def test_a_masked_score_may_be_the_largest_by_far() -> None:
    blocks = draw(SIZES[0])
    blocks["k"][:, 0] *= 1e4
    mask = np.ones((N, 1, 4, 5), bool)
    mask[..., 0] = False
    np.testing.assert_allclose(run(blocks, mask, np.float32), oracle(**blocks, mask=mask), rtol=1e-4, atol=1e-5)


def test_a_query_that_may_read_nothing_weighs_all_keys_alike() -> None:
    blocks = draw(SIZES[0])
    got = run(blocks, np.zeros((N, 1, 4, 5), bool))
    expected = np.broadcast_to(blocks["v"].mean(1).reshape(N, 1, -1), got.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
