"""A folder with `model.json` and `model.weights.h5`, as `to_json()` and `save_weights()` write them."""

from __future__ import annotations

import json
from pathlib import Path

from kerascli import files, keras_config, keras_files
from kerascli.exporters.base import KerasExporter, Trained


class Json(KerasExporter):
    form = "json"

    def write(self, trained: Trained, path: Path) -> list[Path]:
        with files.writing(path):
            path.mkdir(parents=True, exist_ok=True)
        model, weights = path / "model.json", path / keras_files.WEIGHTS
        config = keras_config.model(trained.graph, trained.name, dict(trained.compiled))
        files.write_text(model, json.dumps(config))
        keras_files.save_weights(weights, trained.graph, trained.weights, trained.name, trained.optimizer)
        return [model, weights]
