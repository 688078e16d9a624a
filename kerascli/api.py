"""The library's face, which the commands use too: load, train, evaluate, predict and export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kerascli.check import Checked
from kerascli.engine.team import cores
from kerascli.errors import Failure, Problem
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.program.build import prediction_program, training_program
from kerascli.program.plan import Plan, make_plan
from kerascli.program.program import Program
from kerascli.sources.base import Dataset, Split
from kerascli.sources.raw import read_inputs, read_split
from kerascli.spec import load
from kerascli.stored import Stored, export
from kerascli.trainer import Interrupted, Logs, Runner
from kerascli.training import Outcome, read_data, train

__all__ = ["Interrupted", "Outcome", "evaluate", "export", "load", "plan", "predict", "train"]


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


def opened(stored: Stored, which: str, workers: int | None) -> Runner:
    """A stored model on the engine."""
    runner = Runner(Model.stored(stored.loaded, stored.signature), workers or cores())
    runner.parameters.load(stored.weights(which))
    return runner


def evaluate(
    stored: Stored, split: str | None = None, which: str = "last", threads: int | None = None, data: Path | None = None
) -> tuple[str, Logs]:
    """Loss and metrics of a split: the named one, else test, else validation, else train. Returns its name too."""
    runner = opened(stored, which, threads)
    if data is not None:
        name, part = str(data), data_split(stored, runner.model, data)
    else:
        name, part = _split(read_data(runner.model), split)
    with runner.session:
        return name, runner.evaluation(part).run()


def data_split(stored: Stored, model: Model, path: Path) -> Split:
    """Another dataset for a stored model: a spec's, or a file of the kind it was trained on."""
    if path.suffix in (".yaml", ".yml"):
        other = load(path)
        dataset = other.spec.dataset.load(
            other.base, other.spec.seed, model.encodings, model.graph.inputs, model.graph.outputs
        )
        return _split(dataset, None)[1]
    return read_split(path, stored.preprocessing, model.signature.inputs)[0]


def _split(data: Dataset, name: str | None) -> tuple[str, Split]:
    parts = {"test": data.test, "validation": data.validation, "train": data.train}
    for key, part in parts.items():
        if part is not None and name in (None, key):
            return key, part
    have = ", ".join(key for key, part in parts.items() if part is not None)
    raise Failure(Problem("E507", f"the dataset has no {name} split", help=f"it has {have}"))


def predict(
    stored: Stored,
    inputs: Sequence[str],
    which: str = "last",
    threads: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Model, dict[str, Array]]:
    """The outputs of raw files (`-` is standard input) for all samples in order, and the model they come from."""
    runner = opened(stored, which, threads)
    signature = runner.model.signature
    allow = runner.model.spec.dataset.allow_nan
    with runner.session:
        blocks = [
            runner.predict(block)
            for block in read_inputs(inputs, stored.preprocessing, signature.inputs, allow_nan=allow, say=say)
        ]
    return runner.model, {name: np.concatenate([b[name] for b in blocks]) for name in runner.model.graph.outputs}
