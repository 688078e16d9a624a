"""The `.keras` archive: Keras's metadata, config and weights, and beside them what predicts raw data."""

from __future__ import annotations

import json
from pathlib import Path

from kerascli import keras_config, keras_files
from kerascli.exporters.base import ATTACHED, KerasExporter, Trained

DATE = "1980-01-01@00:00:00"
"""Keras notes when it saved; a fixed time keeps equal models equal, byte for byte."""


class Keras(KerasExporter):
    form = "keras"
    suffix = ".keras"

    def write(self, trained: Trained, path: Path) -> list[Path]:
        config = keras_config.model(trained.graph, trained.name, dict(trained.compiled))
        metadata = {"keras_version": keras_config.KERAS_VERSION, "date_saved": DATE}
        weights = keras_files.weights_bytes(trained.graph, trained.weights, trained.name, trained.optimizer)
        members = {
            keras_files.METADATA: json.dumps(metadata).encode(),
            keras_files.CONFIG: json.dumps(config).encode(),
            keras_files.WEIGHTS: weights,
        }
        attached = {ATTACHED + name: data for name, data in sorted(trained.attachments.items())}
        keras_files.save_archive(path, members | attached)
        return [path]
