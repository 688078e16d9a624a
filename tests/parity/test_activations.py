"""Every activation gives Keras's values, knows all of Keras's names, and differentiates."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from kerascli.activations import Activation
from kerascli.component import Example
from kerascli.ops.ir import Input, Scope, Trace, Type
from kerascli.program.interpret import evaluate
from tests.gradients import check

keras = pytest.importorskip("keras")

CASES = [
    pytest.param(name, example, id=f"{name}-{k}")
    for name, member in Activation.names().items()
    if name.islower()
    for k, example in enumerate(member.examples)
]


@pytest.mark.parametrize(("name", "example"), CASES)
def test_activation_equals_keras(name: str, example: Example) -> None:
    part = Activation.parse({"type": name, **example.config})
    x = np.linspace(-6.5, 7.1, 4 * 6 * 8).reshape(8, 6, 4).transpose(2, 0, 1).astype(np.float32)
    x = np.ascontiguousarray(x[:, np.random.default_rng(1).permutation(8)])
    trace = Trace()
    y = part.apply(trace.add(Input("x", Type((8, 6))), scope=Scope.BLOCK))
    got = evaluate([y], {"x": x}, len(x), np.float32)[0]
    expected = np.asarray(getattr(keras.activations, name)(x, **example.config))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize(("name", "example"), CASES)
def test_activation_has_the_right_derivative(name: str, example: Example) -> None:
    part = Activation.parse({"type": name, **example.config})
    x = (np.random.default_rng(2).permutation(72) - 35.23).reshape(3, 4, 6) / 12
    check(lambda x: part.apply(x), {"x": x})


def test_every_activation_of_keras_is_there_with_its_arguments_and_defaults() -> None:
    ours = Activation.names()
    theirs: dict[str, Any] = {n: f for n, f in inspect.getmembers(keras.activations) if inspect.isfunction(f)}
    for name in ("get", "serialize", "deserialize"):
        theirs.pop(name)
    assert set(theirs) == {n for n in ours if n.islower()}
    for name, function in theirs.items():
        arguments = {k: p.default for k, p in list(inspect.signature(function).parameters.items())[1:]}
        fields = {k: f.default for k, f in ours[name].model_fields.items()}
        assert list(fields) == list(arguments)
        assert all(p is inspect.Parameter.empty or fields[k] == p for k, p in arguments.items())
