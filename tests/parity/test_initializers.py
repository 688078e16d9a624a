"""Initializers draw from Keras's distributions; constraints and regularizers give its numbers."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from kerascli.component import Component, load_family
from kerascli.constraints import Constraint
from kerascli.initializers import WINDOWS, Initializer
from kerascli.ops.ir import Input, Scope, Trace, Type, Weight
from kerascli.program.interpret import evaluate
from kerascli.regularizers import Regularizer

FAMILIES: tuple[tuple[type[Component], Any], ...] = (
    (Initializer, keras.initializers),
    (Constraint, keras.constraints),
    (Regularizer, keras.regularizers),
)
SHAPE = (60, 50)


def cases(family: type[Component]) -> list[Any]:
    load_family(family.family)
    return [
        pytest.param(n, e.config, id=f"{n}-{k}") for n, m in family.members.items() for k, e in enumerate(m.examples)
    ]


@pytest.mark.parametrize(("name", "config"), cases(Initializer))
def test_draws_are_distributed_as_keras_s(name: str, config: dict[str, Any]) -> None:
    shape = (60, 1, 50) if name == "STFT" else SHAPE
    ours = Initializer.parse({"type": name, **config}).draw(shape, np.random.default_rng(1))
    keras.utils.set_random_seed(0)
    theirs = np.asarray(getattr(keras.initializers, name)(**config)(shape))
    spread = theirs.std() / np.sqrt(theirs.size) + 1e-12
    assert abs(ours.mean() - theirs.mean()) < 6 * spread
    assert ours.std() == pytest.approx(theirs.std(), rel=0.06, abs=1e-12)
    quantiles = np.linspace(0.02, 0.98, 9)
    np.testing.assert_allclose(
        np.quantile(ours, quantiles), np.quantile(theirs, quantiles), atol=0.16 * theirs.std() + 1e-12
    )
    # The ends show a cut: the largest of 3,000 normal draws lies far beyond two standard deviations.
    for end in (np.max, np.min):
        assert (
            abs(end(ours) - end(theirs)) <= (0.9 if np.ptp(theirs) > 5 * theirs.std() else 0.05) * theirs.std() + 1e-12
        )


def test_the_cut_is_at_two_standard_deviations() -> None:
    draw = Initializer.parse({"type": "TruncatedNormal", "stddev": 1.0}).draw((100_000,), np.random.default_rng(0))
    assert 1.99 < np.abs(draw).max() <= 2
    assert draw.std() == pytest.approx(0.8796, rel=0.01)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("scaling", ["density", "spectrum", None])
@pytest.mark.parametrize("window", [*WINDOWS, None, [0.5, 1.0, 0.25, 0.5, 1.0, 1.0, 2.0, 0.0]])
def test_fourier_kernels_are_keras_s(window: Any, scaling: str | None, periodic: bool) -> None:
    for side in ("real", "imag"):
        config = {"side": side, "window": window, "scaling": scaling, "periodic": periodic}
        for shape in ((8, 1, 5), (8, 1, 9)):
            ours = Initializer.parse({"type": "STFT", **config}).draw(shape, np.random.default_rng(1))
            theirs = np.asarray(keras.initializers.STFT(**config)(shape))
            np.testing.assert_allclose(ours, theirs, atol=3e-6)


@pytest.mark.parametrize("shape", [(), (7,), (4, 6), (3, 4, 6), (3, 3, 4, 6), (2, 3, 3, 4, 6)])
def test_fans_are_keras_s(shape: tuple[int, ...]) -> None:
    from keras.src.initializers.random_initializers import compute_fans

    assert Initializer.parse("HeNormal").fans(shape) == compute_fans(shape)  # type: ignore[attr-defined]
    if len(shape) == 3:
        axes = {"input_axes": [0], "output_axes": [1, 2]}
        assert Initializer.parse({"type": "HeNormal", **axes}).fans(shape) == compute_fans(shape, [0], [1, 2])  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 3, 2, 5)])
def test_orthogonal_weights_are_orthonormal_times_the_gain(shape: tuple[int, ...]) -> None:
    q = Initializer.parse({"type": "Orthogonal", "gain": 2.0}).draw(shape, np.random.default_rng(0))
    flat = q.reshape(-1, shape[-1])
    gram = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_the_signs_of_orthogonal_weights_are_as_random_as_keras_s() -> None:
    """Without the correction LAPACK's first column would always point the same way."""
    draws = [Initializer.parse("Orthogonal").draw((3, 3), np.random.default_rng(k))[0, 0] for k in range(60)]
    assert 15 < sum(d > 0 for d in draws) < 45


@pytest.mark.parametrize(("name", "config"), cases(Constraint))
def test_constraints_are_keras_s(name: str, config: dict[str, Any]) -> None:
    w = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    w[:, 0, 0] = 0
    keras_config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    theirs = np.asarray(getattr(keras.constraints, name)(**keras_config)(keras.ops.convert_to_tensor(w)))
    Constraint.parse({"type": name, **config}).apply(w)
    np.testing.assert_allclose(w, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "config"), cases(Regularizer))
def test_penalties_are_keras_s(name: str, config: dict[str, Any]) -> None:
    w = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    w[2] = 0
    trace = Trace()
    ours = Regularizer.parse({"type": name, **config}).penalty(trace.add(Weight("w", w.shape), scope=Scope.WEIGHT))
    theirs = float(getattr(keras.regularizers, name)(**config)(keras.ops.convert_to_tensor(w)))
    assert ours.shape == ()
    assert float(evaluate([ours], {"w": w}, 1)[0]) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", ["L1", "L2"])
def test_the_penalty_of_an_output_is_summed_over_the_batch(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    ours = Regularizer.parse(name).penalty(Trace().add(Input("x", Type((4,))), scope=Scope.BLOCK))
    theirs = float(getattr(keras.regularizers, name)()(keras.ops.convert_to_tensor(x)))
    assert ours.scope == Scope.STEP
    assert float(evaluate([ours], {"x": x}, 5)[0]) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(("family", "module"), FAMILIES, ids=lambda f: getattr(f, "family", ""))
def test_arguments_defaults_and_identifiers_are_keras_s(family: type[Component], module: Any) -> None:
    load_family(family.family)
    for name, member in family.members.items():
        parameters = inspect.signature(getattr(module, name)).parameters
        defaults = {k: p.default for k, p in parameters.items() if k not in ("args", "kwargs")}
        assert {k: v for k, v in member().dump().items() if k != "type"} == defaults, name
    for identifier in family.names():
        if identifier not in ("l1_l2", "Constant", "constant"):  # names that Keras has, but cannot look up alone
            assert type(module.get(identifier)).__name__ in family.members
