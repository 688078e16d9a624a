"""The figures that Keras comes to: the loss, the metrics, and the sums that they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerascli import keras_config
from kerascli.engines.backend import Backend
from kerascli.metrics.base import Metric, Sums
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.runner import Averages, Logs


class Figures:
    """Keras's figures of a compiled model, and ours."""

    def __init__(self, model: Model, compiled: Any, backend: Backend) -> None:
        self.model, self.keras, self.backend = model, compiled, backend
        self.names: list[str] = []
        """Keras's names of them in its order, once a batch has been seen."""

    def metrics(self) -> list[Any]:
        """The loss, the metrics, those of `weighted_metrics`, and each output's loss: in Keras's order."""
        return [each for metric in self.keras.metrics for each in getattr(metric, "metrics", [metric])]

    def columns(self) -> list[str]:
        """Their names in our logs."""
        measures = self.model.measures
        own = [m.column for weighted in (False, True) for m in measures if m.weighted is weighted]
        return ["loss", *own, *self.model.loss_columns.values()]

    def see(self) -> None:
        """Learn how Keras calls its figures: JAX sorts them where it hands them over.

        JAX has them before a step, and does not show them after it; TensorFlow has none before the first.
        """
        self.names = self.names or list(self.keras.get_metrics_result())

    def build(self, batch: tuple[Any, ...]) -> None:
        """Make the metrics, which some backends put off until the first step."""
        if self.backend.late and not self.names:
            self.keras.test_on_batch(*batch)
            self.see()

    def values(self, logs: Mapping[str, Any]) -> list[Any]:
        """The figures in Keras's order; where outputs have one name, its logs hold but one of them."""
        if len(self.names) == len(self.columns()):
            return [logs[name] for name in self.names]
        self.backend.sync(self.keras)
        return [metric.result() for metric in self.metrics()]

    def logs(self, values: Sequence[Any]) -> Logs:
        """Our logs of Keras's figures."""
        given = dict(zip(self.columns(), values, strict=True))
        found: Logs = {}
        for name in self.model.objective.columns:
            array = np.asarray(keras.ops.convert_to_numpy(given[name]))
            several = {f"{name}_{k}": float(v) for k, v in enumerate(array.reshape(-1))}
            found |= several if array.ndim else {name: float(array)}
        return found

    def sums(self, averages: Averages) -> None:
        """Take over the sums that Keras's metrics have."""
        loss, *own = self.metrics()
        averages.total, count = self._mean(loss)
        averages.samples = round(count)
        places = self._places()
        for k, metric in zip(places, own, strict=False):
            for array, variable in _pairs(averages.sums[k], metric):
                np.copyto(array, self._read(variable).reshape(array.shape))
        for output, metric in zip(self.model.loss_columns, own[len(places) :], strict=True):
            total, count = self._mean(metric)  # TensorFlow counts batches here, not samples
            averages.parts[output] = total / max(count, 1) * averages.samples

    def set_sums(self, averages: Averages) -> None:
        """Let Keras's metrics go on with such sums."""
        loss, *own = self.metrics()
        self._set_mean(loss, averages.total, averages.samples)
        places = self._places()
        for k, metric in zip(places, own, strict=False):
            for array, variable in _pairs(averages.sums[k], metric):
                self._write(variable, array.reshape(variable.shape))
        for output, metric in zip(self.model.loss_columns, own[len(places) :], strict=True):
            self._set_mean(metric, averages.parts.get(output, 0.0), averages.samples)

    def _mean(self, metric: Any) -> tuple[float, float]:
        total, count = (float(self._read(variable)) for variable in metric.variables)
        return total, count

    def _set_mean(self, metric: Any, *sums: float) -> None:
        for variable, value in zip(metric.variables, sums, strict=True):
            self._write(variable, value)

    def _read(self, variable: Any) -> Array:
        return np.asarray(keras.ops.convert_to_numpy(variable)) / self.backend.copies

    def _write(self, variable: Any, value: Any) -> None:
        variable.assign(value * self.backend.copies)

    def _places(self) -> list[int]:
        """Which of our measures each of Keras's metrics is."""
        measures = self.model.measures
        return [k for weighted in (False, True) for k, m in enumerate(measures) if m.weighted is weighted]


def keras_metric(metric: Metric, column: str) -> Any:
    config = keras_config.part(metric)
    config["config"]["name"] = column.replace("/", "_")
    return keras.metrics.deserialize(config)


def _pairs(sums: Sums, metric: Any) -> Iterator[tuple[Array, Any]]:
    """Our sums and Keras's variables. They have the same names, but where there is one alone."""
    if len(sums) == 1:
        return zip(sums.values(), metric.variables, strict=True)
    return ((sums[variable.name], variable) for variable in metric.variables)
