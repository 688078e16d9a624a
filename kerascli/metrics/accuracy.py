"""How often the predicted class is the true one, in each of the forms that targets and outputs take."""

from typing import Any

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.metrics.base import Metric, _Mean
from kerascli.ops.ir import Array, Shape
from kerascli.ops.shape import without_one


class _Accuracy(_Mean):
    direction = "up"


class Accuracy(_Accuracy):
    """How often predictions equal the targets, number by number.

    For outputs that are class numbers themselves. The bare words `accuracy` and `acc` mean the accuracy that fits the
    output (binary, categorical or sparse categorical), as in Keras; this class is meant by `{type: Accuracy}` alone.
    """

    examples = (Example(inputs=((), ())), Example(inputs=((3,), (3,))))

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _unequal(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.equal(y_true.reshape(y_pred.shape), y_pred)


class BinaryAccuracy(_Accuracy):
    """How often an output beyond the threshold meets a target of 1, and one that is not a target of 0."""

    threshold: float = 0.5
    """Outputs above it count as 1; 0 suits outputs that are logits."""

    examples = (
        Example(inputs=((1,), ())),
        Example(inputs=((4,), (4,))),
        Example({"threshold": 0.2}, inputs=((3, 1), (3, 1))),
    )

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _unequal(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.equal(y_pred > self.threshold, y_true.reshape(y_pred.shape))


class CategoricalAccuracy(_Accuracy):
    """How often the largest output is at the place of the largest number of a one-hot target."""

    examples = (Example(inputs=((4,), (4,))), Example(inputs=((3, 4), (3, 4))))

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _not_one_hot(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        equal: Array = np.equal(y_true.argmax(-1), y_pred.argmax(-1))
        return equal


class SparseCategoricalAccuracy(_Accuracy):
    """How often the largest output is at the place that an integer target numbers."""

    examples = (Example(inputs=((4,), ())), Example(inputs=((4,), (1,))), Example(inputs=((3, 4), (3,))))

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _not_integers(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        found = y_pred.argmax(-1)
        equal: Array = np.equal(found, y_true.reshape(found.shape))
        return equal


class TopKCategoricalAccuracy(_Accuracy):
    """How often the class of a one-hot target is among the `k` largest outputs; ties count for the target."""

    k: int = Field(default=5, ge=1)
    """How many of the largest outputs to look at."""

    examples = (Example({"k": 2}, inputs=((4,), (4,))), Example({"k": 3}, inputs=((3, 6), (3, 6))))

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _not_one_hot(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top_k(y_true.argmax(-1), y_pred, self.k)


class SparseTopKCategoricalAccuracy(_Accuracy):
    """How often the class that an integer target numbers is among the `k` largest outputs."""

    k: int = Field(default=5, ge=1)
    """How many of the largest outputs to look at."""
    from_sorted_ids: bool = False
    """Whether the output holds class numbers, best first, rather than a score for each class."""

    examples = (
        Example({"k": 2}, inputs=((4,), ())),
        Example({"k": 3}, inputs=((3, 6), (3,))),
        Example({"k": 2, "from_sorted_ids": True}, inputs=((4,), ()), dtype="int64", high=4),
    )

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return _not_integers(self, target_shape, output_shape)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        labels = y_true.reshape(y_pred.shape[:-1])
        if self.from_sorted_ids:
            return np.asarray(np.equal(labels[..., None], y_pred[..., : self.k]).any(-1))
        return _in_top_k(labels.astype(np.int64, copy=False), y_pred, self.k)


class _AccuracyByShape(Metric):
    """The words `accuracy` and `acc`: Keras picks the class by the shapes of output and target, so `resolve` first."""

    direction = "up"

    @property
    def column(self) -> str:
        return self.name or "accuracy"

    def resolve(self, output_shape: Shape, target_shape: Shape) -> Metric:
        return resolve_accuracy(output_shape, target_shape, self.column)

    def dump(self) -> dict[str, Any]:
        return {"type": "accuracy", "name": self.column}


Metric.by_shape.update({"accuracy": _AccuracyByShape, "acc": _AccuracyByShape})


def resolve_accuracy(output_shape: Shape, target_shape: Shape, name: str = "accuracy") -> Metric:
    """Keras's rule, on sample shapes: one output is binary, a target with fewer axes or a last axis of one is sparse.

    The loss has no say in it but through the encoding of the targets.
    """
    if output_shape[-1:] == (1,):
        return BinaryAccuracy(name=name)
    if len(target_shape) < len(output_shape) or target_shape[-1:] == (1,):
        return SparseCategoricalAccuracy(name=name)
    return CategoricalAccuracy(name=name)


def _in_top_k(labels: Array, scores: Array, k: int) -> Array:
    """Fewer than k scores are larger than the label's; NaN is the smallest score, a class beyond the scores is none."""
    known = labels < scores.shape[-1]
    at = np.take_along_axis(scores, np.where(known, labels, 0)[..., None], -1)
    at = np.where(np.isnan(at), -np.inf, at)
    found: Array = np.logical_and(np.count_nonzero(scores > at, axis=-1) < k, known)
    return found


def _unequal(metric: Metric, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
    if without_one(target_shape) == without_one(output_shape):
        return None
    return (
        f"{metric.column} compares targets of shape {target_shape} with outputs of shape {output_shape}",
        "give targets the output's shape, or use a categorical metric",
    )


def _not_one_hot(metric: Metric, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
    if target_shape == output_shape:
        return None
    return (
        f"{metric.column} wants one-hot targets of shape {output_shape} and gets shape {target_shape}",
        "use the sparse metric for integer targets, or `target_encoding: one_hot`",
    )


def _not_integers(metric: Metric, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
    if output_shape and target_shape in (output_shape[:-1], (*output_shape[:-1], 1)):
        return None
    return (
        f"{metric.column} wants integer targets of shape {output_shape[:-1]} and gets shape {target_shape}",
        "use the categorical metric for one-hot targets, or `target_encoding: integer`",
    )
