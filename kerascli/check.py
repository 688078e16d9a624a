"""All that the spec alone can show, stage by stage: text, values, graph, and the loss against its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerascli.errors import Failure, Problem
from kerascli.model import compile_model
from kerascli.spec import load


@dataclass(frozen=True)
class Verdict:
    """What `validate` says of one spec."""

    path: Path
    problems: tuple[Problem, ...]
    exit_code: int
    words: str = ""


def validate(path: Path, overrides: Sequence[str] = ()) -> Verdict:
    """Every stage before training; the first that finds problems gives them all."""
    try:
        model = compile_model(load(path, overrides))
    except Failure as failure:
        return Verdict(path, tuple(failure.problems), failure.exit_code)
    layers, weights = len(model.graph.nodes), model.graph.count()
    return Verdict(path, (), 0, f"{layers} layers, {weights:,} parameters")
