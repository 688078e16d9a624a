"""The recurrent sequences against loops a person can read, and their derivatives against differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from kerascli.ops import recurrent
from kerascli.ops.gru import gru
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.ops.lstm import lstm
from kerascli.ops.recurrent import reverse
from kerascli.ops.shape import batch_major, time_major
from kerascli.ops.simple_rnn import simple_rnn
from kerascli.program.interpret import evaluate
from tests.gradients import check

ROWS, STEPS, FEATURES, UNITS = 3, 5, 4, 2
GATES: dict[Callable[..., Value], int] = {simple_rnn: 1, lstm: 4, gru: 3}
EXTRAS = [(), ("mask",), ("h0",), ("drop",), ("mask", "h0", "drop")]
CASES = list(itertools.product(GATES, (False, True), (False, True), EXTRAS))


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def naive_cell(name: str, a: Mapping[str, Array], z: Array, h: list[Array], c: Array) -> tuple[Array, Array]:
    """One step of one sample; h holds the state as each gate sees it, and last as it is."""
    u, n = a["u"], UNITS
    gate = [slice(g * n, (g + 1) * n) for g in range(len(z) // n)]
    if name == "simple_rnn":
        return np.tanh(z + h[0] @ u), c
    if name == "lstm":
        i, f, o = (sigmoid(z[gate[k]] + h[k] @ u[:, gate[k]]) for k in (0, 1, 3))
        c = f * c + i * np.tanh(z[gate[2]] + h[2] @ u[:, gate[2]])
        return o * np.tanh(c), c
    update, reset = (sigmoid(z[gate[k]] + h[k] @ u[:, gate[k]] + a["rb"][gate[k]]) for k in (0, 1))
    new = np.tanh(z[gate[2]] + reset * (h[2] @ u[:, gate[2]] + a["rb"][gate[2]]))
    return update * h[-1] + (1 - update) * new, c


def naive(op: Callable[..., Value], a: Mapping[str, Array], backwards: bool, sequences: bool) -> Array:
    gates = GATES[op]
    out = np.zeros((ROWS, STEPS, UNITS))
    last = np.zeros((ROWS, UNITS))
    for row in range(ROWS):
        h: Array = a["h0"][row] if "h0" in a else np.zeros(UNITS)
        c: Array = a["c0"][row] if "c0" in a else np.zeros(UNITS)
        drop = a["drop"][row].reshape(gates, UNITS) if "drop" in a else np.ones((gates, UNITS))
        for t in reversed(range(STEPS)) if backwards else range(STEPS):
            if "mask" not in a or a["mask"][row, t]:
                h, c = naive_cell(op.__name__, a, a["x"][row, t] @ a["w"] + a["b"], [*(h * d for d in drop), h], c)
            out[row, t] = h
        last[row] = h
    return out if sequences else last


def arrays(
    op: Callable[..., Value], extras: tuple[str, ...], scale: float = 1.0
) -> tuple[dict[str, Array], dict[str, Array]]:
    rng = np.random.default_rng(7)
    wide = GATES[op] * UNITS
    blocks: dict[str, Array] = {"x": rng.standard_normal((ROWS, STEPS, FEATURES)) * scale}
    weights = {"w": rng.standard_normal((FEATURES, wide)), "u": rng.standard_normal((UNITS, wide))}
    weights["b"] = rng.standard_normal(wide)
    if op is gru:
        weights["rb"] = rng.standard_normal(wide)
    if "mask" in extras:
        blocks["mask"] = rng.random((ROWS, STEPS)) < 0.6
    for state in ("h0", "c0") if op is lstm else ("h0",):
        if "h0" in extras:
            blocks[state] = rng.standard_normal((ROWS, UNITS))
    if "drop" in extras:
        blocks["drop"] = rng.integers(0, 2, (ROWS, wide)) * 2.0
    return blocks, weights


def builder(op: Callable[..., Value], backwards: bool, sequences: bool) -> Callable[..., Value]:
    def build(**values: Value) -> Value:
        timed = {k: time_major(v) if k in ("x", "z", "mask") else v for k, v in values.items()}
        return batch_major(op(timed, backwards, sequences))

    return build


def compute(
    build: Callable[..., Value], blocks: Mapping[str, Array], weights: Mapping[str, Array], dtype: Any
) -> Array:
    trace = Trace()
    values = {}
    for name, array in blocks.items():
        kind = "float" if array.dtype.kind == "f" else array.dtype.name
        values[name] = trace.add(Input(name, Type(array.shape[1:], kind)), scope=Scope.BLOCK)
    for name, array in weights.items():
        values[name] = trace.add(Weight(name, array.shape), scope=Scope.WEIGHT)
    return evaluate([build(**values)], {**blocks, **weights}, ROWS, dtype)[0]


@pytest.mark.parametrize(("op", "backwards", "sequences", "extras"), CASES)
def test_a_sequence_equals_the_loop(op: Any, backwards: bool, sequences: bool, extras: tuple[str, ...]) -> None:
    blocks, weights = arrays(op, extras)
    got = compute(builder(op, backwards, sequences), blocks, weights, np.float64)
    np.testing.assert_allclose(got, naive(op, {**blocks, **weights}, backwards, sequences), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("op", "backwards", "sequences", "extras"), CASES)
def test_the_derivative_equals_differences(op: Any, backwards: bool, sequences: bool, extras: tuple[str, ...]) -> None:
    blocks, weights = arrays(op, extras)
    check(builder(op, backwards, sequences), blocks, weights, constants=("drop",))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("extras", [(), EXTRAS[-1]])
def test_sequences_of_many_chunks_are_no_other(
    op: Any, backwards: bool, extras: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "CHUNK", 2 * GATES[op] * ROWS * UNITS)
    blocks, weights = arrays(op, extras)
    got = compute(builder(op, backwards, True), blocks, weights, np.float64)
    np.testing.assert_allclose(got, naive(op, {**blocks, **weights}, backwards, True), rtol=0, atol=1e-13)
    check(builder(op, backwards, True), blocks, weights, constants=("drop",))


@pytest.mark.parametrize("op", GATES)
def test_a_skipped_step_leaves_the_state_to_the_last_digit_whatever_it_reads(op: Any) -> None:
    blocks, weights = arrays(op, ("mask", "h0"))
    blocks["mask"][:, 2] = False
    got = compute(builder(op, False, True), blocks, weights, np.float32)
    np.testing.assert_array_equal(got[:, 2], got[:, 1])
    blocks["x"][:, 2] = np.nan
    np.testing.assert_array_equal(compute(builder(op, False, True), blocks, weights, np.float32), got)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("steps", [1, 2])
def test_short_sequences_have_derivatives_too(op: Any, steps: int) -> None:
    blocks, weights = arrays(op, ())
    blocks["x"] = blocks["x"][:, :steps]
    check(builder(op, False, True), blocks, weights)


@pytest.mark.parametrize("op", GATES)
def test_a_projected_sequence_gives_the_same_and_its_derivative(op: Any) -> None:
    blocks, weights = arrays(op, ("mask",))
    expected = compute(builder(op, True, True), blocks, weights, np.float64)
    z = blocks.pop("x") @ weights.pop("w") + weights.pop("b")
    np.testing.assert_allclose(compute(builder(op, True, True), {**blocks, "z": z}, weights, np.float64), expected)
    check(builder(op, True, True), {**blocks, "z": z}, weights)


@pytest.mark.parametrize("op", GATES)
def test_huge_inputs_saturate_without_a_warning(op: Any) -> None:
    blocks, weights = arrays(op, (), scale=1e4)
    got = compute(builder(op, False, True), blocks, weights, np.float32)
    assert np.isfinite(got).all() and got.dtype == np.float32


def test_reverse_turns_a_sequence_round_and_twice_is_nothing() -> None:
    blocks, _ = arrays(lstm, ())
    got = compute(lambda x: reverse(x), blocks, {}, np.float64)
    np.testing.assert_array_equal(got, blocks["x"][:, ::-1])
    check(lambda x: reverse(x), blocks)
    trace = Trace()
    x = trace.add(Input("x", Type((4, 2))), scope=Scope.BLOCK)
    assert reverse(reverse(x)) is x
