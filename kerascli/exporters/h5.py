"""Keras's legacy whole-model HDF5."""

from __future__ import annotations

import json
from pathlib import Path

from kerascli import keras_config, keras_files
from kerascli.errors import Problem
from kerascli.exporters.base import KerasExporter, Trained
from kerascli.graph import Graph


class H5(KerasExporter):
    form = "h5"
    suffix = ".h5"

    def problems(self, graph: Graph) -> list[Problem]:
        """Keras reads an `axis` back from this form where it is one number alone, and takes `dot` for a function."""
        if found := super().problems(graph):
            return found
        for node, shapes in graph.calls():
            entry = keras_config.layer(node.layer, node.name, shapes)
            kind, config = entry["class_name"], entry["config"]
            axis = config.get("axis", 0)
            why = f" with axis {axis}" if isinstance(axis, list) and len(axis) != 1 else ""
            if why or kind == "GroupQueryAttention" or config.get("score_mode") == "dot":
                message = f"Keras cannot read {node.title}{why} from its legacy HDF5"
                found.append(Problem("E603", message, node.where, help="export to `keras` instead"))
        return found

    def write(self, trained: Trained, path: Path) -> list[Path]:
        config = keras_config.legacy(keras_config.model(trained.graph, trained.name))
        attributes = {
            "backend": "numpy",
            "keras_version": keras_config.KERAS_VERSION,
            "model_config": json.dumps(config),
        }
        if trained.compiled:
            attributes["training_config"] = json.dumps(keras_config.legacy_training(dict(trained.compiled)))
        keras_files.save_legacy(path, trained.graph, trained.weights, trained.name, attributes)
        return [path]
