"""A trained model opened again: from a run directory, or from an exported `.keras` file that carries its spec."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kerascli import graph, keras_config, keras_files, yamltext
from kerascli.errors import Failure, Problem
from kerascli.exporters import exporter
from kerascli.exporters.base import ATTACHED, Trained
from kerascli.graph import Graph
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.run import Run
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from kerascli.spec import Loaded, read

RESOLVED, PREPROCESSING, SIGNATURE = "resolved.yaml", "preprocessing.json", "signature.json"
LIMIT = 2**28
"""Bytes of an attachment that are still read; vocabularies may be long."""


@dataclass(frozen=True)
class Stored:
    """Spec, graph, weights and preprocessing of a trained model."""

    path: Path
    """A run directory or a `.keras` file."""

    @cached_property
    def run(self) -> Run | None:
        return Run.open(self.path) if self.path.is_dir() else None

    @cached_property
    def loaded(self) -> Loaded:
        """The spec as resolved; a run that was resumed or moved needs nothing else."""
        where = self.run.resolved if self.run else self.path
        document = yamltext.parse(self.attachment(RESOLVED), str(where))
        return Loaded(read(document, where), document, where)

    @cached_property
    def graph(self) -> Graph:
        """Built from the signature noted at training, so that the data need not be there any more."""
        return graph.build(self.loaded, self.signature)

    @cached_property
    def signature(self) -> Signature:
        facts = json.loads(self.attachment(SIGNATURE))
        found = signature(facts)
        return replace(found, learned=self.preprocessing.layers) if facts.get("learned") else found

    @cached_property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.from_json(self.attachment(PREPROCESSING))

    def weights(self, which: str = "last") -> dict[str, Array]:
        """`best` or `last`; an exported file has one set, and a run that kept no best one has its last."""
        if self.run is None:
            return keras_files.load_weights(self.path, self.graph)
        best = which == "best" and self.run.best_weights.is_file()
        return keras_files.load_weights(self.run.best_weights if best else self.run.weights, self.graph)

    def attachment(self, name: str) -> bytes:
        """One of the files that travel with the weights."""
        if self.run is None:
            try:
                return keras_files.read_member(self.path, ATTACHED + name, LIMIT)
            except Failure as failure:
                help = "`kerascli import` turns a model that Keras saved into a run"
                raise Failure([Problem(p.code, p.message, p.where, help=help) for p in failure.problems]) from failure
        if name == SIGNATURE:
            return json.dumps(self.run.facts.get("signature")).encode()
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            message = f"the run lacks `{name}`: {error.strerror or error}"
            raise Failure(Problem("E503", message, self.path / name)) from error

    def attachments(self) -> dict[str, bytes]:
        """All of them."""
        return {name: self.attachment(name) for name in (RESOLVED, PREPROCESSING, SIGNATURE)}

    def trained(self) -> Trained:
        """What exporters need."""
        spec = self.loaded.spec
        file = self.run.weights if self.run else self.path
        state = keras_files.load_optimizer(file, self.graph, spec.name, spec.optimizer)
        return Trained(spec.name, self.graph, self.weights(), keras_config.compiled(spec), state, self.attachments())


def export(stored: Stored, form: str, path: Path | None = None) -> list[Path]:
    """Write a stored model in another form; returns the files written."""
    writer = exporter(form)
    problems = writer.problems(stored.graph)
    if problems:
        raise Failure(problems)
    trained = stored.trained()
    return writer.write(trained, path or Path(trained.name + writer.suffix))


def signature_facts(found: Signature) -> dict[str, Any]:
    """A signature as plain data, for `run.json`; what layers have learnt may be long, and is in preprocessing.json."""
    return asdict(replace(found, learned={})) | {"learned": sorted(found.learned)}


def signature(facts: Any) -> Signature:
    """The signature that `signature_facts` wrote."""
    try:
        inputs = {name: InputInfo(tuple(i["shape"]), i["dtype"]) for name, i in facts["inputs"].items()}
        targets = {
            name: TargetInfo(tuple(t["shape"]), t["dtype"], t["classes"], tuple(t["class_names"]))
            for name, t in facts["targets"].items()
        }
        return Signature(inputs, targets, dict(facts["sizes"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise Failure(Problem("E503", f"the model's `signature` is not readable: {error!r}")) from error
