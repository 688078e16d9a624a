"""Crossentropies: how surprised a predicted distribution is by the true class.

Probabilities are kept 1e-7 away from 0 and 1, as Keras keeps them. Where they come straight from a softmax or sigmoid
the gradient is that of the logits, p - y, also for samples whose value is held at that bound: Keras does so on
TensorFlow, while on JAX and PyTorch such a sample has no gradient at all.
"""

from typing import ClassVar, Literal

from pydantic import Field

from kerascli.component import Example
from kerascli.losses.base import (
    Fault,
    Loss,
    class_axis_last,
    matched,
    sample_axis,
    unlike,
)
from kerascli.ops import elementwise
from kerascli.ops import loss as ops
from kerascli.ops.ir import Shape, Value
from kerascli.ops.shape import reshape, without_one


class _Crossentropy(Loss):
    probabilities_by: ClassVar[str] = "softmax"

    from_logits: bool = False
    """Whether outputs are logits rather than probabilities."""
    axis: int = -1
    """The axis of the classes (of the mean, for the binary loss); the batch axis is 0."""

    def doubt(self, last_activation: str | None) -> Fault | None:
        if not self.from_logits and last_activation == "linear":
            return (
                f"{self.label} wants probabilities, and the last layer has no activation",
                f"write `activation: {self.probabilities_by}` there, or `from_logits: true` in the loss",
            )
        if self.from_logits and last_activation in ("softmax", "sigmoid"):
            return (
                f"{self.label} wants logits, and the last layer's {last_activation} makes probabilities",
                f"leave out `from_logits: true`, or the {last_activation}",
            )
        return None


class BinaryCrossentropy(_Crossentropy):
    """The mean of -(y·log p + (1 - y)·log(1 - p)) over the outputs, each a yes or no of its own."""

    aliases: ClassVar[tuple[str, ...]] = ("bce", "BCE")
    probabilities_by = "sigmoid"

    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    """How far targets are drawn towards 0.5."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example(inputs=((1,), ())),
        Example({"label_smoothing": 0.2}, inputs=((3,), (3,))),
        Example({"from_logits": True}, inputs=((4, 3), (4, 3))),
        Example({"axis": 1}, inputs=((4, 3), (4, 3))),
    )

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y_true = class_axis_last(matched(y_true, y_pred), self.axis)
        if self.label_smoothing:
            y_true = elementwise.cast(y_true, "float")
            y_true = elementwise.multiply(y_true, 1 - self.label_smoothing)
            y_true = elementwise.add(y_true, 0.5 * self.label_smoothing)
        return ops.binary_crossentropy(y_true, class_axis_last(y_pred, self.axis), self.from_logits)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        if classes and classes > 2 and pred_shape[-1:] == (1,):
            return (
                f"{self.label} with one output cannot tell {classes} classes apart",
                f"use {classes} units, softmax and sparse_categorical_crossentropy",
            )
        if classes and pred_shape and 1 < pred_shape[-1] != classes and y_shape[-1:] in ((classes,), (), (1,)):
            return _count(self, classes, pred_shape[-1])
        return unlike(self, y_shape, classes, pred_shape)


class CategoricalCrossentropy(_Crossentropy):
    """-Σ y·log p over the classes, y a one-hot vector or a distribution; p is made to sum to 1."""

    targets = "one_hot"

    label_smoothing: float = Field(default=0.0, ge=0, le=1)
    """How much of each target is spread evenly over the classes."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example(inputs=((4,), (4,))),
        Example({"label_smoothing": 0.1}, inputs=((3, 4), (3, 4))),
        Example({"from_logits": True, "label_smoothing": 0.1}, inputs=((4,), (4,))),
        Example({"axis": 1}, inputs=((4, 3), (4, 3))),
        Example({"axis": -2, "from_logits": True}, inputs=((4, 3), (4, 3))),
    )

    def values(self, y_true: Value, y_pred: Value) -> Value:
        if self.label_smoothing:
            share = self.label_smoothing / y_true.shape[-1]
            y_true = elementwise.cast(y_true, "float")
            y_true = elementwise.add(elementwise.multiply(y_true, 1 - self.label_smoothing), share)
        y_true, y_pred = class_axis_last(y_true, self.axis), class_axis_last(y_pred, self.axis)
        return ops.categorical_crossentropy(y_true, y_pred, self.from_logits)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        if fault := _one_output(self, classes, pred_shape):
            return fault
        if y_shape in (pred_shape[:-1], (*pred_shape[:-1], 1)):
            return (
                f"{self.label} wants one-hot targets, and gets class numbers of shape {y_shape}",
                "use sparse_categorical_crossentropy, or `target_encoding: one_hot`",
            )
        if classes and len(y_shape) == len(pred_shape) and y_shape[-1] == classes != pred_shape[-1]:
            return _count(self, classes, pred_shape[-1])
        return unlike(self, y_shape, None, pred_shape)


