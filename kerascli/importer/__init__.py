"""Models that Keras saved, read without Keras into run directories: `.keras`, legacy `.h5`, `model.json` with weights.

The way of a file: `source` (what it holds, as JSON) → `network` (calls of layers) → `plan` (a layer of ours for each) →
`layout` (as a person would write them) → `assemble` (the checked spec and its graph) → `weights` → a run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerascli import files, keras_config, keras_files
from kerascli.errors import Failure, Problem
from kerascli.importer import weights
from kerascli.importer.assemble import Assembled, assemble
from kerascli.importer.network import Config
from kerascli.importer.source import Source, opened, with_vocabularies
from kerascli.importer.text import spec_text
from kerascli.keras_layout import OptimizerState
from kerascli.ops.ir import Array
from kerascli.run import Run
from kerascli.spec import load, resolved
from kerascli.stored import signature_facts


@dataclass(frozen=True)
class Imported:
    """A model of Keras's as one of ours, before anything is written."""

    source: Source
    found: Assembled
    weights: dict[str, Array]
    optimizer: OptimizerState | None

    @property
    def text(self) -> str:
        """The spec as a person would write it."""
        about = [
            f"Imported by kerascli from {self.source.path.name}{self.source.version}.",
            "A model file holds no data. To train on from these weights, put the path of your own in the place of "
            "data.npz, or another dataset: `kerascli explain dataset` lists them.",
        ]
        return spec_text(self.found.spec, [*about, *(f"Note: {note}." for note in self.found.notes)])


def read(path: Path, weights_file: Path | None = None, shapes: Mapping[str, Sequence[int]] = {}) -> Imported:
    """Read a model file. All that a spec cannot say is one Failure; nothing of the file is ever run."""
    source = opened(path, weights_file)
    found = assemble(with_vocabularies(source), source.training, path, shapes)
    where = weights.layout(found.net, found.graph, found.steps)
    arrays: dict[str, Array] = {}
    state = None
    if found.graph.weights() or source.weights is not None:
        if source.weights is None:
            help = "name it: `--weights FILE`"
            raise Failure(Problem("E506", f"`{path}` has no weights, and there are none beside it", path, help=help))
        arrays, state = weights.read(source.weights, where, found.graph, found.loaded.spec)
    if source.ours:
        found.notes.append(f"kerascli wrote {path.name}: `kerascli predict {path.name}` also knows how raw data go in")
    found.notes.extend(weights.not_finite(arrays))
    if state is None and "optimizer" in found.spec:
        found.notes.append("the file has no state of the optimizer that fits: training begins it anew")
    return Imported(source, found, arrays, state)


def write(imported: Imported, runs: Path, directory: Path | None = None) -> Run:
    """The run directory of an imported model: `directory`, or a new one in `runs`."""
    found, source = imported.found, imported.source
    spec, graph = found.loaded.spec, found.graph
    origin: Config = {"file": str(source.path.resolve()), "digest": source.digest, "format": source.form}
    origin |= {"keras": source.keras_version, "notes": found.notes}
    if directory is not None and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        message = f"`{directory}` exists already"
        raise Failure(Problem("E501", message, directory, help="name another folder, or remove it"), exit_code=2)
    run = Run.create(
        runs,
        spec.name,
        imported.text.encode(),
        "",
        path=directory,
        origin=origin,
        signature=signature_facts(found.signature),
    )
    try:
        compiled = keras_config.compiled(spec)
        keras_files.save_weights(run.weights, graph, imported.weights, spec.name, imported.optimizer)
        files.write_text(run.model, json.dumps(keras_config.model(graph, spec.name, compiled)))
        files.write_text(run.preprocessing, found.preprocessing.to_json())
        run.write_resolved(resolved(load(run.spec).spec))
        run.end("completed", best_epoch=None)
    except BaseException:
        run.unlock()
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run
