"""Weights in Keras's files: `.weights.h5`, `.keras` and the legacy whole-model `.h5`.

Weights match by structure and never by name. What is read is bounded by what the graph expects: a dataset is looked at
only where a weight must lie, and read only if it is a plain array of that shape in the same file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from math import prod
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from kerascli import files, hdf5, keras_archive
from kerascli.component import snake_case
from kerascli.confined import Answer, confined
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
WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
ATTRIBUTE_LIMIT = 64512
"""Bytes that HDF5 takes in one attribute; Keras cuts longer lists of names in pieces."""
MOST_GROWTH = 8
"""Times a file's size that its weights may need in memory: half floats double, and hardly anything packs weights."""


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

    Without the optimizer's state: Keras 3.15 builds the optimizer of such a file for no weights at all, and what it has
    saved and loaded so cannot be trained further. Without the state it begins with a fresh optimizer.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for key, value in attributes.items():
            file.attrs[key] = value
        group = file.create_group("model_weights")
        group.attrs["backend"], group.attrs["keras_version"] = attributes["backend"], attributes["keras_version"]
        found = by_layer(graph)
        _writeattribute_names(group, "layer_names", list(found))
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
    _writeattribute_names(group, "weight_names", list(arrays))
    for name, array in arrays.items():
        group[name] = array


def _writeattribute_names(group: h5py.Group, key: str, names: Sequence[str]) -> None:
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
    return read_weights(path, places(graph), by_layer(graph))


def read_weights(path: Path, wanted: Sequence[Place], layers: Mapping[str, Sequence[Place]]) -> dict[str, Array]:
    """The weights that lie at `wanted`; of a legacy file, `layers` are those of each layer in the file's order."""
    return dict(confined(path, lambda: (None, _weights(path, wanted, layers)))[1])


