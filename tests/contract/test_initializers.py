"""What every initializer, constraint, regularizer and schedule promises, enumerated from the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kerascli.component import Component, load_family
from kerascli.constraints import Constraint
from kerascli.initializers import STFT, Initializer
from kerascli.ops.ir import ShapeError
from kerascli.regularizers import Regularizer
from kerascli.schedules import Schedule
from tests.gradients import check

FAMILIES: tuple[type[Component], ...] = (Initializer, Constraint, Regularizer, Schedule)


def cases(*families: type[Component]) -> list[Any]:
    for family in families:
        load_family(family.family)
    return [
        pytest.param(f.parse({"type": n, **e.config}), id=f"{n}-{k}")
        for f in families
        for n, m in f.members.items()
        for k, e in enumerate(m.examples)
    ]


@pytest.mark.parametrize("part", cases(*FAMILIES))
def test_what_is_dumped_loads_as_the_same(part: Component) -> None:
    assert type(part).parse(part.dump()) == part


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.family)
def test_every_member_has_an_example(family: type[Component]) -> None:
    load_family(family.family)
    assert family.members
    assert all(member.examples for member in family.members.values())


@pytest.mark.parametrize("part", cases(Initializer))
def test_the_same_generator_draws_the_same_values(part: Initializer) -> None:
    shape = (6, 1, 5) if isinstance(part, STFT) else (6, 5)
    first, second = (part.draw(shape, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == shape
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["RandomNormal", "GlorotUniform", "Orthogonal", "TruncatedNormal"])
def test_a_seed_of_its_own_overrules_the_generator(name: str) -> None:
    seeded, free = Initializer.parse({"type": name, "seed": 5}), Initializer.parse(name)
    first, second = (seeded.draw((4, 4), np.random.default_rng(k)) for k in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(*(free.draw((4, 4), np.random.default_rng(k)) for k in range(2)))


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        (Initializer.parse("Identity"), (3,)),
        (Initializer.parse("Orthogonal"), (3,)),
        (Initializer.parse("STFT"), (8, 2, 5)),
        (Initializer.parse({"type": "STFT", "window": [0.5, 1, 0.5]}), (4, 1, 3)),
        (Initializer.parse({"type": "HeNormal", "input_axes": [0], "output_axes": [4]}), (3, 2)),
        (Constraint.parse({"type": "MaxNorm", "axis": 2}), (3, 2)),
        (Regularizer.parse("OrthogonalRegularizer"), (3, 2, 2)),
    ],
    ids=lambda p: type(p).__name__,
)
def test_a_weight_that_does_not_fit_is_refused_before_training(part: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        part.check(shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", cases(Constraint))
def test_a_constraint_changes_the_weight_in_place(part: Constraint, dtype: Any) -> None:
    w = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
    before = w.copy()
    assert part.apply(w) is None
    assert not np.array_equal(w, before)
    assert np.isfinite(w).all()


@pytest.mark.parametrize("part", cases(Regularizer))
def test_the_gradient_of_a_penalty_is_right(part: Regularizer) -> None:
    check(lambda w: part.penalty(w), weights={"w": np.random.default_rng(1).normal(size=(4, 3)) + 0.1})


def test_a_row_of_zeros_has_a_finite_penalty_and_gradient() -> None:
    w = np.random.default_rng(1).normal(size=(4, 3))
    w[1] = 0
    check(lambda w: Regularizer.parse("OrthogonalRegularizer").penalty(w), weights={"w": w}, tolerance=np.inf)


@pytest.mark.parametrize(
    ("family", "spec"),
    [
        (Initializer, {"type": "VarianceScaling", "scale": 0.0}),
        (Initializer, {"type": "VarianceScaling", "mode": "fan"}),
        (Initializer, {"type": "RandomNormal", "seed": 1.5}),
        (Initializer, {"type": "Zeros", "seed": 1}),
        (Constraint, {"type": "MinMaxNorm", "min_value": 2.0, "max_value": 1.0}),
        (Constraint, {"type": "UnitNorm", "axis": "0"}),
        (Regularizer, {"type": "L1", "l1": -0.1}),
        (Regularizer, {"type": "L2", "l2": float("nan")}),
        (Regularizer, {"type": "OrthogonalRegularizer", "mode": "both"}),
    ],
    ids=lambda p: p.get("type") if isinstance(p, dict) else p.family,
)
def test_impossible_arguments_are_refused(family: type[Component], spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        family.parse(spec)
