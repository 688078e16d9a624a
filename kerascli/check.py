"""All that the spec alone can show, stage by stage: text, values, graph, the loss against its targets, the model's
operations, and the files that training will write.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerascli import keras_backend, keras_config
from kerascli.errors import Failure, Problem, SpecFailure
from kerascli.graph import Graph, infer, peek
from kerascli.objective import Objective, objective
from kerascli.outline import outline
from kerascli.program.build import trace_forward
from kerascli.sources.base import Signature
from kerascli.spec import Loaded, load


@dataclass(frozen=True)
class Checked:
    """A spec that can be trained."""

    loaded: Loaded
    signature: Signature
    graph: Graph
    objective: Objective


@dataclass(frozen=True)
class Verdict:
    """What `validate` says of one spec."""

    path: Path
    problems: tuple[Problem, ...]
    exit_code: int
    words: str = ""
    searches: bool = False
    """Whether it has a section `search`, which is not checked here: that takes a check for each of its values."""


def check(path: Path | str, overrides: Sequence[str] = ()) -> Checked:
    """Every stage before training; the first that finds problems raises them all."""
    return checked(load(path, overrides))


def checked(loaded: Loaded) -> Checked:
    """The same of a spec that is read already."""
    drafts = outline(loaded)
    signature = peek(loaded, drafts)
    graph = infer(loaded, drafts, signature)
    found = Checked(loaded, signature, graph, objective(loaded, graph, signature))
    if problems := keras_config.problems(graph):
        raise SpecFailure(problems)
    trace_forward(graph, training=True)  # masks are made here: one that fits no attention is told
    require_packages(loaded)
    return found


def require_packages(loaded: Loaded) -> None:
    """Raise E516 for the engine and each callback whose package is not installed; a trained run opens without them."""
    problems = []
    if loaded.spec.training.engine == "keras" and (found := keras_backend.fault()):
        code, message, help = found
        problems.append(Problem(code, message, loaded.document.span(("training", "engine")), help=help))
    for index, callback in enumerate(loaded.spec.callbacks):
        if callback.requires and importlib.util.find_spec(callback.requires) is None:
            name = type(callback).__name__
            where = loaded.document.type_span(("callbacks", index))
            message = f"{name} needs the package `{callback.requires}`, which is not installed"
            help = f'`pip install "kerascli[{callback.requires}]"`, or leave {name} out'
            problems.append(Problem("E516", message, where, help=help))
    if problems:
        raise Failure(problems)


def validate(path: Path, overrides: Sequence[str] = ()) -> Verdict:
    """The same, with problems as data."""
    try:
        found = check(path, overrides)
    except Failure as failure:
        return Verdict(path, tuple(failure.problems), failure.exit_code)
    layers, weights = len(found.graph.layers), found.graph.count()
    return Verdict(
        path, found.objective.warnings, 0, f"{layers} layers, {weights:,} parameters", bool(found.loaded.spec.search)
    )
