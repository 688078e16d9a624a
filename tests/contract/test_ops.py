"""Every op's derivative agrees with finite differences in float64, and its values with plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from kerascli.ops import activation as act
from kerascli.ops import elementwise as e
from kerascli.ops import reduction as r
from kerascli.ops import shape as s
from kerascli.ops.broadcast import broadcast_to
from kerascli.ops.ir import Array, Input, Scope, ShapeError, Trace, Type, Value
from kerascli.ops.softmax import log_softmax, softmax
from kerascli.program.interpret import evaluate
from tests.gradients import check
from tests.traces import computed

RNG = np.random.default_rng(0)
N = 3


def block(*shape: int) -> Array:
    """Numbers at least 0.05 from zero and from each other, so that no kink is near."""
    count = int(np.prod((N, *shape)))
    values = (RNG.permutation(count) - count / 2 + 0.5) / max(count, 8) * 4
    return values.reshape(N, *shape)


def positive(*shape: int) -> Array:
    return np.abs(block(*shape)) + 0.5


BINARY: dict[str, tuple[Callable[..., Value], Callable[..., Array]]] = {
    "add": (e.add, np.add),
    "subtract": (e.subtract, np.subtract),
    "multiply": (e.multiply, np.multiply),
    "divide": (e.divide, np.divide),
    "maximum": (e.maximum, np.maximum),
    "minimum": (e.minimum, np.minimum),
    "arctan2": (e.arctan2, np.arctan2),
}
UNARY: dict[str, tuple[Callable[..., Value], Callable[..., Array]]] = {
    "negative": (e.negative, np.negative),
    "square": (e.square, np.square),
    "sqrt": (e.sqrt, np.sqrt),
    "exp": (e.exp, np.exp),
    "log": (e.log, np.log),
    "abs": (e.abs, np.abs),
    "power": (lambda x: e.power(x, 2.5), lambda x: x**2.5),
    "clip": (lambda x: e.clip(x, 0.73, 1.63), lambda x: np.clip(x, 0.73, 1.63)),
    "sum": (r.sum, lambda x: x.sum((1, 2))),
    "sum over one axis": (lambda x: r.sum(x, 0, keepdims=True), lambda x: x.sum(1, keepdims=True)),
    "mean": (lambda x: r.mean(x, -1), lambda x: x.mean(-1)),
    "max": (lambda x: r.max(x, 0), lambda x: x.max(1)),
    "min": (lambda x: r.min(x, (0, 1)), lambda x: x.min((1, 2))),
    "reshape": (lambda x: s.reshape(x, (5, 4)), lambda x: x.reshape(N, 5, 4)),
    "permute": (lambda x: s.permute(x, (1, 0)), lambda x: x.transpose(0, 2, 1)),
    "time major": (lambda x: e.square(s.time_major(x)), lambda x: (x**2).swapaxes(0, 1)),
    "reshape of time major": (lambda x: s.reshape(s.time_major(x), (20,)), lambda x: x.reshape(N, 20)),
    "cut": (lambda x: s.cut(x, 1, 4, step=2), lambda x: x[:, :, 1:4:2]),
    "concatenate": (
        lambda x: s.concatenate([x, e.square(x), s.time_major(x)], 0),
        lambda x: np.concatenate([x, x**2, x], 1),
    ),
    "broadcast": (lambda x: broadcast_to(x, (3, 4, 5)), lambda x: np.broadcast_to(x[:, None], (N, 3, 4, 5))),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_op_has_numpys_values_and_the_right_derivative(name: str) -> None:
    op, oracle = UNARY[name]
    x = positive(4, 5)
    np.testing.assert_allclose(computed(lambda x: op(x), {"x": x}), oracle(x))
    check(lambda x: op(x), {"x": x})


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shape", [(4, 5), (5,), (4, 1), ()], ids=str)
def test_two_blocks_broadcast_and_differentiate(name: str, shape: tuple[int, ...]) -> None:
    op, oracle = BINARY[name]
    a, b = positive(4, 5), positive(*shape) + 0.013
    wide = b.reshape(N, *(1,) * (2 - len(shape)), *shape)
    np.testing.assert_allclose(computed(lambda a, b: op(a, b), {"a": a, "b": b}), oracle(a, wide))
    check(lambda a, b: op(a, b), {"a": a, "b": b})
    check(lambda a, b: op(b, a), {"a": a, "b": b})


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shape", [(4, 5), (5,), (4, 1), (1, 5), (2, 4, 5), (1,), ()], ids=str)
def test_weights_broadcast_to_blocks_and_gather_the_gradient_of_all_samples(name: str, shape: tuple[int, ...]) -> None:
    op, oracle = BINARY[name]
    a, w = positive(4, 5), np.abs(RNG.standard_normal(shape)) + 0.51
    expected = oracle(a[:, None] if len(shape) == 3 else a, w)
    np.testing.assert_allclose(computed(lambda a, w: op(a, w), {"a": a}, {"w": w}), expected)
    check(lambda a, w: op(a, w), {"a": a}, {"w": w})
    check(lambda a, w: op(w, a), {"a": a}, {"w": w})
    if len(shape) < 3:
        np.testing.assert_allclose(
            computed(lambda a, w: op(s.time_major(a), w), {"a": a}, {"w": w}), expected.swapaxes(0, 1)
        )
        check(lambda a, w: op(s.time_major(a), w), {"a": a}, {"w": w})


@pytest.mark.parametrize("name", BINARY)
def test_weights_combine_among_themselves(name: str) -> None:
    op, _ = BINARY[name]
    a, b = np.abs(RNG.standard_normal((4, 5))) + 0.5, np.abs(RNG.standard_normal(5)) + 0.51
    check(lambda a, b: op(a, b), {}, {"a": a, "b": b})


def test_where_takes_the_gradient_of_the_side_it_chose() -> None:
    x = block(4, 5)
    check(lambda x, w: e.where(e.greater(x, 0.0), e.square(x), w), {"x": x}, {"w": RNG.standard_normal(5)})


def test_logic_is_boolean_and_casts_to_numbers() -> None:
    x = block(4)
    both = computed(lambda x: e.logical_and(e.greater(x, -1.0), e.logical_not(e.greater(x, 1.0))), {"x": x})
    assert both.dtype == bool
    assert np.array_equal(both, (x > -1) & ~(x > 1))
    either = computed(lambda x: e.cast(e.logical_or(e.greater(x, 1.0), e.equal(x, x)), "float"), {"x": x})
    assert np.array_equal(either, np.ones_like(x))


def test_integers_stay_integers_until_they_meet_floats() -> None:
    ids = np.array([[1, 0], [2, 2], [0, 0]], np.int32)
    used = computed(lambda x: e.not_equal(x, 0), {"x": ids})
    assert used.tolist() == [[True, False], [True, True], [False, False]]
    assert computed(lambda x: e.multiply(x, 2), {"x": ids}).dtype == np.int32
    assert computed(lambda x: e.multiply(x, 0.5), {"x": ids}).dtype == np.float64


def test_shapes_that_do_not_fit_are_named() -> None:
    trace = Trace()
    a, b = (trace.add(Input(k, Type(shape)), scope=Scope.BLOCK) for k, shape in (("a", (4, 5)), ("b", (3, 5))))
    with pytest.raises(ShapeError, match=r"\(4, 5\) and \(3, 5\)"):
        e.add(a, b)


ACTIVATIONS: dict[str, tuple[Callable[..., Value], Callable[..., Array]]] = {
    "relu": (act.relu, lambda x: np.maximum(x, 0)),
    "leaky relu": (lambda x: act.leaky_relu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "leaky relu going down": (lambda x: act.leaky_relu(x, -0.3), lambda x: np.where(x > 0, x, -0.3 * x)),
    "elu": (lambda x: act.elu(x, 0.7, 1.2, 0.6), lambda x: 1.2 * np.where(x > 0, x, 0.7 * np.expm1(x / 0.6))),
    "tanh": (act.tanh, np.tanh),
    "sigmoid": (act.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "softplus": (act.softplus, lambda x: np.logaddexp(x, 0)),
    "silu": (act.silu, lambda x: x / (1 + np.exp(-x))),
    "gelu": (act.gelu, lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2),
    "softmax": (lambda x: softmax(x, 0), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "log softmax": (log_softmax, lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    "softmax of time major": (
        lambda x: softmax(s.time_major(x), 1),
        lambda x: (np.exp(x) / np.exp(x).sum(2, keepdims=True)).swapaxes(0, 1),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_has_its_formulas_values_and_derivative(name: str) -> None:
    op, oracle = ACTIVATIONS[name]
    x = block(4, 5)
    np.testing.assert_allclose(computed(lambda x: op(x), {"x": x}), oracle(x), rtol=1e-12, atol=1e-15)
    check(lambda x: op(x), {"x": x})


def test_activations_stay_finite_far_out() -> None:
    x = np.array([[-1e4, -90.0, 90.0, 1e4]] * N)
    for op, _ in ACTIVATIONS.values():
        y = computed(lambda x, op=op: op(s.reshape(x, (2, 2))), {"x": x})
        assert np.isfinite(y).all()


def test_gelu_is_exact_to_float32() -> None:
    x = np.linspace(-8, 8, N * 999).reshape(N, 999)
    exact = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    trace = Trace()
    value = act.gelu(trace.add(Input("x", Type((999,))), scope=Scope.BLOCK))
    got = evaluate([value], {"x": x}, N, np.float32)[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, exact, rtol=3e-7, atol=3e-7)
