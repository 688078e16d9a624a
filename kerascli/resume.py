"""What a run is resumed with: the same spec, but for what changes nothing of the epochs that are trained already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerascli import yamltext
from kerascli.check import Checked, check
from kerascli.errors import Failure, Problem
from kerascli.host import raw_inputs
from kerascli.run import History, Run, find
from kerascli.spec import LayerWeights, Spec, load, resolved

Place = tuple[str | int, ...]
HELP = (
    "resuming goes on with the same training; `training.epochs`, `training.engine`, `expect`, `description` and "
    "callbacks' `verbose` may change. To train something else from these weights, begin a run with "
    "`training.initial_weights: {name}`"
)
SHOWN = 5
"""Differences that are told, at most."""


def checked_again(run: Run, spec: Path | None = None, settings: Sequence[str] = ()) -> Checked:
    """The spec to go on with: the run's own or `spec`, with `--set` applied; a Failure names all that differs."""
    if run.resolved.is_file() and run.was_edited():
        message = f"`{run.resolved}` has been edited since the run was trained with it"
        help = "undo that, and make changes with `--set`; or train it as a new run"
        raise Failure(Problem("E513", message, run.resolved, help=help), exit_code=2)
    found, before = pinned(check(spec or run.resolved, settings), run.path.parent), previous(run)
    problems = _changes(run, before, found) or _too_few(run, found)
    if problems:
        raise Failure(problems, exit_code=2)
    return found


def previous(run: Run) -> Spec:
    """The spec as the run has it."""
    return load(run.resolved).spec


def pinned(checked: Checked, runs: Path) -> Checked:
    """The same, with what later runs might find otherwise: what columns hold, and the path of the run that
    `training.initial_weights` names, for `latest` will mean another."""
    loaded, graph = checked.loaded, checked.graph
    dataset = loaded.spec.dataset.settled(loaded.base, graph.inputs, graph.outputs, raw_inputs(graph.nodes))
    spec = loaded.spec.model_copy(update={"dataset": dataset})
    source = spec.training.initial_weights
    path = source.path if isinstance(source, LayerWeights) else source
    if path is not None and not Path(path).is_file() and Path(path).suffix not in (".keras", ".h5"):
        found = str(find(path, runs).resolve())
        pinned = source.model_copy(update={"path": found}) if isinstance(source, LayerWeights) else found
        training = spec.training.model_copy(update={"initial_weights": pinned})
        spec = spec.model_copy(update={"training": training})
    return replace(checked, loaded=replace(loaded, spec=spec))


def _changes(run: Run, before: Spec, found: Checked) -> list[Problem]:
    document, after = found.loaded.document, found.loaded.spec
    old, new = (yamltext.parse(resolved(each), str(run.resolved)).value for each in (before, after))
    changes = [change for change in _differences(old, new) if not _free(*change)]
    problems = []
    for number, (place, was, now) in enumerate(changes[:SHOWN]):
        where, now, was = _written(place), _said(now), _said(was)
        left = len(changes) - SHOWN if number == SHOWN - 1 else 0
        more = f"; {left} more differ" if left > 0 else ""
        help = HELP.format(name=run.name) if number in (len(changes) - 1, SHOWN - 1) else ""
        message = f"`{where}` is {now}, and the run was trained with {was}{more}"
        problems.append(Problem("E513", message, document.span(place), help=help))
    return problems


def _too_few(run: Run, found: Checked) -> list[Problem]:
    epochs, done = found.loaded.spec.training.epochs, len(History.load(run.history).rows)
    if epochs >= done:
        return []
    where = found.loaded.document.span(("training", "epochs"))
    help = f"give at least {done}, or train a new run"
    return [Problem("E513", f"`training.epochs` is {epochs}, and {done} epochs are trained already", where, help=help)]


def _differences(old: Any, new: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """(place, old, new) of all that differs, as deep as can be told apart."""
    if isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type"):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), (*place, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, (*place, index))
    elif old != new:
        yield place, old, new


def _free(place: Place, old: Any, new: Any) -> bool:
    """Whether this may change: what is still to come, what is said, and where the data lie, for they are compared."""
    if place in (("training", "epochs"), ("training", "engine")) or place[0] in ("expect", "description", "search"):
        return True
    if place[0] == "callbacks":
        return place[-1] == "verbose"
    paths = isinstance(old, str) and isinstance(new, str) and os.path.isabs(old) and os.path.isabs(new)
    return place[0] == "dataset" and paths


def _written(place: Place) -> str:
    """`layers[1].units`"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def _said(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict) and "type" in value:
        return f"{value['type']}"
    if isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value):
        return f"a list of {len(value)}"
    text = yamltext.inline(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
