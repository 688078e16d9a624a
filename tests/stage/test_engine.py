"""The engine: the same numbers as the plain interpreter, the same bits however many workers there are, and no waste."""

from __future__ import annotations

import contextlib
import os
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.engine.machine import Machine
from kerascli.engine.memory import SharedMemory
from kerascli.engine.team import forks, start_team
from kerascli.errors import Failure
from kerascli.ops.ir import Array, Scope
from kerascli.program import plan as plans
from kerascli.program.build import training_program
from kerascli.program.plan import make_plan
from tests.steps import by_engine, by_interpreter, require_equal
from tests.trained import CNN, NETS, Lesson, lesson

needs_forks = pytest.mark.skipif(not forks(), reason="lanes are threads here")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Lesson, dict[str, Array]]]:
    """Every net, trained by one worker."""
    found = {}
    for name, text in NETS.items():
        one = lesson(text, tmp_path_factory.mktemp(name))
        found[name] = one, one.fit()
    return found


# ---- the same bits


@pytest.mark.parametrize(
    ("workers", "processes"), [(1, True), (2, True), (3, True), (2, False), (3, False)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("net", NETS)
def test_any_number_and_kind_of_workers_gives_the_same_bits(
    net: str, workers: int, processes: bool, alone: dict[str, tuple[Lesson, dict[str, Array]]], tmp_path: Path
) -> None:
    if processes and not forks():
        pytest.skip("lanes are threads here")
    one, expected = alone[net]
    plan = one.runner.session.plan(0)
    assert plan.lanes > (3 if net == "lstm" else 1) and len(one.data.train) % plan.batch, (
        "the test needs lanes and a ragged last batch"
    )
    other = lesson(NETS[net], tmp_path, workers, processes)
    weights = other.fit()
    assert other.logs == one.logs
    for path, array in expected.items():
        assert array.tobytes() == weights[path].tobytes(), path


def test_another_seed_gives_other_weights(alone: dict[str, Any], tmp_path: Path) -> None:
    weights = lesson(NETS["mlp"].replace("seed: 3", "seed: 4"), tmp_path).fit()
    assert any((array != weights[path]).any() for path, array in alone["mlp"][1].items())


# ---- the same numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("net", NETS)
def test_a_step_computes_what_the_interpreter_computes(net: str, lanes: int, dtype: str, tmp_path: Path) -> None:
    """Loss, outputs, updates and every gradient of a training step; 23 rows make a ragged last block."""
    found, rows = lesson(NETS[net], tmp_path), np.arange(60, 83)[::-1]
    program = training_program(found.model.graph, found.model.targets, weighted=False)
    mine = by_engine(found, program, rows, 25, dtype, lanes)
    require_equal(mine, by_interpreter(found, program, rows, dtype), 1e-12 if dtype == "float64" else 2e-4)


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sums over samples are taken for big ones, which lanes make together."""
    monkeypatch.setattr(plans, "BIG_SUM", 1)
    monkeypatch.setattr(plans, "SLICE", 40)


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("net", ["cnn", "lstm"])
def test_sums_that_lanes_make_together_are_the_interpreters(net: str, lanes: int, tmp_path: Path) -> None:
    found, rows = lesson(NETS[net], tmp_path), np.arange(60, 83)[::-1]
    program = training_program(found.model.graph, found.model.targets, weighted=False)
    assert any(plans.is_divided(value) for value in program.trace.values)
    mine = by_engine(found, program, rows, 25, "float64", lanes)
    require_equal(mine, by_interpreter(found, program, rows, "float64"), 1e-12)


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("workers", [2, 3])
def test_sums_that_lanes_make_together_have_the_same_bits(workers: int, tmp_path: Path) -> None:
    one, other = lesson(CNN, tmp_path), lesson(CNN, tmp_path, workers, forks())
    expected, weights = one.fit(), other.fit()
    for path, array in expected.items():
        assert array.tobytes() == weights[path].tobytes(), path


def test_a_big_sum_lies_in_memory_once(tmp_path: Path) -> None:
    """A kernel of 260,000 numbers that is used at every step of a sequence: no lane has a copy of its gradient."""
    text = """
dataset: {type: synthetic, kind: regression, samples: 256, shape: [32, 512]}
layers: [{type: Dense, units: 512}, Flatten, {type: Dense, units: 1}]
loss: mse
training: {epochs: 1, batch_size: 256}
"""
    found = lesson(text, tmp_path)
    plan = make_plan(training_program(found.model.graph, found.model.targets, weighted=False).sinks(), 256)
    memory, index = SharedMemory(), np.zeros(256, np.int64)
    variables = {"inverse_batch": np.zeros(())}
    machine = Machine(plan, memory, found.runner.parameters.weights, variables, index, np.zeros((256, 2), np.int64), 0)
    copies = {slot.value.size: len(arrays) for slot, arrays in machine.sums.items()}
    assert copies[512 * 512] == 1 and copies[512] == plan.lanes > 2


def test_a_batch_of_fewer_blocks_than_lanes_adds_up_those_lanes_that_have_one(tmp_path: Path) -> None:
    """Three blocks go to three lanes that do not stand side by side."""
    found, rows = lesson(NETS["cnn"], tmp_path), np.arange(60, 130)
    program = training_program(found.model.graph, found.model.targets, weighted=False)
    plan = make_plan(program.sinks(), 100, lanes=8)
    assert 8 > -(-len(rows) // plan.block) > 2
    mine = by_engine(found, program, rows, 100, "float32", 8)
    require_equal(mine, by_interpreter(found, program, rows, "float32"), 2e-4)


def test_accumulated_gradients_take_one_step_for_several_batches(tmp_path: Path) -> None:
    """Two batches of 40 with accumulation are one batch of 80, where the loss is a mean."""
    text = """
dataset: {type: synthetic, kind: regression, samples: 160, shape: [6]}
layers: [{type: Dense, units: 5, activation: tanh}, {type: Dense, units: 1}]
loss: mse
optimizer: {type: SGD, learning_rate: 0.1, momentum: 0.9}
training: {epochs: 3, batch_size: 80, shuffle: false}
"""
    whole = lesson(text, tmp_path).fit()
    halves = text.replace("momentum: 0.9", "momentum: 0.9, gradient_accumulation_steps: 2")
    parts = lesson(halves.replace("batch_size: 80", "batch_size: 40"), tmp_path).fit()
    for path, array in whole.items():
        np.testing.assert_allclose(parts[path], array, rtol=1e-5, atol=1e-6)


def test_constraints_hold_after_every_step(tmp_path: Path) -> None:
    text = NETS["mlp"].replace(", use_ema: true, ema_momentum: 0.9", "")  # the average is of weights not yet limited

    def longest(text: str) -> float:
        kernel = lesson(text, tmp_path).fit()["dense/kernel"]
        return float(np.sqrt((kernel**2).sum(0)).max())

    assert longest(text) <= 0.4 + 1e-5
    assert longest(text.replace("max_value: 0.4", "max_value: 100.0")) > 0.4 + 1e-3, "or the test shows nothing"


# ---- no waste


@contextlib.contextmanager
def small_buffers() -> Iterator[None]:
    before = np.setbufsize(64)
    yield
    np.setbufsize(before)


@pytest.mark.parametrize("net", NETS)
def test_steps_allocate_no_arrays(net: str, tmp_path: Path) -> None:
    """Once all calls are bound, a step makes small Python objects at most, and NumPy no copies behind our back.

    NumPy's own buffers, whose size is fixed, are made small. One kind of call is let off: the sums of overlapping
    windows, of which NumPy cannot see that their own rows do not overlap; it copies a part of a block (which is as fast
    as more calls would be). A constraint may allocate: it is no part of the program.
    """
    allowed = 10_000 + (130_000 if net == "cnn" else 0)
    found = lesson(NETS[net].replace("kernel_constraint: {type: MaxNorm, max_value: 0.4}", ""), tmp_path)
    with found.runner.session as session, small_buffers():
        trainer = found.trainer()
        batches = [trainer.rows(k) for k in range(trainer.batches)]
        for k, rows in enumerate(batches):
            session.run(trainer.job, trainer.feed.number, rows, k, 0.01)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            peaks = []
            for k in range(30):
                tracemalloc.reset_peak()
                session.run(trainer.job, trainer.feed.number, batches[k % len(batches)], k, 0.01)
                peaks.append(tracemalloc.get_traced_memory()[1])
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 4096, "something grows"
    assert max(peaks) - before < allowed, "a step allocates an array"


def test_memory_does_not_grow_with_the_batch(tmp_path: Path) -> None:
    """A block's values lie in the lane's arena, whose size is that of a block; what a batch keeps is small."""
    text = CNN.replace("  - BatchNormalization\n", "").replace("samples: 330", "samples: 4000")
    model = lesson(text, tmp_path).model
    program = training_program(model.graph, model.targets, weighted=False)
    small, large = (make_plan(program.sinks(), batch) for batch in (256, 2048))
    assert large.arena_bytes <= small.arena_bytes * 1.01 and large.block == small.block
    kept = sum(4 * s.value.size for s in {s.root() for s in large.slots() if s.root().wide})
    every = sum(4 * v.size for v in program.trace.values if v.scope == Scope.BLOCK)
    assert kept < every / 20, "a sample leaves nearly nothing behind"


# ---- workers that die


def _tasks(pid: int) -> list[int]:
    """The children of a process."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_forks
def test_a_killed_worker_is_a_clear_error_and_leaves_none_behind(tmp_path: Path) -> None:
    found = lesson(NETS["lstm"], tmp_path, workers=3, processes=True)
    with pytest.raises(Failure, match="signal 9") as caught, found.runner.session as session:
        trainer = found.trainer()
        session.run(trainer.job, trainer.feed.number, trainer.rows(0), 0, 0.01)
        workers = _tasks(os.getpid())
        assert len(workers) == 2
        os.kill(workers[-1], signal.SIGKILL)
        for k in range(50):
            session.run(trainer.job, trainer.feed.number, trainer.rows(k), k, 0.01)
    assert caught.value.problems[0].code == "E508"
    assert not set(_tasks(os.getpid())) & set(workers)


@pytest.mark.parametrize("processes", [pytest.param(True, marks=needs_forks), False])
@pytest.mark.parametrize("faulty", [0, 1])
def test_a_fault_in_any_worker_reaches_the_caller(processes: bool, faulty: int) -> None:
    def work(team: Any, worker: int) -> None:
        if worker == faulty:
            raise ZeroDivisionError("in a lane")
        team.barrier(worker)

    team = start_team(3, work, SharedMemory(), processes)
    with pytest.raises((ZeroDivisionError, RuntimeError), match="in a lane"):
        team.run()
    team.close()
    team.close()


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test() -> Iterator[None]:
    before = set(_tasks(os.getpid())) if forks() else set()
    yield
    if forks():
        assert set(_tasks(os.getpid())) <= before
