"""Intersection over union of the pixels (or samples) of a class, predicted and true."""

from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from kerascli.component import Example, as_tuple
from kerascli.metrics.base import Metric, Sums, trailing
from kerascli.ops.ir import Array, Shape
from kerascli.ops.shape import without_one

EPSILON = 1e-7
MATRIX = "total_confusion_matrix"


Classes = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)]


class _IntersectionOverUnion(Metric):
    """The mean over classes of TP / (TP + FP + FN), from a confusion matrix; classes that never occur are left out.

    Keras keeps the matrix in integers, which cuts fractional sample weights off; here they count as they are.
    """

    direction = "up"

    def levels(self) -> int:
        """How many classes there are."""
        raise NotImplementedError

    def wanted(self) -> tuple[int, ...]:
        """The classes of the mean."""
        return tuple(range(self.levels()))

    def numbers(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """The class of each answer, true and predicted."""
        raise NotImplementedError

    def counted(self, true: Array) -> Array:
        """Which answers count."""
        return (true >= 0) & (true < self.levels())

    def zero(self, shape: Shape) -> Sums:
        return {MATRIX: np.zeros((self.levels(), self.levels()))}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        size = self.levels()
        true, pred = self.numbers(y_true, y_pred)
        inside = self.counted(true) & (pred >= 0) & (pred < size)
        weights = None
        if weight is not None:
            weights = np.broadcast_to(trailing(weight, true.ndim), true.shape)[inside].astype(np.float64)
        places = true[inside] * size + pred[inside]
        sums[MATRIX] += np.bincount(places, weights, size * size).reshape(size, size)

    def result(self, sums: Sums) -> float | Array:
        matrix, wanted = sums[MATRIX], list(self.wanted())
        both = matrix.diagonal()
        either = (matrix.sum(0) + matrix.sum(1) - both)[wanted]
        shares = np.where(either > 1e-9, both[wanted] / (either + EPSILON), 0)
        return float(shares.sum() / (np.count_nonzero(either > 1e-9) + EPSILON))


class BinaryIoU(_IntersectionOverUnion):
    """Intersection over union of outputs beyond a threshold and targets of 1, and of the others."""

    examples = (
        Example(inputs=((1,), ())),
        Example({"threshold": 0.3, "target_class_ids": [1]}, inputs=((4, 4), (4, 4))),
    )

    target_class_ids: Annotated[tuple[Annotated[int, Field(ge=0, le=1)], ...], BeforeValidator(as_tuple)] = (0, 1)
    """Which of the two classes to take the mean of."""
    threshold: float = 0.5
    """Outputs that reach it are of class 1."""

    def levels(self) -> int:
        return 2

    def wanted(self) -> tuple[int, ...]:
        return self.target_class_ids

    def numbers(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        return _whole(y_true.reshape(y_pred.shape)), _whole(y_pred >= self.threshold)


class _OfClasses(_IntersectionOverUnion):
    num_classes: int = Field(ge=1)
    """How many classes there are."""
    ignore_class: int | None = None
    """A class of targets that do not count."""
    sparse_y_pred: bool = True
    """Whether outputs are class numbers rather than a score for each class."""
    axis: int = -1
    """The axis of the classes, where there is a score for each; the batch axis is 0."""

    def sparse_target(self) -> bool:
        """Whether targets are class numbers."""
        raise NotImplementedError

    def levels(self) -> int:
        return self.num_classes

    def counted(self, true: Array) -> Array:
        inside = super().counted(true)
        return inside if self.ignore_class is None else inside & (true != self.ignore_class)

    def numbers(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        true = _whole(y_true) if self.sparse_target() else y_true.argmax(self.axis)
        pred = _whole(y_pred) if self.sparse_y_pred else y_pred.argmax(self.axis)
        return true.reshape(pred.shape), pred

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        shapes = []
        for shape, sparse in ((target_shape, self.sparse_target()), (output_shape, self.sparse_y_pred)):
            rank, rest = len(shape), list(shape)
            if not sparse:
                if self.axis == 0 or not -rank <= self.axis <= rank:
                    return f"{self.column} finds no axis {self.axis} of classes in {shape}", "the last axis is -1"
                del rest[self.axis - 1 if self.axis > 0 else self.axis]
            shapes.append(tuple(rest))
        if without_one(shapes[0]) == without_one(shapes[1]):
            return None
        return (
            f"{self.column} sees classes of shape {shapes[0]} in targets {target_shape}, "
            f"and of shape {shapes[1]} in outputs {output_shape}",
            "set `sparse_y_pred: false` for a score for each class, and take a one-hot metric for one-hot targets",
        )


class _Numbered(_OfClasses):
    sparse_y_true: bool = True
    """Whether targets are class numbers rather than one-hot."""

    def sparse_target(self) -> bool:
        return self.sparse_y_true


class _OneHot(_OfClasses):
    sparse_y_pred: bool = False
    """Whether outputs are class numbers rather than a score for each class."""

    def sparse_target(self) -> bool:
        return False


class _Chosen(_OfClasses):
    target_class_ids: Classes
    """The classes to take the mean of."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if max(self.target_class_ids) >= self.num_classes:
            raise ValueError(f"there is no class {max(self.target_class_ids)} among {self.num_classes}")
        return self

    def wanted(self) -> tuple[int, ...]:
        return self.target_class_ids


class IoU(_Numbered, _Chosen):
    """The mean over some classes of TP / (TP + FP + FN), from class numbers or scores."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"num_classes": 4, "target_class_ids": [0, 2]}, inputs=((4,), (4,)), dtype="int64", high=4),
        Example({"num_classes": 3, "target_class_ids": [1], "sparse_y_pred": False}, inputs=((3,), ())),
    )


class MeanIoU(_Numbered):
    """The mean over all classes of TP / (TP + FP + FN), from class numbers or scores."""

    examples = (
        Example({"num_classes": 3, "sparse_y_pred": False}, inputs=((4, 3), (4,))),
        Example({"num_classes": 3, "sparse_y_pred": False, "ignore_class": 1}, inputs=((4, 3), (4,))),
        Example({"num_classes": 3, "sparse_y_pred": False, "sparse_y_true": False}, inputs=((3,), (3,))),
    )


class OneHotIoU(_OneHot, _Chosen):
    """The mean over some classes of TP / (TP + FP + FN), for one-hot targets."""

    examples = (Example({"num_classes": 3, "target_class_ids": [0, 2]}, inputs=((4, 3), (4, 3))),)


class OneHotMeanIoU(_OneHot):
    """The mean over all classes of TP / (TP + FP + FN), for one-hot targets."""

    examples = (Example({"num_classes": 3}, inputs=((4, 3), (4, 3))), Example({"num_classes": 4}, inputs=((4,), (4,))))


def _whole(x: Array) -> Array:
    """Class numbers; what is no number becomes none of them."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.int64, copy=False)
