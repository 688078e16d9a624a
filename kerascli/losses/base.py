"""What a loss is: one number for each sample (or step, or pixel), written with ops; weights and means come after."""

from typing import ClassVar, Literal

from kerascli.component import Component, snake_case
from kerascli.ops.elementwise import cast
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.shape import permute, reshape, without_one

Fault = tuple[str, str]
"""What is wrong, and the mend."""


class Loss(Component):
    """What training makes small."""

    family = "loss"
    snake_names = True
    targets: ClassVar[Literal["integer", "one_hot", "like_output"]] = "like_output"
    """The form of targets it takes: class numbers, one-hot vectors, or arrays in the output's shape."""
    keras_name: ClassVar[str] = ""
    """Keras's name where it is not the class name in snake_case."""
    by_shape: ClassVar = dict[str, "type[Loss]"]()
    """Identifiers that stand for different members on different outputs: `crossentropy`, `ce`."""

    name: str | None = None
    """Name of the loss; by default Keras's, such as `mean_squared_error`."""
    reduction: Literal["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"] = "sum_over_batch_size"
    """How the losses of a batch become one: their sum, or that divided by their number or by the sum of the weights."""

    @classmethod
    def loaded_names(cls) -> dict[str, type[Component]]:
        return {**super().loaded_names(), **cls.by_shape}

    @property
    def label(self) -> str:
        """Its name in messages and in Keras."""
        return self.name or self.keras_name or snake_case(type(self).__name__)

    def resolve(self, output_shape: Shape, target_shape: Shape) -> "Loss":
        """The loss to compute on these sample shapes: itself, except for `crossentropy` and `ce`."""
        return self

    def encoding(self, output_shape: Shape, classes: int | None) -> Literal["integer", "one_hot", "none"]:
        """What `target_encoding: auto` stands for on an output of this shape, for targets with this many classes."""
        if self.targets != "like_output":
            return self.targets
        if classes and classes > 1 and output_shape[-1:] == (classes,):
            return "one_hot"
        return "none"

    def values(self, y_true: Value, y_pred: Value) -> Value:
        """The loss of each row of outputs: shape of `y_pred` without its last (or the class) axis.

        A loss that compares batches, not samples, gives a value of scope STEP.
        """
        raise NotImplementedError

    def numbered(self, pred_shape: Shape) -> int | None:
        """How many classes a target may number, from 0, on an output of this shape; None where it numbers none."""
        return pred_shape[sample_axis(getattr(self, "axis", -1), pred_shape)] if self.targets == "integer" else None

    def counted(self, y_true: Value, values: Value) -> Value | None:
        """A boolean of the values' shape that tells which of them count, or None if all do: part of the mask."""
        return None

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        """Why targets and outputs of these sample shapes cannot be compared; `classes` is None where there are none."""
        raise NotImplementedError

    def doubt(self, last_activation: str | None) -> Fault | None:
        """What Keras would train, but to no avail, after an output of this activation (None where it is not known)."""
        return None


class _LikeOutput(Loss):
    """A loss that compares the output with a target of the same shape."""

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        return unlike(self, y_shape, classes, pred_shape)


def unlike(loss: Loss, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
    """Targets must have the output's shape; (n,) meets (n, 1)."""
    if without_one(y_shape) == without_one(pred_shape):
        return None
    message = f"{loss.label} wants targets of the output's shape {pred_shape}, and they have shape {y_shape}"
    if classes and y_shape in (pred_shape[:-1], (*pred_shape[:-1], 1)):
        if pred_shape[-1] == classes:
            return message, "use `target_encoding: one_hot`, or sparse_categorical_crossentropy"
        return message, f"there are {classes} classes: use a crossentropy and {classes} outputs"
    if len(y_shape) == len(pred_shape) and y_shape[:-1] == pred_shape[:-1]:
        return message, f"give the last layer {y_shape[-1]} units"
    return message, "make the last layer's output the shape of the target"


def matched(y_true: Value, y_pred: Value) -> Value:
    """Targets seen in the shape of the output: (n,) as (n, 1), (n, T) as (n, T, 1)."""
    return reshape(y_true, y_pred.shape) if without_one(y_true.shape) == without_one(y_pred.shape) else y_true


def floats(y_true: Value, y_pred: Value) -> Value:
    """Targets as floats in the shape of the output."""
    return cast(matched(y_true, y_pred), "float")


def sample_axis(axis: int, shape: Shape) -> int:
    """Keras counts the batch as axis 0: the same axis within a sample, from 0."""
    rank = len(shape)
    if axis == 0 or not -rank <= axis <= rank:
        raise ShapeError(f"axis {axis} is not one of the {rank} axes of an output {shape}", "the last axis is -1")
    return axis - 1 if axis > 0 else axis + rank


def class_axis_last(x: Value, axis: int) -> Value:
    """`x` with that axis of its whole array behind all others."""
    at = sample_axis(axis, x.shape)
    others = tuple(k for k in range(len(x.shape)) if k != at)
    return x if at == len(others) else permute(x, (*others, at))
