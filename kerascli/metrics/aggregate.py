"""Mean and sum of the outputs themselves, such as a loss that the net computes; targets do not matter.

Keras can give these a value by hand; in `compile` it would take the targets for values and the outputs for weights,
which nobody wants.
"""

import numpy as np

from kerascli.component import Example
from kerascli.metrics.base import Metric, Sums, _Mean, trailing
from kerascli.ops.ir import Array, Shape


class _OfOutputs(Metric):
    """A figure of the outputs alone: targets may have any shape."""

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        return None


class Mean(_OfOutputs, _Mean):
    """The weighted mean of the outputs."""

    examples = (Example(inputs=((1,), ())), Example(inputs=((4, 3), (4, 3))))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return y_pred


class Sum(_OfOutputs):
    """The weighted sum of the outputs."""

    keras_name = "sum"
    examples = (Example(inputs=((1,), ())), Example(inputs=((4, 3), (4, 3))))

    def zero(self, shape: Shape) -> Sums:
        return {"total": np.zeros(())}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        values = y_pred.astype(np.float64)
        sums["total"] += (values if weight is None else values * trailing(weight, values.ndim)).sum()

    def result(self, sums: Sums) -> float | Array:
        return float(sums["total"])
