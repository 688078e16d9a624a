"""What a model file holds, as JSON, whatever form it has; size and depth are checked before anything is built of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerascli import keras_archive, keras_files
from kerascli.component import snake_case
from kerascli.errors import Failure, Problem
from kerascli.exporters.base import ATTACHED
from kerascli.importer.network import Config, is_model
from kerascli.sources.base import digest_of_files

MOST_JSON = 1 << 25
"""Bytes of JSON that are read: a model of a thousand layers has one million."""
MOST_DEPTH, MOST_VALUES = 400, 2_000_000
MOST_WORDS = 1 << 24
LEGACY = ("model_config", "training_config", "keras_version", "backend")


@dataclass(frozen=True)
class Source:
    """A model file, read as far as JSON goes."""

    path: Path
    form: str
    """`keras`, `h5` or `json`."""
    model: Any
    training: Mapping[str, Any] | None
    weights: Path | None
    keras_version: str | None
    digest: str
    ours: bool = False
    """Whether kerascli wrote it, with what raw data need before they enter the network."""

    @property
    def version(self) -> str:
        """In words."""
        return f", written by Keras {self.keras_version}" if self.keras_version else ""


def opened(path: Path, weights: Path | None = None) -> Source:
    """Read the JSON of a `.keras` archive, a legacy HDF5 file, or a `model.json` with its weights beside it."""
    if not path.exists():
        raise Failure(Problem("E506", f"there is no file `{path}`", path), exit_code=2)
    if path.is_dir():
        help = "name the file in it: `model.json`, or the .keras archive"
        raise Failure(Problem("E506", f"`{path}` is a folder", path, help=help), exit_code=2)
    digest = digest_of_files([path])
    start = _start(path)
    if start.startswith(keras_archive.START):
        return _archive(path, weights, digest)
    if start == keras_files.HDF5:
        return _legacy(path, weights, digest)
    if path.suffix == ".json" or start.lstrip()[:1] == b"{":
        model = _json(_text(path), path, path.name)
        found = weights or _beside(path)
        training = model.get("compile_config") if isinstance(model, Mapping) else None
        version = model.get("keras_version") if isinstance(model, Mapping) else None
        return Source(path, "json", model, _settings(training), found, _version(version), digest)
    help = "kerascli reads .keras archives, .h5 files of whole models, and model.json with its .weights.h5"
    raise Failure(Problem("E506", f"`{path}` is no model file of Keras", path, help=help))


def _archive(path: Path, weights: Path | None, digest: str) -> Source:
    model = _json(keras_archive.read_member(path, keras_files.CONFIG, MOST_JSON), path, keras_files.CONFIG)
    names = keras_archive.members(path)
    about: Any = {}
    if keras_files.METADATA in names:
        about = _json(keras_archive.read_member(path, keras_files.METADATA, 1 << 16), path, keras_files.METADATA)
    if keras_files.WEIGHTS not in names and weights is None:
        others = [name for name in names if name.startswith("model.weights")]
        help = "save it with `weights_format='h5'`, in one piece" if others else ""
        raise Failure(Problem("E506", f"`{path.name}` has no `{keras_files.WEIGHTS}`", path, help=help))
    training = model.get("compile_config") if isinstance(model, Mapping) else None
    version = about.get("keras_version") if isinstance(about, Mapping) else None
    ours = any(name.startswith(ATTACHED) for name in names)
    return Source(path, "keras", model, _settings(training), weights or path, _version(version), digest, ours)


def _legacy(path: Path, weights: Path | None, digest: str) -> Source:
    found = keras_files.read_attributes(path, LEGACY)
    if "model_config" not in found:
        help = "it holds weights alone: name the model's JSON instead, `kerascli import model.json --weights FILE`"
        raise Failure(Problem("E506", f"`{path.name}` holds no model, only weights", path, help=help))
    model = _json(found["model_config"].encode(errors="surrogateescape"), path, "model_config")
    training = (
        _json(found["training_config"].encode(errors="surrogateescape"), path, "training_config")
        if "training_config" in found
        else None
    )
    version = _version(found.get("keras_version"))
    return Source(path, "h5", model, _settings(training), weights or path, version, digest)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as raw:
            return raw.read(8)
    except OSError as error:
        raise Failure(Problem("E506", f"cannot read `{path}`: {error.strerror or error}", path)) from error


def _text(path: Path) -> bytes:
    with path.open("rb") as raw:
        return raw.read(MOST_JSON + 1)


def _beside(path: Path) -> Path | None:
    """The weights of a `model.json`: those of the same name, or what `save_weights` is mostly told."""
    names = [f"{path.stem}.weights.h5", keras_files.WEIGHTS, f"{path.stem}.h5"]
    return next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)


def _settings(found: Any) -> Mapping[str, Any] | None:
    return found if isinstance(found, Mapping) and found else None


def _version(found: Any) -> str | None:
    return found[:40] if isinstance(found, str) else None


def _json(data: bytes, path: Path, what: str) -> Any:
    """Strict JSON of bounded size and depth."""
    if len(data) > MOST_JSON:
        raise Failure(Problem("E506", f"`{what}` of `{path.name}` is larger than {MOST_JSON >> 20} MiB", path))
    try:
        found = json.loads(data)
        if isinstance(found, str):
            found = json.loads(found)  # Keras 1 and 2 wrote some configs as text within text
        _require_bounds(found)
    except (ValueError, RecursionError, UnicodeError) as error:
        said = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Failure(Problem("E506", f"`{what}` of `{path.name}` is no JSON of a model: {said}", path)) from error
    return found


def _require_bounds(found: Any) -> None:
    """ValueError where values are too many or nested too deep; without recursion."""
    level, count = [found], 0
    for _ in range(MOST_DEPTH):
        level = [part for each in level for part in _parts(each)]
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def _parts(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        yield from item.values()
    elif isinstance(item, list):
        yield from item


# ── vocabularies ─────────────────────────────────────────────────────────────────────────────────────────────────────


def with_vocabularies(source: Source) -> Any:
    """The model's JSON with the words that Keras keeps beside it, in `assets/`."""
    if source.form != "keras":
        return source.model
    names = [name for name in keras_archive.members(source.path) if name.endswith("/vocabulary.txt")]
    if not names:
        return source.model
    return _filled(source, source.model, "assets", set(names))