class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p of the class that an integer target numbers; p is made to sum to 1.

    Unlike Keras on JAX, which gives a target out of range a loss of 0, the nearest class is taken; data are checked
    before training.
    """

    targets = "integer"

    ignore_class: int | None = None
    """Number of a class whose samples do not count, such as -1 or 255."""

    examples = (
        Example(inputs=((4,), ())),
        Example(inputs=((4,), (1,))),
        Example({"from_logits": True}, inputs=((3, 4), (3,))),
        Example({"ignore_class": 1}, inputs=((3, 4), (3,))),
        Example({"axis": 1}, inputs=((4, 3), (3,))),
    )

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y_pred = class_axis_last(y_pred, self.axis)
        rows = y_pred.shape[:-1]
        y_true = reshape(y_true, rows) if without_one(y_true.shape) == without_one(rows) else y_true
        values = ops.sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)
        counted = self.counted(y_true, values)
        return values if counted is None else elementwise.multiply(values, elementwise.cast(counted, "float"))

    def counted(self, y_true: Value, values: Value) -> Value | None:
        if self.ignore_class is None:
            return None
        return elementwise.not_equal(reshape(y_true, values.shape), self.ignore_class)

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        return unnumbered(self, self.axis, y_shape, classes, pred_shape)


class _CrossentropyByShape(Loss):
    """The words `crossentropy` and `ce`: Keras picks the loss by the shapes of output and target."""

    targets = "integer"

    @property
    def label(self) -> str:
        return "crossentropy"

    def resolve(self, output_shape: Shape, target_shape: Shape) -> Loss:
        common: dict[str, str | None] = {"name": self.name, "reduction": self.reduction}
        if output_shape[-1:] == (1,):
            return BinaryCrossentropy.model_validate(common)
        if len(target_shape) < len(output_shape) or target_shape[-1:] == (1,):
            return SparseCategoricalCrossentropy.model_validate(common)
        return CategoricalCrossentropy.model_validate(common)

    def values(self, y_true: Value, y_pred: Value) -> Value:
        return self.resolve(y_pred.shape, y_true.shape).values(y_true, y_pred)

    def dump(self) -> dict[str, object]:
        return {**super().dump(), "type": "crossentropy"}

    def encoding(self, output_shape: Shape, classes: int | None) -> Literal["integer", "one_hot", "none"]:
        return "none" if output_shape[-1:] == (1,) else "integer"

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        return self.resolve(pred_shape, y_shape).problem(y_shape, classes, pred_shape)


Loss.by_shape.update({"crossentropy": _CrossentropyByShape, "ce": _CrossentropyByShape})


def unnumbered(loss: Loss, axis: int, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
    """Why these targets are not numbers of classes along that axis of the output."""
    if fault := _one_output(loss, classes, pred_shape):
        return fault
    if y_shape == pred_shape:
        return (
            f"{loss.label} wants class numbers, and gets vectors of shape {y_shape}",
            "use categorical_crossentropy, or `target_encoding: integer`",
        )
    at = sample_axis(axis, pred_shape)
    rows = (*pred_shape[:at], *pred_shape[at + 1 :])
    if without_one(y_shape) != without_one(rows):
        return (
            f"{loss.label} wants a class number for each of the outputs {rows}, and targets have shape {y_shape}",
            "put Flatten or a pooling layer before the last one if there is one label for each sample",
        )
    if classes and classes > pred_shape[at]:
        return _count(loss, classes, pred_shape[at])
    return None


def _one_output(loss: Loss, classes: int | None, pred_shape: Shape) -> Fault | None:
    if pred_shape and pred_shape != (1,):
        return None
    return (
        f"{loss.label} wants an output for each class, and there is one",
        f"give the last layer {classes or 2} units with softmax"
        + (", or use BinaryCrossentropy with sigmoid" if (classes or 2) == 2 else ""),
    )


def _count(loss: Loss, classes: int, outputs: int) -> Fault:
    return f"{loss.label}: there are {classes} classes and {outputs} outputs", f"give the last layer {classes} units"
