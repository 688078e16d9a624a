"""kerascli's own engine, as `train` runs it: from the spec, without callbacks and validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kerascli.adaptation import adapt
from kerascli.bench.job import read
from kerascli.check import check
from kerascli.model import Model
from kerascli.runner import Logs, Runner
from kerascli.trainer import Trainer
from kerascli.training import Silence, read_data


def make(folder: Path, threads: int) -> NumpyEngine:
    return NumpyEngine(folder, threads)


class NumpyEngine:
    """A trainer that is asked for one epoch after the other."""

    def __init__(self, folder: Path, threads: int) -> None:
        job = read(folder)
        model = Model.of(check(job.spec, job.settings))
        data = read_data(model)
        self.runner = Runner(model, threads, trains=True)
        self.runner.initialise()
        adapt(self.runner, data.train)
        trainer = Trainer(self.runner, data.train, None, folder, Silence(), _nowhere, _nowhere)
        self.epochs: Iterator[tuple[int, Logs, float, float]] = trainer.fit([])

    def epoch(self) -> float:
        return next(self.epochs)[1]["loss"]

    def facts(self) -> dict[str, str]:
        return {"numpy": np.__version__}


def _nowhere(path: Path) -> None:
    """There are no callbacks that would save anything."""
