"""Weights by layer path in safetensors, which many programs read and which cannot hold code."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerascli import __version__, files
from kerascli.errors import Failure, Problem
from kerascli.exporters.base import Exporter, Trained
from kerascli.exporters.quantization import packed, unpacked
from kerascli.exporters.readback import Reading, predictions
from kerascli.graph import Graph
from kerascli.ops.ir import Array


class Safetensors(Exporter):
    form = "safetensors"
    suffix = ".safetensors"
    quantizes = ("float16",)

    def problems(self, graph: Graph) -> list[Problem]:
        if importlib.util.find_spec("safetensors") is None:
            message = "the package `safetensors` is not installed"
            return [Problem("E603", message, help="`pip install kerascli[safetensors]`")]
        return []

    def write(self, trained: Trained, path: Path) -> list[Path]:
        from safetensors.numpy import save

        stored = packed(trained.weights, trained.quantize)
        tensors = {name: np.ascontiguousarray(array) for name, array in stored.items()}
        about = {"name": trained.name, "kerascli_version": __version__, "format": "np"}
        files.write_bytes(path, save(tensors, metadata=about))
        return [path]

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        """The arrays as safetensors' own reader finds them, put into the model."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return Reading(predictions(trained.graph, unpacked(load_file(written[0])), inputs))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            return Reading(failed=str(error))
        except Failure as failure:
            return Reading(failed=failure.problems[0].message)
