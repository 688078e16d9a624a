"""The library's face, which the commands use too: load, train, evaluate, predict, export and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.check import Checked
from kerascli.engine.team import cores
from kerascli.engines import choice
from kerascli.errors import Failure, Problem
from kerascli.inspection import Inspection, inspect
from kerascli.launch import resume, train
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.outcome import Outcome
from kerascli.program.build import prediction_program, training_program
from kerascli.program.plan import Plan, make_plan
from kerascli.program.program import Program
from kerascli.resume import checked_again
from kerascli.runner import Logs, Runner
from kerascli.sources.base import Split
from kerascli.sources.raw import read_inputs, read_source, read_split
from kerascli.spec import load
from kerascli.stored import Stored, export
from kerascli.trainer import Interrupted
from kerascli.training import read_data

__all__ = [
    "Interrupted",
    "Outcome",
    "checked_again",
    "data",
    "evaluate",
    "export",
    "load",
    "plan",
    "predict",
    "report",
    "resume",
    "train",
]


def plan(checked: Checked, predict: bool = False) -> tuple[Program, Plan]:
    """The program of a training step (or of prediction), and how it is run."""
    model, training = Model.of(checked), checked.loaded.spec.training
    exact = training.convolution == "direct"
    program = (
        prediction_program(model.graph, exact)
        if predict
        else training_program(model.graph, model.targets, training.class_weight is not None, exact)
    )
    return program, make_plan(program.sinks(), training.batch_size)


def data(
    path: Path | str,
    overrides: Sequence[str] = (),
    splits: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inspection:
    """What is in the dataset of a spec, in all splits or the named ones, and what is suspicious about it."""
    return inspect(path, overrides, splits, progress)


def opened(stored: Stored, which: str, workers: int | None, engine: str = "numpy") -> Runner:
    """A stored model on the engine `numpy` or `keras`, whichever trained it."""
    runner = choice.runner(engine, Model.stored(stored.loaded, stored.signature), workers or cores())
    runner.parameters.load(stored.weights(which))
    return runner


def evaluate(
    stored: Stored,
    split: str | None = None,
    which: str = "last",
    threads: int | None = None,
    data: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    engine: str = "numpy",
) -> tuple[str, Logs]:
    """Loss and metrics of a split: the named one, else test, else validation, else train. Returns its name too.

    `data` is another dataset: a spec's, or a file of the kind the model was trained on, which is one split. `engine`
    is `numpy` or `keras`, whichever trained the model.
    """
    runner = opened(stored, which, threads, engine)
    parts, notes = splits(stored, runner.model, data)
    for note in notes:
        say(note)
    name = split or next(iter(parts))
    if name not in parts:
        raise Failure(Problem("E507", f"the dataset has no {name} split", help=f"it has {', '.join(parts)}"))
    with runner.session:
        return name, runner.evaluation(parts[name]).run()


def splits(stored: Stored, model: Model, path: Path | None) -> tuple[dict[str, Split], Sequence[str]]:
    """The splits that a stored model can be evaluated on, the best first, and what is to be said of them."""
    if path is None:
        own = read_data(model)
        found: dict[str, Split | None] = {"test": own.test, "validation": own.validation, "train": own.train}
        return {name: part for name, part in found.items() if part is not None}, own.notes
    inputs = model.signature.inputs
    if path.suffix in (".yaml", ".yml"):
        other = load(path)
        parts, notes = read_source(other.spec.dataset, other.base, other.spec.seed, stored.preprocessing, inputs)
        return {name: parts[name] for name in ("test", "validation", "train") if name in parts}, notes
    part, notes = read_split(path, stored.preprocessing, inputs, model.spec.dataset.allow_nan)
    return {str(path): part}, notes


def predict(
    stored: Stored,
    inputs: Sequence[str],
    which: str = "last",
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
    places: list[str] | None = None,
    engine: str = "numpy",
) -> tuple[Model, dict[str, Array]]:
    """The outputs of raw files (`-` is standard input) for all samples in order, and the model they come from.

    `places` is told which file each sample is; the empty text where it is none.
    """
    runner = opened(stored, which, threads, engine)
    signature = runner.model.signature
    allow = runner.model.spec.dataset.allow_nan
    with runner.session:
        blocks = [
            runner.predict(block)
            for block in read_inputs(inputs, stored.preprocessing, signature.inputs, allow, say, places=places)
        ]
    return runner.model, {name: np.concatenate([b[name] for b in blocks]) for name in runner.model.graph.outputs}


def report(
    stored: Stored,
    output: Path | None = None,
    split: str | None = None,
    which: str = "last",
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
    engine: str = "numpy",
) -> tuple[Path, dict[str, Any]]:
    """Write one HTML page on a stored model; returns its place and the numbers measured.

    Only this needs the packages of `kerascli[report]`.
    """
    from kerascli.report import gather, page

    page.require_packages()
    found = gather.gather(stored, split, which, threads, say, engine)
    path = output or page.place(stored.path)
    page.write(found, path)
    return path, gather.document(found)
