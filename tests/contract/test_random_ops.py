"""Random numbers depend on the seed, the step, the place in the network and the sample, and on nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerascli.ops.index import ScatterAdd, gather, one_hot
from kerascli.ops.ir import Array, Input, Op, Scope, Site, Trace, Type, Weight
from kerascli.ops.random import KeepMask, Noise, dropout, gaussian_noise
from kerascli.program.interpret import evaluate
from tests.gradients import check


def draw(op: Op, rows: int, first: int = 0, step: int = 0, seed: int = 1, dtype: Any = np.float32) -> Array:
    """What the op gives for `rows` samples that begin at number `first` of the batch."""
    shape = op.infer().shape
    scratch = [np.empty(s, dtype if k == "float" else k) for s, k in op.scratch(rows)]
    out = np.full((rows, *shape), 77, dtype)
    site = Site(rows, np.dtype(dtype), scratch, row=np.array([first, step], np.int64), seed=seed)
    for call in op.bind(site, out):
        call()
    return out


OPS = [KeepMask((5, 3), 0, None, rate=0.3), Noise((5, 3), 0, None), Noise((1,), 0, None), KeepMask((), 0, None)]


@pytest.mark.parametrize("op", OPS, ids=repr)
def test_blocks_of_any_size_give_the_whole(op: Op) -> None:
    whole = draw(op, 12)
    parts = [draw(op, 5), draw(op, 1, 5), draw(op, 6, 6)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole, draw(op, 12))
    np.testing.assert_allclose(whole, draw(op, 12, dtype=np.float64), atol=2e-6)


def test_every_part_of_the_key_matters() -> None:
    op = Noise((100,), 0, None)
    first = draw(op, 4)
    for other in (
        draw(op, 4, step=1),
        draw(op, 4, seed=2),
        draw(Noise((100,), 1, None), 4),
        draw(Noise((100,), 0, 1), 4),
        draw(op, 4, first=4),
    ):
        assert abs(float(np.corrcoef(first.ravel(), other.ravel())[0, 1])) < 0.2
        assert not np.isin(first, other).any()


def test_a_layers_own_seed_replaces_the_runs() -> None:
    op = KeepMask((50,), 3, 11, rate=0.5)
    assert np.array_equal(draw(op, 4, seed=1), draw(op, 4, seed=2))


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate: float) -> None:
    mask = draw(KeepMask((1000,), 0, None, rate=rate), 400)
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - rate))}
    sd = np.sqrt(rate * (1 - rate) / mask.size)
    assert abs((mask == 0).mean() - rate) < 4 * sd
    together = (mask[:, 1:] == 0) & (mask[:, :-1] == 0)
    assert abs(together.mean() - rate**2) < 6 * sd
    across = (mask[1:] == 0) & (mask[:-1] == 0)
    assert abs(across.mean() - rate**2) < 6 * sd


@pytest.mark.parametrize(("rate", "mean"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_of_nothing_and_of_everything(rate: float, mean: float) -> None:
    mask = draw(KeepMask((1000,), 0, None, rate=rate), 66)
    assert abs(mask.mean() - mean) < 1e-4


def test_noise_is_normal() -> None:
    noise = draw(Noise((1001,), 0, None), 400).astype(np.float64)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < 0.01
    assert abs((noise**3).mean()) < 0.03
    assert abs((noise**4).mean() - 3) < 0.06
    share = np.array([(np.abs(noise) < k).mean() for k in (1, 2, 3)])
    np.testing.assert_allclose(share, [0.6827, 0.9545, 0.9973], atol=2e-3)


def test_dropout_and_noise_differentiate() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    check(lambda x: dropout(x, 0.4), {"x": x})
    check(lambda x: dropout(x, 0.4, (1, 5)), {"x": x})
    check(lambda x: dropout(x, 0.4, (4, 5), seed=3, shared=True), {"x": x})
    check(lambda x: gaussian_noise(x, 0.3), {"x": x})


def test_a_shared_mask_is_the_same_for_all_samples() -> None:
    trace = Trace()
    x = trace.add(Input("x", Type((50,))), scope=Scope.BLOCK)
    y = evaluate([dropout(x, 0.5, shared=True)], {"x": np.ones((4, 50))}, 4)[0]
    assert (y == y[:1]).all()
    assert 0 < (y == 0).sum() < y.size


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_gather_takes_rows_and_its_gradient_adds_repeated_ones(dtype: str) -> None:
    rng = np.random.default_rng(3)
    ids, table = rng.integers(0, 6, (3, 7)).astype(dtype), rng.standard_normal((6, 4))
    trace = Trace()
    weight = trace.add(Weight("w", (6, 4)), scope=Scope.WEIGHT)
    rows = gather(weight, trace.add(Input("i", Type((7,), dtype)), scope=Scope.BLOCK))
    assert np.array_equal(evaluate([rows], {"w": table, "i": ids}, 3)[0], table[ids])
    check(lambda i, w: gather(w, i), {"i": ids}, {"w": table})


@pytest.mark.parametrize("count", [1, 2, 3])
def test_lanes_share_a_scatter_by_columns(count: int) -> None:
    rng = np.random.default_rng(4)
    ids, dy = rng.integers(0, 9, (40, 100)).astype(np.int32), rng.standard_normal((40, 100, 13)).astype(np.float32)
    out = np.full((9, 13), 77, np.float32)
    parts = ScatterAdd(out.shape).strips(Site(40, np.dtype(np.float32)), count, out, dy, ids)
    assert len(parts) == count
    for calls in reversed(parts):
        for call in calls:
            call()
    expected = np.zeros((9, 13))
    np.add.at(expected, ids.reshape(-1), dy.reshape(-1, 13))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_one_hot() -> None:
    trace = Trace()
    ids = trace.add(Input("i", Type((2,), "int32")), scope=Scope.BLOCK)
    codes = evaluate([one_hot(ids, 3)], {"i": np.array([[0, 2], [1, 1]])}, 2)[0]
    assert codes.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]
