"""Real Keras beside ours: the model that a spec describes, with the same weights, trained on the same batches."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from kerascli import keras_config, keras_files
from kerascli.check import check
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.runner import Averages, Logs, Runner
from kerascli.sources.base import Dataset
from kerascli.trainer import Trainer
from kerascli.training import read_data


class Quiet:
    """Nobody watches."""

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None: ...

    def batch_end(self, step: int, averages: Averages) -> None: ...

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> None: ...

    def say(self, text: str) -> None: ...


class Twin:
    """One spec, twice: our runner and a Keras model with equal initial weights."""

    def __init__(
        self, spec: Path, folder: Path, workers: int = 1, nudge: float = 0.0, settings: Sequence[str] = ()
    ) -> None:
        self.checked = check(spec, settings)
        self.model = Model.of(self.checked)
        self.data: Dataset = read_data(self.model)
        self.runner = Runner(self.model, workers, trains=True)
        self.runner.initialise()
        if nudge:  # biases and scales away from 0 and 1, where mistakes would hide
            import numpy as np

            rng = np.random.default_rng(5)
            for array in self.runner.parameters.weights.values():
                if array.dtype.kind == "f" and array.ndim == 1:
                    array += nudge * rng.uniform(0, 1, array.shape).astype(array.dtype)
        self.folder = folder
        self.keras = self._keras()

    def _keras(self) -> Any:
        graph, spec = self.model.graph, self.model.spec
        config = keras_config.model(graph, spec.name, {})
        model = keras.models.model_from_json(json.dumps(config))
        path = self.folder / "start.weights.h5"
        keras_files.save_weights(path, graph, self.runner.parameters.weights, spec.name)
        model.load_weights(path)
        compiled = keras_config.compiled(spec)
        model.compile(
            optimizer=keras.optimizers.deserialize(compiled["optimizer"]),
            loss=_deserialized(compiled["loss"], keras.losses.deserialize),
            loss_weights=compiled["loss_weights"],
            metrics=_deserialized(compiled["metrics"], keras.metrics.deserialize),
            weighted_metrics=_deserialized(compiled["weighted_metrics"], keras.metrics.deserialize),
        )
        return model

    def ours(self) -> list[Logs]:
        """Our logs, epoch by epoch."""
        nothing = lambda path: None  # noqa: E731
        with self.runner.session:
            trainer = Trainer(
                self.runner, self.data.train, self.data.validation, self.folder, Quiet(), nothing, nothing
            )
            return [logs for _, logs, _, _ in trainer.fit(list(self.model.spec.callbacks))]

    def theirs(self, **fit: Any) -> list[Logs]:
        """Keras's logs of the same training."""
        spec, train, held = self.model.spec, self.data.train, self.data.validation
        history = self.keras.fit(
            _only(train.inputs),
            _listed(train.targets),
            sample_weight=train.sample_weight,
            batch_size=spec.training.batch_size,
            epochs=spec.training.epochs,
            shuffle=False,
            validation_data=None if held is None else (_only(held.inputs), _listed(held.targets)),
            validation_batch_size=spec.training.batch_size,
            class_weight=spec.training.class_weight,
            verbose=0,
            **fit,
        ).history
        return [{name: float(values[k]) for name, values in history.items()} for k in range(spec.training.epochs)]

    def weights(self) -> dict[str, tuple[Array, Array]]:
        """After training: ours and Keras's, by path."""
        path = self.folder / "end.weights.h5"
        self.keras.save_weights(path)
        theirs = keras_files.load_weights(path, self.model.graph)
        return {name: (array, theirs[name]) for name, array in self.runner.parameters.weights.items()}


def _listed(targets: Mapping[str, Array]) -> Any:
    """Keras finds the losses of a saved model's outputs by their order."""
    return next(iter(targets.values())) if len(targets) == 1 else list(targets.values())


def _only(arrays: Mapping[str, Array]) -> Any:
    return next(iter(arrays.values())) if len(arrays) == 1 else dict(arrays)


def _deserialized(config: Any, read: Any) -> Any:
    if isinstance(config, Mapping) and "class_name" not in config:
        return {key: _deserialized(part, read) for key, part in config.items()}
    if isinstance(config, list):
        return [_deserialized(part, read) for part in config]
    return read(config) if isinstance(config, Mapping) else config
