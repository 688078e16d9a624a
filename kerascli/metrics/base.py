"""What a metric is: sums that grow batch by batch, and a result read from them. Pure NumPy, no state of its own.

The sums are a dictionary of float64 arrays under the names of Keras's variables, so that blocks and lanes merge by
addition and a run can save them. Keras adds in float32: its results differ from these in the seventh digit.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import numpy as np

from kerascli.component import Component, snake_case
from kerascli.ops.ir import Array, Shape
from kerascli.ops.shape import without_one

Sums = dict[str, Array]


class Metric(Component):
    """A figure that tells how good predictions are; shown and logged, never trained on."""

    family = "metric"
    snake_names = True
    direction: ClassVar[Literal["up", "down"] | None] = None
    """Which way is better; callbacks with `mode: auto` ask."""
    keras_name: ClassVar[str] = ""
    """Keras's instance name where it is not the class name in snake_case."""
    by_shape: ClassVar = dict[str, "type[Metric]"]()
    """Identifiers that stand for different members on different outputs: `accuracy`, `acc`."""

    name: str | None = None
    """Name of its column in the logs; by default Keras's instance name, such as `mean_squared_error`."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        """A bare string names its column as typed, as Keras does: `mse` logs `mse`, a mapping `mean_squared_error`."""
        if isinstance(value, str) and value.lower() in cls.by_shape:
            return super().parse({"type": value.lower(), "name": value})
        if isinstance(value, str) and cls.find(value):
            return super().parse({"type": value, "name": value})
        return super().parse(value)

    @classmethod
    def loaded_names(cls) -> dict[str, type[Component]]:
        return {**super().loaded_names(), **cls.by_shape}

    @property
    def column(self) -> str:
        """Its name in the logs, before those of several metrics are made unique by `columns`."""
        return self.name or self.keras_name or snake_case(type(self).__name__)

    def resolve(self, output_shape: Shape, target_shape: Shape) -> "Metric":
        """The metric to compute on an output of these sample shapes: itself, except for `accuracy` and `acc`."""
        return self

    def problem(self, target_shape: Shape, output_shape: Shape) -> tuple[str, str] | None:
        """Why it cannot be computed on these sample shapes, and the mend; most want targets of the output's shape."""
        if without_one(target_shape) == without_one(output_shape):
            return None
        return (
            f"{self.column} wants targets of the output's shape {output_shape} and gets shape {target_shape}",
            "use `target_encoding: one_hot` with a loss that takes it, or another metric",
        )

    def zero(self, shape: Shape) -> Sums:
        """Empty sums, for outputs whose samples have this shape."""
        raise NotImplementedError

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        """Add a batch. `weight` holds sample weights and mask in one: (n,), or more of the leading axes of `y_pred`."""
        raise NotImplementedError

    def result(self, sums: Sums) -> float | Array:
        """The figure so far; 0 before the first sample."""
        raise NotImplementedError


class _Mean(Metric):
    """The weighted mean of a value per sample (or per step, per pixel): Σ w·v / Σ w."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One value per sample, or several that are averaged."""
        raise NotImplementedError

    def zero(self, shape: Shape) -> Sums:
        return {"total": np.zeros(()), "count": np.zeros(())}

    def add(self, sums: Sums, y_true: Array, y_pred: Array, weight: Array | None = None) -> None:
        add_mean(sums, self.values(y_true, y_pred), weight)

    def result(self, sums: Sums) -> float | Array:
        return float(ratio(sums["total"], sums["count"]))


def add_mean(sums: Sums, values: Array, weight: Array | None) -> None:
    """Add weighted values; the count is in samples, so further axes are averaged."""
    if weight is not None:
        weight = np.broadcast_to(trailing(weight, values.ndim), values.shape)
        per_sample = len(values) / values.size
        sums["total"] += np.multiply(values, weight, dtype=np.float64).sum() * per_sample
        sums["count"] += weight.sum(dtype=np.float64) * per_sample
    elif values.dtype == bool:
        sums["total"] += np.count_nonzero(values) * len(values) / values.size
        sums["count"] += len(values)
    else:
        sums["total"] += values.sum(dtype=np.float64) * (len(values) / values.size)
        sums["count"] += len(values)


def trailing(weight: Array, rank: int) -> Array:
    """Weights of the leading axes, with axes of one behind them (or an axis of one dropped) to reach `rank`."""
    if weight.ndim > rank and weight.shape[-1] == 1:
        weight = weight[..., 0]
    return weight.reshape(weight.shape + (1,) * (rank - weight.ndim))


def like(y_true: Array, y_pred: Array) -> Array:
    """Targets in the shape and dtype of the predictions: (n,) fits (n, 1)."""
    return y_true.reshape(y_pred.shape).astype(y_pred.dtype, copy=False)


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b != 0)


def columns(metrics: Iterable[tuple[str | None, Metric, bool]]) -> list[str]:
    """Keras's log name of each metric, given as (output name or None for a single output, metric, weighted).

    Metrics without a name are counted (`precision`, `precision_1`), output names go before, and what is then still
    equal gets `weighted_` (weighted metrics) or a number. Keras counts over the process, we over the spec.
    """
    seen: dict[str, int] = {}
    counted: dict[str, int] = {}
    found = []
    for output, metric, weighted in metrics:
        own = _counted(metric, counted)
        name = f"{output}_{own}" if output else own
        if name in seen and weighted:
            name = f"{output}_weighted_{own}" if output else f"weighted_{own}"
        number = seen.get(name, 0)
        seen[name] = number + 1
        found.append(f"{name}_{number}" if number else name)
    return found


def _counted(metric: Metric, counted: dict[str, int]) -> str:
    """Keras's automatic name: the classes whose default name is fixed are not counted."""
    if metric.name or isinstance(metric, _Mean) or metric.keras_name:
        return metric.column
    number = counted.get(metric.column, 0)
    counted[metric.column] = number + 1
    return f"{metric.column}_{number}" if number else metric.column
