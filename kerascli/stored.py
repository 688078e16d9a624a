"""A trained model opened again: from a run directory, or from an exported `.keras` file that carries its spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kerascli import graph, keras_archive, keras_config, keras_files, yamltext
from kerascli.errors import Failure, Problem, Span
from kerascli.exporters import exporter
from kerascli.exporters.base import ATTACHED, PREPROCESSING, RESOLVED, SIGNATURE, Trained
from kerascli.exporters.quantization import packed, unpacked
from kerascli.exporters.readback import Check, check, largest_difference, predictions, samples, unreadable
from kerascli.graph import Graph, Node
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.predictions import readings
from kerascli.preprocessing import Preprocessing
from kerascli.run import Run, resume_command
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from kerascli.spec import Loaded, read
from kerascli.yamltext import Document

__all__ = ["PREPROCESSING", "RESOLVED", "SIGNATURE", "Exported", "Stored", "export", "signature", "signature_facts"]
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
        """Built from the signature noted at training, so that the data need not be there any more.

        Messages show its layers in `spec.yaml`, as the user wrote them; an exported file has no lines to show.
        """
        found = graph.build(self.loaded, self.signature)
        return replace(found, nodes=tuple(replace(node, where=self._where(node)) for node in found.nodes))

    def _where(self, node: Node) -> Span | None:
        """A layer's place in `spec.yaml`; in `resolved.yaml` where another stands there, for `--set` has changed it."""
        if self.run is None:
            return None
        written, trained = (_kind(document, node) for document in (self._written, self.loaded.document))
        return self._written.type_span(node.path) if written == trained else node.where

    @cached_property
    def _written(self) -> Document:
        """The spec as the user wrote it, if it can be read still."""
        try:
            return yamltext.read(self.path / "spec.yaml")
        except Failure:
            return self.loaded.document

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
        if not best and not self.run.weights.is_file() and "epochs" not in self.run.facts:
            message = f"`{self.path}` has no final weights yet: it is {self.run.standing}"
            help = f"`--weights best` takes those of the best epoch; `{resume_command(self.path)}` goes on with it"
            raise Failure(Problem("E503", message, self.run.weights, help=help))
        return keras_files.load_weights(self.run.best_weights if best else self.run.weights, self.graph)

    def attachment(self, name: str) -> bytes:
        """One of the files that travel with the weights."""
        if self.run is None:
            try:
                return keras_archive.read_member(self.path, ATTACHED + name, LIMIT)
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
        config, found = keras_config.compiled(spec), readings(Model.stored(self.loaded, self.signature))
        return Trained(spec.name, self.graph, self.weights(), config, state, self.attachments(), tuple(found))


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and how well it holds what was trained."""

    files: tuple[Path, ...]
    check: Check | None = None
    """What another reader found; None where nobody asked."""
    weights_bytes: int = 0
    stored_bytes: int = 0
    """Of the weights as trained, and as written."""
    rounded: float | None = None
    """The largest difference that fewer bits make to predictions on random samples."""


def export(
    stored: Stored, form: str, path: Path | None = None, quantize: str | None = None, verify: bool = False
) -> Exported:
    """Write a stored model in another form; with `verify`, another program reads it back and predicts with it."""
    writer = exporter(form)
    if quantize is not None and quantize not in writer.quantizes:
        able = ", ".join(writer.quantizes)
        help = (
            f"`{form}` can store {able}"
            if able
            else "`numpy` and `onnx` can store int8 and float16, `safetensors` float16"
        )
        raise Failure(Problem("E602", f"`{form}` cannot store weights as {quantize}", help=help), exit_code=2)
    if problems := writer.problems(stored.graph):
        raise Failure(problems)
    trained = replace(stored.trained(), quantize=quantize)
    files = writer.write(trained, path or Path(trained.name + writer.suffix))
    arrays = packed(trained.weights, quantize)
    full, less = (sum(array.nbytes for array in each.values()) for each in (trained.weights, arrays))
    if not writer.looks_up and (reason := unreadable(stored.graph)):
        return Exported(tuple(files), Check(note=reason) if verify else None, full, less)
    rounded, found = None, None
    if quantize is not None:
        trained = replace(trained, weights=unpacked(arrays))
        inputs = samples(stored.graph)
        before, after = (predictions(stored.graph, w, inputs) for w in (stored.weights(), trained.weights))
        rounded = largest_difference(before, after)
    if verify:
        found = check(trained.graph, trained.weights, lambda inputs: writer.read_back(files, trained, inputs))
    return Exported(tuple(files), found, full, less, rounded)


def _kind(document: Document, node: Node) -> Any:
    """What the type of the layer is at a node's place of a spec."""
    value = document.node(node.path).value
    return value["type"] if isinstance(value, Mapping) and "type" in value else value


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
