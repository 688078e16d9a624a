"""Reading images elsewhere agrees with finite differences, and random numbers are spread as they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kerascli.engine.machine import Machine
from kerascli.engine.memory import SharedMemory
from kerascli.layer import Context, Layer
from kerascli.ops.image import resample
from kerascli.ops.image_move import along, crop_at, flip, pick
from kerascli.ops.image_random import MixingWeights, Uniform, WholeUniform, chance
from kerascli.ops.ir import Array, Input, Op, Scope, Site, Trace, Type, Value, constant
from kerascli.ops.random import _Random
from kerascli.program import plan as planning
from kerascli.program.interpret import evaluate
from tests.gradients import check

RNG = np.random.default_rng(3)
IMAGES = RNG.standard_normal((4, 5, 6, 2))
FILLS = ["constant", "nearest", "wrap", "reflect", "mirror"]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
def test_the_derivative_of_reading_elsewhere_is_its_adjoint(fill: str, kind: str) -> None:
    places = {"x": IMAGES, "down": RNG.uniform(-9, 14, (4, 3, 7)), "across": RNG.uniform(-9, 14, (4, 3, 7))}
    build: Callable[..., Value] = lambda x, down, across: resample(x, down, across, kind, fill, 0.7)  # noqa: E731
    check(build, places, constants=("down", "across"))
    straight = {"x": IMAGES, "down": places["down"][:, :, :1], "across": places["across"][:, :1]}
    check(build, straight, constants=("down", "across"))


def test_other_moves_differentiate() -> None:
    flags = np.array([True, False, True, True]).reshape(4, 1, 1, 1)
    check(lambda x, f: flip(x, f, (0, 1)), {"x": IMAGES, "f": flags})
    check(lambda x: crop_at(x, constant(x.trace, np.int32(2)), constant(x.trace, np.int32(1)), (3, 4)), {"x": IMAGES})
    check(lambda x: pick(x, (4, 0, 0, 3), 1), {"x": IMAGES})
    check(lambda x: along(x, RNG.standard_normal((5, 3)), 0), {"x": IMAGES})


@pytest.mark.parametrize("fill", FILLS)
def test_whole_places_read_pixels_as_they_are_and_those_outside_by_the_rule(fill: str) -> None:
    places = np.arange(-13.0, 19.0)
    row = np.arange(6.0)
    expected = {
        "constant": np.where((places < 0) | (places > 5), 9.0, places),
        "nearest": np.clip(places, 0, 5),
        "wrap": places % 6,
        "reflect": np.pad(row, (18, 18), mode="symmetric")[5 : 5 + 32],
        "mirror": np.pad(row, (20, 20), mode="reflect")[7 : 7 + 32],
    }[fill]
    for kind in ("bilinear", "nearest"):
        trace = Trace()
        x = trace.add(Input("x", Type((1, 6, 1))), scope=Scope.BLOCK)
        down, across = (trace.add(Input(k, Type((1, 32))), scope=Scope.BLOCK) for k in "ya")
        feeds = {"x": row.reshape(1, 1, 6, 1), "y": np.zeros((1, 1, 32)), "a": places.reshape(1, 1, 32)}
        (found,) = evaluate([resample(x, down, across, kind, fill, 9.0)], feeds, 1, np.float32)
        np.testing.assert_array_equal(found.reshape(-1), expected)


def draw(op: Op, rows: int, first: int = 0, step: int = 0, seed: int = 1, dtype: Any = np.float32) -> Array:
    shape = op.infer().shape
    count = 1 if getattr(op, "shared", True) else rows
    scratch = [np.empty(s, dtype if k == "float" else k) for s, k in op.scratch(rows)]
    out = np.full((count, *shape) if isinstance(op, _Random) else shape, 77, dtype)
    site = Site(rows, np.dtype(dtype), scratch, row=np.array([first, step], np.int64), seed=seed)
    for call in op.bind(site, out):
        call()
    return out


def test_uniform_numbers_fill_their_range_evenly_and_do_not_depend_on_blocks() -> None:
    op = Uniform((7,), 0, None, low=-2.0, high=3.0)
    x = draw(op, 4000).astype(np.float64)
    assert x.min() >= -2 and x.max() < 3
    shares = np.histogram(x, 50, (-2, 3))[0] / x.size
    assert np.abs(shares - 0.02).max() < 5 * np.sqrt(0.02 * 0.98 / x.size)
    assert abs(x.mean() - 0.5) < 4 * np.sqrt(25 / 12 / x.size)
    assert abs(x.var() - 25 / 12) < 0.03
    assert abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.03, "samples"
    assert abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]) < 0.07, "places"
    assert abs(np.corrcoef(x.ravel(), draw(op, 4000, step=1).ravel())[0, 1]) < 0.03, "steps"
    parts = [draw(op, 5), draw(op, 6, 5)]
    assert np.array_equal(draw(op, 11), np.concatenate(parts))
    np.testing.assert_allclose(draw(op, 11, dtype=np.float64), draw(op, 11), atol=1e-6)


def test_a_single_number_a_sample_is_spread_over_samples_and_over_steps() -> None:
    op = Uniform((), 0, None)
    over_samples = draw(op, 5000)
    over_steps = np.array([draw(op, 1, 3, step)[0] for step in range(3000)])
    for x in (over_samples, over_steps):
        counts = np.histogram(x, 20, (0, 1))[0]
        assert np.abs(counts - len(x) / 20).max() < 5 * np.sqrt(len(x) / 20)
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / np.sqrt(len(x))


def test_a_shared_number_is_that_of_the_step_alone() -> None:
    op = Uniform((2,), 0, None, True)
    assert np.array_equal(draw(op, 4), draw(op, 7, 32))
    assert not np.array_equal(draw(op, 4), draw(op, 4, step=1))


def test_whole_numbers_are_equally_likely() -> None:
    x = draw(WholeUniform((), 0, None, low=2.0, high=9.0), 7000)
    counts = np.bincount(x.astype(int), minlength=9)
    assert counts[:2].tolist() == [0, 0] and len(counts) == 9
    assert np.abs(counts[2:] - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_mixing_weights_are_dirichlet_and_beta(alpha: float) -> None:
    op = MixingWeights(3, alpha, 0, None)
    x = np.array([draw(op, 1, step=step, dtype=np.float64) for step in range(2000)])
    np.testing.assert_allclose(x[:, :3].sum(1), 1)
    assert np.array_equal(x[5], draw(op, 9, 8, step=5, dtype=np.float64))
    variance = (1 / 3) * (2 / 3) / (3 * alpha + 1)
    np.testing.assert_allclose(x[:, :3].var(0), variance, rtol=0.15)
    assert abs(x[:, 3].mean() - 0.5) < 0.04
    np.testing.assert_allclose(x[:, 3].var(), 1 / (4 * (2 * alpha + 1)), rtol=0.15)


@pytest.mark.parametrize("probability", [(0.0, 1.0), (0.3, 0.3), (0.2, 0.8), (0.0, 0.4)])
def test_chance_is_the_mean_of_its_ends(probability: tuple[float, float]) -> None:
    trace = Trace()
    (found,) = evaluate([chance(trace, probability)], {}, 6000, np.float32)
    share = sum(probability) / 2
    assert abs(found.mean() - share) < 4 * np.sqrt(share * (1 - share) / 6000)


def test_half_of_the_images_are_flipped_and_the_seed_of_a_layer_replaces_the_runs() -> None:
    x = np.arange(4.0).reshape(1, 1, 4, 1).repeat(3000, 0)
    first, other = (flipped({}, x, seed) for seed in (1, 2))
    assert abs(first.mean() - 0.5) < 0.04
    assert abs((first == other).mean() - 0.5) < 0.04
    assert np.array_equal(flipped({"seed": 9}, x, 1), flipped({"seed": 9}, x, 2))


def flipped(config: dict[str, Any], x: Array, seed: int) -> Array:
    trace = Trace()
    image = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    layer = Layer.parse({"type": "RandomFlip", "mode": "horizontal", **config})
    y = layer.call(Context(trace, True, (None,), "layer", {}, []), {}, image)
    found: Array = evaluate([y], {"x": x}, len(x), np.float32, seed)[0][:, 0, 0, 0] == 3
    return found


def test_policies_choose_every_change_and_only_work_out_the_chosen_one() -> None:
    x = RNG.uniform(0, 255, (2, 6, 6, 3)).astype(np.float32)
    trace = Trace()
    image = trace.add(Input("x", Type(x.shape[1:])), scope=Scope.BLOCK)
    layer = Layer.parse({"type": "RandAugment", "num_ops": 1})
    y = layer.call(Context(trace, True, (None,), "layer", {}, []), {}, image)
    number = y.inputs[1]
    plan = planning.make_plan([y, number], 2)
    counters = np.zeros((2, 2), np.int64)
    machine = Machine(plan, SharedMemory(), {"x": x}, {}, np.arange(2), counters, 0)
    bound = machine.bind(2, {"x": x}, range(plan.lanes))
    seen: dict[int, Array] = {}
    for step in range(120):
        counters[:, 1] = step
        for stage in bound.stages:
            for calls in stage:
                for call in calls:
                    call()
        seen[int(machine.result(number, 2))] = machine.result(y, 2).copy()
    assert set(seen) == set(range(11))
    assert len({array.tobytes() for array in seen.values()}) >= 10  # two may leave an image as it is
