"""Losses of probabilities and rates that are no crossentropy."""

from pydantic import Field

from kerascli.component import Example
from kerascli.losses.base import Fault, Loss, _LikeOutput, floats
from kerascli.losses.probabilistic import unnumbered
from kerascli.ops import elementwise, reduction
from kerascli.ops.index import one_hot
from kerascli.ops.ir import Shape, Value
from kerascli.ops.loss import EPSILON
from kerascli.ops.shape import reshape, without_one


class KLDivergence(_LikeOutput):
    """Σ y_true · log(y_true / y_pred) over the last axis, both distributions, kept between 1e-7 and 1."""

    aliases = ("kld", "KLD")
    examples = (Example(inputs=((3,), (3,))), Example(inputs=((4, 2), (4, 2))))

    def values(self, y_true: Value, y_pred: Value) -> Value:
        true, pred = (elementwise.clip(y, EPSILON, 1.0) for y in (floats(y_true, y_pred), y_pred))
        return reduction.sum(elementwise.multiply(true, elementwise.log(elementwise.divide(true, pred))), -1)

    def doubt(self, last_activation: str | None) -> Fault | None:
        return _scores(self, last_activation)


class Poisson(_LikeOutput):
    """The mean of y_pred - y_true · log(y_pred + 1e-7) over the last axis: outputs are the rates of counts."""

    examples = (
        Example(inputs=((3,), (3,))),
        Example(inputs=((1,), ())),
        Example(inputs=((4, 2), (4, 2))),
    )

    def values(self, y_true: Value, y_pred: Value) -> Value:
        logs = elementwise.log(elementwise.add(y_pred, EPSILON))
        return reduction.mean(elementwise.subtract(y_pred, elementwise.multiply(floats(y_true, y_pred), logs)), -1)


class CategoricalGeneralizedCrossEntropy(Loss):
    """(1 - p^q) / q with p the probability of the class that an integer target numbers: little moved by wrong labels.

    Source: Zhang and Sabuncu, 2018. q near 0 is the crossentropy, q = 1 the mean absolute error.
    """

    targets = "integer"
    examples = (Example(inputs=((4,), ())), Example({"q": 0.9}, inputs=((3, 4), (3,))))

    q: float = Field(default=0.5, gt=0, lt=1)
    """Between the crossentropy (0) and the mean absolute error (1)."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        rows = y_pred.shape[:-1]
        y_true = reshape(y_true, rows) if without_one(y_true.shape) == without_one(rows) else y_true
        true = one_hot(elementwise.cast(y_true, "int32"), y_pred.shape[-1])
        p = reduction.sum(elementwise.multiply(y_pred, true), -1)
        return elementwise.divide(elementwise.subtract(1.0, elementwise.power(p, self.q)), self.q)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        return unnumbered(self, -1, y_shape, classes, pred_shape)

    def doubt(self, last_activation: str | None) -> Fault | None:
        return _scores(self, last_activation)


def _scores(loss: Loss, last_activation: str | None) -> Fault | None:
    if last_activation != "linear":
        return None
    return (
        f"{loss.label} wants probabilities, and the last layer has no activation",
        "write `activation: softmax` there",
    )
