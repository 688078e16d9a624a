"""What every optimizer promises, enumerated from the registry."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.component import load_family
from kerascli.ops.ir import Array
from kerascli.optimizers.base import ACCUMULATOR, Optimizer
from kerascli.schedules import Schedule

load_family("optimizer")
COMMON = {"weight_decay": 0.1, "use_ema": True, "ema_overwrite_frequency": 2}
CASES = [
    pytest.param({"type": name, **example.config, **options}, id=f"{name}-{k}-{'options' if options else 'plain'}")
    for name, member in Optimizer.members.items()
    for k, example in enumerate(member.examples)
    for options in ({}, COMMON)
]
SIZE = 37


class Run:
    """A flat vector of weights, or a matrix of as many, under an optimizer."""

    def __init__(
        self, optimizer: Optimizer, dtype: Any = np.float32, size: int = SIZE, shape: tuple[int, ...] = (-1,)
    ) -> None:
        rng = np.random.default_rng(0)
        self.optimizer, self.iteration = optimizer, 0
        self.w = rng.normal(size=size).astype(dtype)
        self.gradients = rng.normal(size=(4, size)).astype(dtype)
        self.slots = {n: np.full(size, first, dtype) for n, first in optimizer.slots().items()}
        self.scratch = [np.full(size, np.nan, dtype).reshape(shape) for _ in range(optimizer.scratches)]
        self.slots = {n: s.reshape(shape) for n, s in self.slots.items()}
        self.w, self.gradients = self.w.reshape(shape), self.gradients.reshape(4, *shape)
        self.rule = optimizer.rule_of("w", self.w.shape)

    def advance(self, cuts: list[int] | None = None) -> None:
        ends = [0, *(cuts or []), len(self.w)]
        g = self.gradients[self.iteration % 4]
        for a, b in pairwise(ends):
            slots = {n: s[a:b] for n, s in self.slots.items()}
            scratch = [s[a:b] for s in self.scratch]
            self.rule.advance(self.w[a:b], g[a:b], slots, scratch, self.iteration, 0.01)
        self.iteration += 1


@pytest.mark.parametrize("spec", CASES)
def test_slices_give_the_same_bits_as_the_whole(spec: dict[str, Any]) -> None:
    whole, cut = Run(Optimizer.parse(spec)), Run(Optimizer.parse(spec))
    if not whole.optimizer.elementwise:
        pytest.skip("works on whole weights")
    for _ in range(4):
        whole.advance()
        cut.advance([1, 16, 30])
    np.testing.assert_array_equal(whole.w, cut.w)
    for name in whole.slots:
        np.testing.assert_array_equal(whole.slots[name], cut.slots[name])


@pytest.mark.parametrize("shape", [(37,), (6, 6), (2, 9), (9, 2)])
@pytest.mark.parametrize("spec", CASES)
def test_weights_move_gradients_stay_and_precision_too(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    optimizer = Optimizer.parse(spec)
    if optimizer.elementwise and len(shape) > 1:
        pytest.skip("knows no shapes")
    single, double = (Run(optimizer, dtype, prod(shape), shape) for dtype in (np.float32, np.float64))
    single.gradients[:] = double.gradients
    single.w[:] = double.w
    before, start = single.gradients.copy(), single.w.copy()
    for _ in range(3):
        single.advance()
        double.advance()
    np.testing.assert_array_equal(single.gradients, before)
    assert not (single.w == start).any()
    np.testing.assert_allclose(single.w, double.w, atol=1e-5)


@pytest.mark.parametrize("shape", [(-1,), (100, 500), (500, 100)], ids=str)
@pytest.mark.parametrize("spec", CASES)
def test_a_step_allocates_nothing(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    optimizer = Optimizer.parse(spec)
    if optimizer.elementwise and len(shape) > 1:
        pytest.skip("knows no shapes")
    run = Run(optimizer, size=50_000, shape=shape)
    slices = (run.w, run.gradients[0], run.slots, run.scratch)
    for iteration in range(2):
        run.rule.advance(*slices, iteration, 0.01)
    tracemalloc.start()
    for iteration in range(2, 4):
        run.rule.advance(*slices, iteration, 0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (5_000 if len(shape) == 1 else 70_000)  # NumPy's own buffers, where it sums along an axis


@pytest.mark.parametrize("spec", CASES)
def test_what_is_dumped_loads_as_the_same(spec: dict[str, Any]) -> None:
    optimizer = Optimizer.parse(spec)
    assert Optimizer.parse(optimizer.dump()) == optimizer


def test_a_learning_rate_may_be_a_schedule() -> None:
    decay = {"type": "ExponentialDecay", "initial_learning_rate": 0.5, "decay_steps": 1, "decay_rate": 0.5}
    optimizer = Optimizer.parse({"type": "SGD", "learning_rate": decay})
    assert isinstance(optimizer.learning_rate, Schedule)
    assert optimizer.rate(2, 9.0) == 0.125
    assert Optimizer.parse({"type": "SGD", "learning_rate": 1}).rate(2, 0.25) == 0.25


def test_accumulated_gradients_wait_for_their_step() -> None:
    optimizer = Optimizer.parse({"type": "SGD", "gradient_accumulation_steps": 2})
    totals: list[Array] = [np.zeros(2, np.float32)]
    assert not optimizer.prepare([np.array([1, 2], np.float32)], totals, 0)
    g = np.array([3, 6], np.float32)
    assert optimizer.prepare([g], totals, 1)
    np.testing.assert_array_equal(g, [2, 4])
    np.testing.assert_array_equal(totals[0], 0)
    assert ACCUMULATOR in optimizer.slots()


def test_a_gradient_within_its_limit_keeps_its_bits() -> None:
    g = np.array([0.1, 0.2], np.float32)
    Optimizer.parse({"type": "SGD", "clipnorm": 1.0}).clip([g])
    np.testing.assert_array_equal(g, np.array([0.1, 0.2], np.float32))


def test_an_infinite_global_norm_makes_every_gradient_nan() -> None:
    gradients = [np.array([np.inf], np.float32), np.array([1], np.float32)]
    Optimizer.parse({"type": "SGD", "global_clipnorm": 1.0}).clip(gradients)
    assert np.isnan(gradients[1]).all()


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        (
            {"clipnorm": 1.0, "clipvalue": 0.5},
            (),
            "only one of `clipnorm`, `clipvalue` and `global_clipnorm`",
        ),
        ({"gradient_accumulation_steps": 1}, ("gradient_accumulation_steps",), "greater than or equal to 2"),
        ({"momentum": 1.5}, ("momentum",), "less than or equal to 1"),
        ({"learning_rate": True}, ("learning_rate",), "name of a schedule"),
        ({"learning_rate": -0.1}, ("learning_rate",), "0 or more"),
        ({"learning_rate": {"type": "ExponentialDecay"}}, ("learning_rate", "decay_steps"), "required"),
    ],
)
def test_impossible_options_are_refused_where_they_stand(options: dict[str, Any], where: Any, what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Optimizer.parse({"type": "SGD", **options})
    assert any(e["loc"] == where and what in e["msg"] for e in caught.value.errors())


def test_adamw_needs_its_weight_decay() -> None:
    with pytest.raises(ValidationError):
        Optimizer.parse({"type": "AdamW", "weight_decay": None})
