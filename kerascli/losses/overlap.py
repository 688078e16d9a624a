"""Losses by how much prediction and target overlap, for masks. By default they compare batches, not samples."""

from typing import Annotated

from pydantic import BeforeValidator

from kerascli.component import Example, as_tuple
from kerascli.losses.base import Fault, _LikeOutput, floats
from kerascli.ops import elementwise, reduction
from kerascli.ops.ir import Shape, ShapeError, Value
from kerascli.ops.linear import batch_sum
from kerascli.ops.loss import EPSILON

Axes = Annotated[int | tuple[int, ...] | None, BeforeValidator(as_tuple)]


class _Overlap(_LikeOutput):
    axis: Axes = None
    """The axes to sum over, the batch axis being 0; by default all, so that a batch has one loss."""

    def problem(self, y_shape: Shape, classes: int | None, pred_shape: Shape) -> Fault | None:
        _axes(self.axis, len(pred_shape) + 1)
        return super().problem(y_shape, classes, pred_shape)

    def total(self, x: Value) -> Value:
        """Sums over the chosen axes."""
        axes = _axes(self.axis, len(x.shape) + 1)
        inner = tuple(axis - 1 for axis in axes if axis)
        x = reduction.sum(x, inner) if inner else x
        return batch_sum(x) if 0 in axes else x


class Dice(_Overlap):
    """1 - 2·Σ y·p / (Σ y + Σ p + 1e-7)."""

    examples = (
        Example(inputs=((4, 3), (4, 3))),
        Example({"axis": [1, 2]}, inputs=((4, 3), (4, 3))),
        Example({"axis": 1}, inputs=((4, 3), (4, 3))),
        Example({"axis": [0, 1]}, inputs=((4, 3), (4, 3))),
    )

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y = floats(y_true, y_pred)
        both = elementwise.multiply(self.total(elementwise.multiply(y, y_pred)), 2.0)
        either = elementwise.add(elementwise.add(self.total(y), self.total(y_pred)), EPSILON)
        return elementwise.subtract(1.0, elementwise.divide(both, either))


class Tversky(_Overlap):
    """1 - Σ y·p / (Σ y·p + α·Σ y·(1 - p) + β·Σ p·(1 - y) + 1e-7). Source: Salehi et al., 2017."""

    examples = (
        Example(inputs=((4, 3), (4, 3))),
        Example({"alpha": 0.3, "beta": 0.7, "axis": [1, 2]}, inputs=((4, 3), (4, 3))),
    )

    alpha: float = 0.5
    """Weight of what is in the target alone (Keras's paper calls these false positives)."""
    beta: float = 0.5
    """Weight of what is in the prediction alone."""

    def values(self, y_true: Value, y_pred: Value) -> Value:
        y = floats(y_true, y_pred)
        both = self.total(elementwise.multiply(y, y_pred))
        missed = self.total(elementwise.multiply(elementwise.subtract(1.0, y_pred), y))
        invented = self.total(elementwise.multiply(y_pred, elementwise.subtract(1.0, y)))
        either = elementwise.add(elementwise.multiply(missed, self.alpha), elementwise.multiply(invented, self.beta))
        either = elementwise.add(elementwise.add(both, either), EPSILON)
        return elementwise.subtract(1.0, elementwise.divide(both, either))


def _axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes of the whole array, counted from 0."""
    chosen = tuple(range(rank)) if axis is None else (axis,) if isinstance(axis, int) else axis
    for each in chosen:
        if not -rank <= each < rank:
            raise ShapeError(f"axis {each} is not one of the {rank} axes of a batch of outputs", "the last axis is -1")
    return tuple(sorted({each % rank for each in chosen}))
