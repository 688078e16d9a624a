"""The spec as it was trained, every default filled in: `kerascli train` reads it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kerascli import files
from kerascli.exporters.base import RESOLVED, Exporter, Trained
from kerascli.exporters.readback import Reading
from kerascli.ops.ir import Array


class Yaml(Exporter):
    form = "yaml"
    suffix = ".yaml"

    def write(self, trained: Trained, path: Path) -> list[Path]:
        files.write_bytes(path, trained.attachments[RESOLVED])
        return [path]

    def read_back(self, written: list[Path], trained: Trained, inputs: Mapping[str, Array]) -> Reading:
        return Reading(skipped="a spec holds no weights, so there are no predictions to compare")
