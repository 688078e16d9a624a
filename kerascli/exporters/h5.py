"""Keras's legacy whole-model HDF5."""

from __future__ import annotations

import json
from pathlib import Path

from kerascli import keras_config, keras_files
from kerascli.exporters.base import KerasExporter, Trained


class H5(KerasExporter):
    form = "h5"
    suffix = ".h5"

    def write(self, trained: Trained, path: Path) -> list[Path]:
        config = keras_config.legacy(keras_config.model(trained.graph, trained.name))
        attributes = {
            "backend": "numpy",
            "keras_version": keras_config.KERAS_VERSION,
            "model_config": json.dumps(config),
        }
        if trained.compiled:
            attributes["training_config"] = json.dumps(keras_config.legacy_training(dict(trained.compiled)))
        keras_files.save_legacy(path, trained.graph, trained.weights, trained.name, attributes, trained.optimizer)
        return [path]
