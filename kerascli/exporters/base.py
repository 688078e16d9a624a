"""What an exporter is, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from kerascli import keras_config
from kerascli.errors import Problem
from kerascli.exporters.readback import Reading, run_keras
from kerascli.graph import Graph
from kerascli.keras_layout import OptimizerState
from kerascli.ops.ir import Array
from kerascli.predictions import Reading as Scores

RESOLVED, PREPROCESSING, SIGNATURE = "resolved.yaml", "preprocessing.json", "signature.json"
ATTACHED = "kerascli/"
"""Folder of an archive for the run's own files; Keras leaves it alone."""


@dataclass(frozen=True)
class Trained:
    """A model as exporters see it."""

    name: str
    graph: Graph
    weights: Mapping[str, Array]
    compiled: Mapping[str, Any] = field(default_factory=dict)
    """Keras's `compile_config`."""
    optimizer: OptimizerState | None = None
    """Given where training may go on in Keras."""
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """The run's `resolved.yaml`, `preprocessing.json` and the like, for forms that can carry them."""
    readings: tuple[Scores, ...] = ()
    """How each output is read: the names of its classes."""
    quantize: str | None = None
    """Store weights in fewer bits: one of the exporter's `quantizes`."""


class Exporter:
    """Writes one form. `problems` is asked before training, so that nobody trains what cannot be written."""

    form: ClassVar[str]
    """What `--format` calls it."""
    suffix: ClassVar[str]
    """Ends the file's name; empty where the form is a folder."""
    quantizes: ClassVar[tuple[str, ...]] = ()
    """What `--quantize` may say."""
    looks_up: ClassVar[bool] = False
    """Whether what it writes looks whole numbers up itself, where layers do that before the net."""

    def problems(self, graph: Graph) -> list[Problem]:
        return []

    def write(self, trained: Trained, path: Path) -> list[Path]:
        """Write the form to `path`; returns the files written."""
        raise NotImplementedError

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        """What another program than this one predicts with the files."""
        raise NotImplementedError


class KerasExporter(Exporter):
    """Forms that Keras reads cannot hold what Keras's own config has no words for."""

    suffix = ""

    def problems(self, graph: Graph) -> list[Problem]:
        return keras_config.problems(graph)

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        return run_keras(written, trained.graph, inputs)
