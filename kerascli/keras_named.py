"""Some layers' weights from one of Keras's files, found by name: what transfer learning takes from another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import h5py

from kerascli import hdf5
from kerascli.component import nearest
from kerascli.confined import confined
from kerascli.errors import Failure, Problem
from kerascli.graph import Graph
from kerascli.keras_files import attribute_names, is_legacy, legacy_layer, legacy_root, opened, weights_at
from kerascli.keras_layout import groups, places
from kerascli.ops.ir import Array

MOST_NESTED = 20
"""Models in models of a file that are looked into."""


def load_layers(path: Path, graph: Graph, names: Mapping[str, str]) -> dict[str, Array]:
    """The weights of some layers: `names` says by the name here which layer of the file has them.

    Layers of a nested model are called `encoder/dense`; a nested model is loaded with all that is in it.
    """
    return dict(confined(path, lambda: (None, _layers(path, graph, names)))[1])


def _layers(path: Path, graph: Graph, names: Mapping[str, str]) -> dict[str, Array]:
    ours = dict(_groups(graph))
    problems = [
        _unnamed(path, name, "the model has no layer", "there are", list(ours)) for name in names if name not in ours
    ]
    own = {
        name: [place for place in places(graph) if f"{place.group}/".startswith(f"{ours[name]}/")]
        for name in names
        if name in ours
    }
    found: dict[str, Array] = {}
    with opened(path, [place for each in own.values() for place in each]) as file:
        legacy = is_legacy(file)
        known = dict(_legacy_groups(file) if legacy else _stored_groups(file, ""))
        for name, wanted in own.items():
            theirs = names[name]
            if theirs not in known:
                problems.append(_unnamed(path, theirs, f"`{path.name}` has no layer", "it has", list(known)))
            elif wanted and legacy:
                trained_first = sorted(wanted, key=lambda place: not place.trained)
                found |= legacy_layer(legacy_root(file), path, theirs, trained_first, problems)
            elif wanted:
                there = [replace(p, group=known[theirs] + p.group.removeprefix(ours[name])) for p in wanted]
                found |= weights_at(file, path, there, problems)
    if problems:
        raise Failure(problems)
    return found


def _groups(graph: Graph) -> Iterator[tuple[str, str]]:
    """Each layer's name, after those of the models around it, and its group in Keras's files."""
    above: dict[str, str] = {}
    for operation, group in groups(graph):
        around = group.rpartition("/layers/")[0]
        above[group] = operation.name.rpartition("/")[2]
        if around:
            above[group] = f"{above[around]}/{above[group]}"
        yield above[group], group


def _stored_groups(file: h5py.File, above: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The same of a file, which notes the names."""
    way = f"{above}layers"
    stored = hdf5.group(file, way)
    for group in stored if stored is not None else ():
        variables = hdf5.group(file, f"{way}/{group}/vars")
        name = variables.attrs.get("name") if variables is not None else None
        if isinstance(name, str):
            yield name, f"{way}/{group}"
            if depth < MOST_NESTED:
                for inner, path in _stored_groups(file, f"{way}/{group}/", depth + 1):
                    yield f"{name}/{inner}", path


def _legacy_groups(file: h5py.File) -> Iterator[tuple[str, str]]:
    for name in attribute_names(legacy_root(file), "layer_names"):
        yield name, name


def _unnamed(path: Path, name: str, lacks: str, has: str, known: Sequence[str]) -> Problem:
    near = nearest(name, known)
    help = f"{has} {', '.join(f'`{each}`' for each in known[:20])}"
    return Problem("E505", f"{lacks} `{name}`", path, f"did you mean `{near}`?" if near else "", help)