def _filled(source: Source, model: Any, above: str, names: set[str]) -> Any:
    config = model.get("config") if isinstance(model, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        return model
    counts: dict[str, int] = {}
    layers = []
    for layer in config["layers"]:
        if not isinstance(layer, Mapping) or ".ops." in str(layer.get("module")):
            layers.append(layer)
            continue
        kind = snake_case(str(layer.get("class_name")))
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        here = f"{above}/layers/{kind}" + (f"_{number}" if number else "")
        name = f"{here}/vocabulary.txt"
        own = layer.get("config")
        if is_model(dict(layer)):
            layer = _filled(source, layer, here, names)
        elif name in names and isinstance(own, Mapping) and not own.get("vocabulary"):
            layer = {**layer, "config": {**own, "vocabulary": _words(source.path, name, own)}}
        layers.append(layer)
    return {**model, "config": {**config, "layers": layers}}


def _words(path: Path, name: str, config: Config | Mapping[str, Any]) -> list[Any]:
    """The words of a file in `assets/`, without the special ones before them."""
    try:
        lines = keras_archive.read_member(path, name, MOST_WORDS).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Failure(Problem("E506", f"`{name}` of `{path.name}` is no UTF-8", path)) from error
    special = {"", "[UNK]", str(config.get("oov_token", "[UNK]")), str(config.get("mask_token", ""))}
    while lines and lines[0] in special:
        lines = lines[1:]
    numbers = str(config.get("vocabulary_dtype", "string")).startswith("int")
    return [int(line) for line in lines if line.lstrip("-").isdigit()] if numbers else lines
