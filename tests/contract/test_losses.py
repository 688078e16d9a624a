"""What every loss must satisfy, enumerated from the registry, and what it says of targets that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kerascli.component import Example
from kerascli.losses.base import Loss
from kerascli.losses.ctc import CTC
from kerascli.losses.overlap import _Overlap
from kerascli.losses.probabilistic import BinaryCrossentropy, _Crossentropy
from kerascli.ops.activation import sigmoid
from kerascli.ops.ir import Array, Trace, Value
from kerascli.ops.shape import time_major
from kerascli.ops.softmax import softmax
from kerascli.program.interpret import evaluate
from tests.gradients import check
from tests.traces import fed

CASES = [
    pytest.param(member.model_validate(example.config), example, id=f"{name}-{k}")
    for name, member in sorted(Loss.names().items())
    if name == member.__name__
    for k, example in enumerate(member.examples)
]
ROWS = 5
POSITIVE = ("Poisson", "KLDivergence", "CategoricalGeneralizedCrossEntropy", "MeanSquaredLogarithmicError")
"""Losses that have a logarithm or a root of outputs."""


def data(loss: Loss, example: Example) -> tuple[Array, Array]:
    rng = np.random.default_rng(8)
    pred, true = example.inputs
    y_pred = rng.standard_normal((ROWS, *pred))
    if not isinstance(loss, _Crossentropy) and type(loss).__name__ in POSITIVE:
        y_pred = rng.random((ROWS, *pred)) + 0.05
    if loss.targets == "integer":
        return rng.integers(0, (0, *pred)[getattr(loss, "axis", -1)], (ROWS, *true)), y_pred
    return rng.random((ROWS, *true)), y_pred


def axis_in_sample(loss: Loss) -> int:
    axis = getattr(loss, "axis", -1)
    return axis - 1 if axis > 0 else axis


def probabilities(loss: Loss, x: Value) -> Value:
    return sigmoid(x) if isinstance(loss, BinaryCrossentropy) else softmax(x, axis_in_sample(loss))


@pytest.mark.parametrize("loss, example", CASES)
class TestEveryLoss:
    def test_gradient_agrees_with_differences(self, loss: Loss, example: Example) -> None:
        y_true, y_pred = data(loss, example)
        if isinstance(loss, _Crossentropy) and not loss.from_logits:
            y_pred = 1 / (1.5 + np.exp(y_pred))
        check(lambda x, y: loss.values(y, x), {"x": y_pred, "y": y_true}, constants=["y"])

    def test_gradient_through_softmax_or_sigmoid_agrees_with_differences(self, loss: Loss, example: Example) -> None:
        y_true, x = data(loss, example)
        squash = isinstance(loss, _Crossentropy) and not loss.from_logits
        check(
            lambda x, y: loss.values(y, probabilities(loss, x) if squash else x),
            {"x": x, "y": y_true},
            constants=["y"],
        )

    def test_a_loss_of_logits_is_that_of_their_probabilities(self, loss: Loss, example: Example) -> None:
        if not isinstance(loss, _Crossentropy):
            pytest.skip("knows no logits")
        y_true, x = data(loss, example)
        found = []
        for from_logits in (True, False):
            trace = Trace()
            y, logits = fed(trace, "y", y_true), fed(trace, "x", x)
            same = loss.model_copy(update={"from_logits": from_logits})
            values = same.values(y, logits if from_logits else probabilities(loss, logits))
            found += evaluate([values], {"y": y_true, "x": x}, ROWS)
        np.testing.assert_allclose(found[0], found[1], rtol=1e-9)

    def test_the_order_of_axes_in_memory_does_not_matter(self, loss: Loss, example: Example) -> None:
        y_true, x = data(loss, example)
        if x.ndim < 3:
            pytest.skip("has no time axis")
        squash = isinstance(loss, _Crossentropy) and not loss.from_logits
        check(
            lambda x, y: loss.values(y, probabilities(loss, time_major(x)) if squash else time_major(x)),
            {"x": x, "y": y_true},
            constants=["y"],
        )

    def test_values_have_the_shape_of_the_rows_and_the_example_fits(self, loss: Loss, example: Example) -> None:
        pred, true = example.inputs
        y_true, y_pred = data(loss, example)
        trace = Trace()
        values = loss.values(fed(trace, "y", y_true), fed(trace, "x", y_pred))
        if not isinstance(loss, _Overlap):
            rows = list(pred)
            del rows[axis_in_sample(loss)]
            assert values.shape == (() if isinstance(loss, CTC) else tuple(rows))
        assert loss.problem(true, None, pred) is None

    def test_dump_and_parse_are_inverse(self, loss: Loss, example: Example) -> None:
        assert Loss.parse(loss.dump()) == loss


def test_a_word_for_several_losses_survives_a_dump() -> None:
    loss = Loss.parse("ce")
    assert Loss.parse(loss.dump()).resolve((3,), ()) == Loss.parse("sparse_categorical_crossentropy")


SPARSE, CATEGORICAL, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "bce"


@pytest.mark.parametrize(
    "config, target, classes, output, said, mend",
    [
        (CATEGORICAL, (), 10, (10,), "wants one-hot targets", "sparse_categorical_crossentropy"),
        (CATEGORICAL, (10,), 10, (9,), "10 classes and 9 outputs", "10 units"),
        (CATEGORICAL, (2,), 2, (1,), "there is one", "BinaryCrossentropy"),
        (SPARSE, (10,), 10, (10,), "wants class numbers", "categorical_crossentropy"),
        (SPARSE, (), 10, (9,), "10 classes and 9 outputs", "10 units"),
        (SPARSE, (), 10, (1,), "there is one", "10 units"),
        (SPARSE, (), 10, (7, 7, 10), "for each of the outputs (7, 7)", "Flatten"),
        (BINARY, (), 10, (1,), "cannot tell 10 classes apart", "softmax"),
        (BINARY, (), 10, (10,), "wants targets of the output's shape (10,)", "one_hot"),
        (BINARY, (), 10, (9,), "10 classes and 9 outputs", "10 units"),
        ("mse", (3,), None, (2,), "they have shape (3,)", "3 units"),
        ("mae", (), 10, (10,), "they have shape ()", "one_hot"),
        ("ce", (), 10, (9,), "10 classes and 9 outputs", "10 units"),
    ],
)
def test_what_does_not_fit_is_said_with_its_mend(
    config: Any,
    target: tuple[int, ...],
    classes: int | None,
    output: tuple[int, ...],
    said: str,
    mend: str,
) -> None:
    problem = Loss.parse(config).problem(target, classes, output)
    assert problem is not None
    assert said in problem[0] and mend in problem[1]


@pytest.mark.parametrize(
    "config, target, classes, output",
    [
        (SPARSE, (), 10, (10,)),
        (SPARSE, (1,), 10, (11,)),
        ({"type": SPARSE, "from_logits": True}, (), 10, (10,)),
        (SPARSE, (28, 28), 3, (28, 28, 3)),
        (CATEGORICAL, (10,), 10, (10,)),
        (CATEGORICAL, (2,), 2, (2,)),
        (BINARY, (), 2, (1,)),
        (BINARY, (10,), 10, (10,)),
        (BINARY, (5,), None, (5,)),
        ("mse", (), None, (1,)),
        ("mse", (10,), 10, (10,)),
        ("crossentropy", (), 2, (1,)),
    ],
)
def test_what_fits_is_let_through(
    config: Any, target: tuple[int, ...], classes: int | None, output: tuple[int, ...]
) -> None:
    assert Loss.parse(config).problem(target, classes, output) is None


@pytest.mark.parametrize(
    "config, output, classes, encoding",
    [
        (SPARSE, (10,), 10, "integer"),
        (CATEGORICAL, (10,), 10, "one_hot"),
        (BINARY, (10,), 10, "one_hot"),
        (BINARY, (1,), 2, "none"),
        ("mse", (1,), None, "none"),
        ("ce", (10,), 10, "integer"),
    ],
)
def test_targets_are_encoded_as_the_loss_needs(
    config: str, output: tuple[int, ...], classes: Any, encoding: str
) -> None:
    assert Loss.parse(config).encoding(output, classes) == encoding


@pytest.mark.parametrize(
    "config, activation, said",
    [
        (SPARSE, "linear", "activation: softmax"),
        (BINARY, "linear", "activation: sigmoid"),
        ({"type": CATEGORICAL, "from_logits": True}, "softmax", "leave out `from_logits: true`"),
        (SPARSE, "softmax", None),
        ({"type": SPARSE, "from_logits": True}, "linear", None),
        (CATEGORICAL, None, None),
        ("mse", "linear", None),
    ],
)
def test_logits_taken_for_probabilities_are_doubtful(config: Any, activation: str | None, said: str | None) -> None:
    doubt = Loss.parse(config).doubt(activation)
    assert (doubt is None) if said is None else (doubt is not None and said in doubt[1])