def read_model(
    path: Path, wanted: Sequence[Place], layers: Mapping[str, Sequence[Place]], shapes: Mapping[str, Shape]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The same, and the optimizer's variables where the file has all of them in these shapes, else none."""

    def both() -> Answer:
        found = _weights(path, wanted, layers)
        return len(found), {**{f"w{n}": a for n, a in found.items()}, **_variables(path, wanted, shapes)}

    count, arrays = confined(path, both)
    names = list(arrays)
    return {name[1:]: arrays[name] for name in names[:count]}, {name: arrays[name] for name in names[count:]}


def _weights(path: Path, wanted: Sequence[Place], layers: Mapping[str, Sequence[Place]]) -> dict[str, Array]:
    with opened(path, wanted) as file:
        problems: list[Problem] = []
        found = dict(
            _legacy(file, path, layers, problems) if is_legacy(file) else _keras3(file, path, wanted, problems)
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
    variables = confined(path, lambda: (None, _variables(path, places(graph), shapes)))[1]
    if not variables:
        return None
    return OptimizerState(optimizer.name or snake_case(type(optimizer).__name__), variables)


def _variables(path: Path, wanted: Sequence[Place], shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """The optimizer's variables in their order, where the file has all of them in these shapes."""
    variables: dict[str, Array] = {}
    with opened(path, wanted) as file:
        found = list(islice(_optimizer_variables(file), len(shapes) + 1))
        if len(found) != len(shapes):
            return {}
        for (variable, shape), dataset in zip(shapes.items(), found, strict=True):
            if dataset is None or dataset.shape != shape:
                return {}
            variables[variable] = np.asarray(dataset[()], "int32" if variable == "iteration" else "float32")
    return variables


def read_attributes(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Texts that the file has as attributes, in the legacy form the whole config of the model."""
    return dict(confined(path, lambda: (_texts(path, names), {}))[0])


def _texts(path: Path, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    with opened(path, ()) as file:
        for name in names:
            if name in file.attrs:
                value = file.attrs[name]
                value = value.decode() if isinstance(value, bytes) else value
                if isinstance(value, str):
                    found[name] = value
    return found


def _optimizer_variables(file: h5py.File) -> Iterator[h5py.Dataset | None]:
    """In the order of Keras 3, in whose legacy form they have names."""
    old = hdf5.group(file, "optimizer_weights")
    if old is not None:
        yield from (hdf5.dataset(old, name) for name in attribute_names(old, "weight_names"))
        return
    index = 0
    while (found := hdf5.dataset(file, f"optimizer/vars/{index}")) is not None:
        yield found
        index += 1


def weights_at(
    file: h5py.File, path: Path, wanted: Sequence[Place], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    """What lies at the places that are wanted."""
    for place in wanted:
        dataset = next((d for way in _ways(place) if (d := hdf5.dataset(file, way)) is not None), None)
        if dataset is None:
            problems.append(_misfit(path, place, f"it has no plain dataset `{place.dataset}`"))
        elif dataset.shape != place.spec.shape:
            problems.append(_wrong_shape(path, place, dataset.shape))
        else:
            yield place.path, _read(dataset, place)


def _keras3(
    file: h5py.File, path: Path, wanted: Sequence[Place], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    """The same, where the file may have no other layers with weights."""
    yield from weights_at(file, path, wanted, problems)
    known = {place.group for place in wanted}
    for above in sorted({"layers", *(group.rpartition("/")[0] for group in known)}):
        stored = hdf5.group(file, above)
        for name in stored if stored is not None else ():
            if f"{above}/{name}" not in known and hdf5.dataset(file, f"{above}/{name}/vars/0") is not None:
                message = f"`{path.name}` has weights of a layer `{name}` that the model lacks"
                problems.append(Problem("E505", message, path))


def _ways(place: Place) -> Iterator[str]:
    """Where versions of Keras have put a weight: they called some groups otherwise."""
    yield place.dataset
    if place.inner:
        steps = [step.removeprefix("_") if step.startswith("_") else f"_{step}" for step in place.inner.split("/")]
        yield f"{place.group}/{'/'.join(steps)}/vars/{place.index}"
    yield place.dataset.replace("layers/", "_layer_checkpoint_dependencies/")  # Keras 2.12 to 2.15


def _legacy(
    file: h5py.File, path: Path, wanted: Mapping[str, Sequence[Place]], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    """Layers that have weights, in the file's order."""
    root = legacy_root(file)
    stored = [layer for layer in attribute_names(root, "layer_names") if _weight_names(root, layer)]
    mine = {name: own for name, own in wanted.items() if own}
    if len(stored) != len(mine):
        message = f"`{path.name}` has weights for {len(stored)} layers, the model needs {len(mine)}"
        problems.append(Problem("E505", message, path))
        return
    for layer, own in zip(stored, mine.values(), strict=True):
        yield from legacy_layer(root, path, layer, own, problems)


def legacy_layer(
    root: h5py.Group, path: Path, layer: str, own: Sequence[Place], problems: list[Problem]
) -> Iterator[tuple[str, Array]]:
    """The weights of one layer, in the order of their names."""
    names = _weight_names(root, layer)
    if len(names) != len(own):
        problems.append(_misfit(path, own[0], f"its layer `{layer}` has {len(names)} weights, not {len(own)}"))
        return
    group = hdf5.group(root, layer)
    assert group is not None
    for name, place in zip(names, own, strict=True):
        dataset = hdf5.dataset(group, name)
        if dataset is None:
            problems.append(_misfit(path, place, f"its layer `{layer}` holds something else than a plain array"))
        elif dataset.shape != place.spec.shape:
            problems.append(_wrong_shape(path, place, dataset.shape))
        else:
            yield place.path, _read(dataset, place)


def _weight_names(root: h5py.Group, layer: str) -> list[str]:
    group = hdf5.group(root, layer)
    return attribute_names(group, "weight_names") if group is not None else []


def legacy_root(file: h5py.File) -> h5py.Group:
    """Where the layers are: a file of weights alone begins with them."""
    return hdf5.group(file, "model_weights") or file


@contextmanager
def opened(path: Path, wanted: Sequence[Place]) -> Iterator[h5py.File]:
    """The file, where it is large enough to hold what is wanted: only then is memory taken for that."""
    expected = sum(4 * prod(place.spec.shape) for place in wanted)
    try:
        with path.open("rb") as raw:
            start, size = raw.read(8), path.stat().st_size
        source: Path | IO[bytes] = path
        if start.startswith(keras_archive.START):
            data = keras_archive.read_member(path, WEIGHTS, 8 * expected + 2**26)  # with the optimizer's slots
            source, size = io.BytesIO(data), len(data)
        elif start != HDF5:
            raise OSError("it is neither HDF5 nor a .keras archive")
        if expected > MOST_GROWTH * size:
            raise OSError(f"the model has {expected:,} bytes of weights, and the file {size:,} in all")
        with h5py.File(source, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, UnicodeError) as error:
        raise _unreadable(path, error) from error


def is_legacy(file: h5py.File) -> bool:
    return "layer_names" in file.attrs or "layer_names0" in file.attrs or hdf5.group(file, "model_weights") is not None


def attribute_names(group: h5py.Group, key: str) -> list[str]:
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
