"""Schedules give Keras's rates, step by step."""

from __future__ import annotations

import jax
import keras
import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.component import Example
from kerascli.schedules import Schedule

CASES = [(name, example) for name, member in Schedule.members.items() for example in member.examples]


def rates(name: str, example: Example, steps: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ours = Schedule.parse({"type": name, **example.config})
    theirs = getattr(keras.optimizers.schedules, name)(**example.config)
    if "Cosine" in name:  # slow otherwise; the others stay uncompiled, for XLA turns step / 9 into a product above 1
        theirs = jax.jit(theirs)
    return np.array([ours.rate(t) for t in steps]), np.array([float(theirs(np.int32(t))) for t in steps])


@pytest.mark.parametrize(("name", "example"), CASES)
def test_rates_are_keras_s(name: str, example: Example) -> None:
    ours, theirs = rates(name, example, [*range(45), 1000, 123457])
    # A cosine's last rates are differences of nearly equal float32 numbers: hence the absolute term.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * abs(theirs).max() if "Cosine" in name else 0)


def test_restarts_fall_on_the_same_steps_as_in_keras() -> None:
    example = Example({"initial_learning_rate": 1.0, "first_decay_steps": 10, "alpha": 0.5, "m_mul": 0.5})
    edges = [10 * (2**k - 1) + d for k in range(1, 9) for d in (-1, 0, 1)]
    ours, theirs = rates("CosineDecayRestarts", example, edges)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_defaults_are_keras_s() -> None:
    for name, member in Schedule.members.items():
        config = getattr(keras.optimizers.schedules, name)(**member.examples[0].config).get_config()
        ours = Schedule.parse({"type": name, **member.examples[0].config}).dump()
        assert {k: v for k, v in ours.items() if k != "type"} == config


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 0, "decay_rate": 0.5},
        {"type": "PiecewiseConstantDecay", "boundaries": [5], "values": [0.1]},
        {"type": "PiecewiseConstantDecay", "boundaries": [5, 5], "values": [0.1, 0.2, 0.3]},
        {"type": "CosineDecayRestarts", "initial_learning_rate": 0.1, "first_decay_steps": 5, "t_mul": 0.5},
    ],
)
def test_impossible_schedules_are_refused(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Schedule.parse(spec)
