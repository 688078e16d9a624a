"""Weights in Keras's files: `.weights.h5`, `.keras` and the legacy whole-model `.h5`.

Weights match by structure and never by name. What is read is bounded by what the graph expects: a dataset is looked at
only where a weight must lie, and read only if it is a plain array of that shape in the same file.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from kerascli import files, hdf5
from kerascli.component import snake_case
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph
from kerascli.keras_graph import is_stack
from kerascli.keras_layout import (
    OptimizerState,
    Place,
    Weights,
    by_layer,
    copies,
    groups,
    inner_name,
    keras_path,
    optimizer_slots,
    places,
    steps,
)
from kerascli.layers.host import _Host
from kerascli.ops.ir import Array, Shape
from kerascli.optimizers.base import Optimizer
from kerascli.schedules import Schedule

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
ATTRIBUTE_LIMIT = 64512
"""Bytes that HDF5 takes in one attribute; Keras cuts longer lists of names in pieces."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def save_weights(
    path: Path, graph: Graph, weights: Weights, name: str, optimizer: OptimizerState | None = None
) -> None:
    """`model.weights.h5` exactly as `save_weights()` writes it: a compiled model's has its optimizer's state too."""
    files.write_bytes(path, weights_bytes(graph, weights, name, optimizer))


def weights_bytes(graph: Graph, weights: Weights, name: str, optimizer: OptimizerState | None = None) -> bytes:
    """The same as bytes: HDF5 that meets a full disk while it writes leaves neither its file nor itself in order."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        _write_weights(file, graph, weights, name, optimizer)
    return memory.getvalue()


def save_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """A `.keras` file: stored members with fixed times, so that equal models are equal bytes."""
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH_OF_ZIP), data)


def save_legacy(path: Path, graph: Graph, weights: Weights, name: str, attributes: Mapping[str, str]) -> None:
    """Keras's legacy whole-model HDF5; `attributes` are its `model_config` and `training_config`.

    Without the optimizer's state, which Keras 3 cannot take back from this form.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for key, value in attributes.items():
            file.attrs[key] = value
        group = file.create_group("model_weights")
        group.attrs["backend"], group.attrs["keras_version"] = attributes["backend"], attributes["keras_version"]
        found = by_layer(graph)
        _write_names(group, "layer_names", list(found))
        prefix = f"{name}/" if is_stack(graph) else ""
        for layer in sorted(found):
            named = {prefix + keras_path(place): weights[place.path] for place in found[layer]}
            _write_named(group.create_group(layer), named)
        _write_named(group.create_group("top_level_model_weights"), {})
    files.write_bytes(path, memory.getvalue())


def _write_weights(
    file: h5py.File, graph: Graph, weights: Weights, name: str, optimizer: OptimizerState | None
) -> None:
    file.create_group("vars").attrs["name"] = name
    for operation, group in groups(graph):
        file.create_group(f"{group}/vars").attrs["name"] = operation.name
        node = operation.node
        assert node
        inside = [*node.layer.keras_groups(), *(step for spec in node.weights for step in steps(spec.group))]
        for inner in dict.fromkeys(inside):
            if title := inner_name(node, inner):
                file.create_group(f"{group}/{inner}/vars").attrs["name"] = title
        if isinstance(node.layer, _Host):
            for own, array in node.layer.keras_variables().items():
                file[f"{group}/{own}"] = array
    for place in places(graph):
        file[place.dataset] = np.asarray(weights[place.path])
    for path, again in copies(graph):
        file[again] = np.asarray(weights[path])
    if optimizer:
        group = file.create_group("optimizer/vars")
        group.attrs["name"] = optimizer.name
        for index, value in enumerate(optimizer.variables.values()):
            group[str(index)] = value


def _write_named(group: h5py.Group, arrays: Weights) -> None:
    _write_names(group, "weight_names", list(arrays))
    for name, array in arrays.items():
        group[name] = array


