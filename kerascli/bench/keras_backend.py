"""Real Keras on the backend that KERAS_BACKEND names: `model.fit` of the model that kerascli's export describes."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from kerascli.bench.job import WEIGHTS, Array, arrays, read


def make(folder: Path, threads: int) -> KerasBackend:
    return KerasBackend(folder, threads)


class KerasBackend:
    """A compiled Keras model and its data."""

    def __init__(self, folder: Path, threads: int) -> None:
        # Packages that kerascli does not depend on are imported by name: they need not be there to check its types.
        keras: Any = import_module("keras")
        self.backend: str = keras.backend.backend()
        self.package = import_module(self.backend)
        self._limit(threads)
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        self.job = job = read(folder)
        self.version: str = keras.__version__
        self.model = keras.models.model_from_json(json.dumps(job.model))
        if job.adapted:
            self.model.load_weights(folder / WEIGHTS)
        self.x = _named(arrays(folder, "x"), job.inputs)
        self.y = _named(arrays(folder, "y"), job.outputs)
        self.weights = _named(arrays(folder, "w"), job.outputs) if job.weighted else None

    def _limit(self, threads: int) -> None:
        if self.backend == "tensorflow":
            self.package.config.threading.set_intra_op_parallelism_threads(threads)
            self.package.config.threading.set_inter_op_parallelism_threads(threads)
        elif self.backend == "torch":
            self.package.set_num_threads(threads)

    def epoch(self) -> float:
        job = self.job
        done = self.model.fit(
            self.x, self.y, batch_size=job.batch, shuffle=job.shuffle, sample_weight=self.weights, verbose=0
        )
        return float(done.history["loss"][-1])

    def facts(self) -> dict[str, str]:
        return {"keras": self.version, self.backend: self.package.__version__}


def _named(parts: list[Array], names: tuple[str, ...]) -> Array | dict[str, Array]:
    """One array alone, several by their names."""
    return parts[0] if len(parts) == 1 else dict(zip(names, parts, strict=True))