def _write_names(group: h5py.Group, key: str, names: Sequence[str]) -> None:
    data = [name.encode() for name in names]
    pieces = -(-len(data) * max(map(len, data), default=0) // ATTRIBUTE_LIMIT)
    if pieces <= 1:
        group.attrs[key] = data
        return
    for number, piece in enumerate(np.array_split(np.asarray(data), pieces)):
        group.attrs[f"{key}{number}"] = piece


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_weights(path: Path, graph: Graph) -> dict[str, Array]:
    """The graph's weights from any of Keras's files, matched by structure. Every misfit is a Problem."""
    wanted = places(graph)
    with _opened(path, wanted) as file:
        problems: list[Problem] = []
        found = dict(
            _legacy(file, path, by_layer(graph), problems)
            if _is_legacy(file)
            else _keras3(file, path, wanted, problems)
        )
    if problems:
        raise Failure(problems)
    return found


def load_optimizer(path: Path, graph: Graph, name: str, optimizer: Optimizer) -> OptimizerState | None:
    """The optimizer's state where a Keras 3 file of the same model has it whole; None where it does not."""
    slots = optimizer_slots(graph, name, optimizer)
    shapes: dict[str, Shape] = {"iteration": ()}
    if not isinstance(optimizer.learning_rate, Schedule):
        shapes["learning_rate"] = ()
    shapes |= {slot.variable: slot.shape for slot in slots} | dict.fromkeys(optimizer.totals(0), ())
    variables: dict[str, Array] = {}
    with _opened(path, places(graph)) as file:
        for index, (variable, shape) in enumerate(shapes.items()):
            dataset = hdf5.dataset(file, f"optimizer/vars/{index}")
            if dataset is None or dataset.shape != shape:
                return None
            variables[variable] = np.asarray(dataset[()], "int32" if variable == "iteration" else "float32")
    return OptimizerState(optimizer.name or snake_case(type(optimizer).__name__), variables)


def read_member(path: Path, name: str, limit: int) -> bytes:
    """One member of a `.keras` archive, refused where it is larger than `limit` once unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _member(archive, path, name, limit)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


def _keras3(
    file: h5py.File, path: Path, wanted: Sequence[Place], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    for place in wanted:
        dataset = hdf5.dataset(file, place.dataset)
        if dataset is None:
            problems.append(_misfit(path, place, f"it has no plain dataset `{place.dataset}`"))
        elif dataset.shape != place.spec.shape:
            problems.append(_wrong_shape(path, place, dataset.shape))
        else:
            yield place.path, _read(dataset, place)
    known = {place.group for place in wanted}
    for above in sorted({"layers", *(group.rpartition("/")[0] for group in known)}):
        stored = hdf5.group(file, above)
        for name in stored if stored is not None else ():
            if f"{above}/{name}" not in known and hdf5.dataset(file, f"{above}/{name}/vars/0") is not None:
                message = f"`{path.name}` has weights of a layer `{name}` that the model lacks"
                problems.append(Problem("E505", message, path))


def _legacy(
    file: h5py.File, path: Path, wanted: Mapping[str, list[Place]], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    """Layers that have weights, in the file's order; the weights of each in the order of its names."""
    root = hdf5.group(file, "model_weights") or file
    stored: list[tuple[str, list[h5py.Dataset | None]]] = []
    for layer in _names(root, "layer_names"):
        group = hdf5.group(root, layer)
        names = _names(group, "weight_names") if group is not None else []
        if group is not None and names:
            stored.append((layer, [hdf5.dataset(group, name) for name in names]))
    mine = {name: own for name, own in wanted.items() if own}
    if len(stored) != len(mine):
        message = f"`{path.name}` has weights for {len(stored)} layers, the model needs {len(mine)}"
        problems.append(Problem("E505", message, path))
        return
    for (layer, datasets), own in zip(stored, mine.values(), strict=True):
        if len(datasets) != len(own):
            note = f"its layer `{layer}` has {len(datasets)} weights, not {len(own)}"
            problems.append(_misfit(path, own[0], note))
            continue
        for dataset, place in zip(datasets, own, strict=True):
            if dataset is None:
                problems.append(_misfit(path, place, f"its layer `{layer}` holds something else than a plain array"))
            elif dataset.shape != place.spec.shape:
                problems.append(_wrong_shape(path, place, dataset.shape))
            else:
                yield place.path, _read(dataset, place)


@contextmanager
def _opened(path: Path, wanted: Sequence[Place]) -> Iterator[h5py.File]:
    try:
        with path.open("rb") as raw:
            start = raw.read(8)
        source: Path | IO[bytes] = path
        if start.startswith(ZIP):
            expected = sum(4 * prod(place.spec.shape) for place in wanted)
            source = io.BytesIO(read_member(path, WEIGHTS, 8 * expected + 2**26))  # with the optimizer's slots
        elif start != HDF5:
            raise OSError("it is neither HDF5 nor a .keras archive")
        with h5py.File(source, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def _member(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise Failure(Problem("E506", f"`{path.name}` has no `{name}`: it is no Keras model", path)) from error
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"`{name}` is packed in a way that Keras does not use")
    with archive.open(info) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise Failure(Problem("E506", f"`{name}` in `{path.name}` is larger than the model can need", path))
    return data


def _is_legacy(file: h5py.File) -> bool:
    return "layer_names" in file.attrs or "layer_names0" in file.attrs or hdf5.group(file, "model_weights") is not None


def _names(group: h5py.Group, key: str) -> list[str]:
    """A list of names kept in one attribute or in numbered pieces."""
    keys = [key] if key in group.attrs else []
    while keys[:1] != [key] and f"{key}{len(keys)}" in group.attrs:
        keys.append(f"{key}{len(keys)}")
    names: list[str] = []
    for each in keys:
        values = group.attrs[each]
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise ValueError(f"its attribute `{each}` is no list of names")
        names += [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return names


def _read(dataset: h5py.Dataset, place: Place) -> Array:
    dtype = "float32" if place.spec.dtype == "float" else place.spec.dtype
    return np.asarray(dataset[()], dtype)


def _wrong_shape(path: Path, place: Place, shape: tuple[int, ...]) -> Problem:
    return _misfit(path, place, f"its shape there is {shape}, the model's is {place.spec.shape}")


def _misfit(path: Path, place: Place, note: str) -> Problem:
    kind = type(place.node.layer).__name__
    name = place.spec.name
    return Problem("E505", f"{kind} `{place.node.name}` cannot take `{name}` from `{path.name}`: {note}", path)


def _unreadable(path: Path, error: Exception) -> Failure:
    return Failure(Problem("E506", f"cannot read weights from `{path}`: {error}", path))
