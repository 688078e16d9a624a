"""Small sweeps for the tests, run in this process by one worker."""

from __future__ import annotations

import math
from pathlib import Path

from kerascli.sweep.folder import Sweep, create
from kerascli.sweep.ledger import Ledger
from kerascli.sweep.space import Space, goal, open_space
from kerascli.sweep.worker import Worker

SPEC = """
dataset: {{type: synthetic, kind: classification, samples: 60, shape: [4], classes: 2, validation_split: 0.2}}
layers:
  - {{type: Dense, name: hidden, units: 4, activation: relu}}
  - {{type: Dense, units: 2, activation: softmax}}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
optimizer: adam
training: {{epochs: {epochs}, batch_size: 16}}
{search}
"""


def write(folder: Path, search: str = "", epochs: int = 2) -> Path:
    """The spec with a section `search` of these lines."""
    lines = "".join(f"  {line.strip()}\n" for line in search.strip().splitlines())
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(search=f"search:\n{lines}" if search else "", epochs=epochs))
    return path


def begun(folder: Path, search: str = "", *settings: str, epochs: int = 2, storage: str | None = None) -> Sweep:
    """A new sweep, none of whose trials is trained."""
    space = open_space(write(folder, search, epochs), settings)
    sweep = create(folder / "runs", "sweep", space, goal(space), settings, storage)
    Ledger(sweep, space).begin()
    return sweep


def worker(sweep: Sweep, number: int = 1) -> Worker:
    """A worker in this process."""
    return Worker(sweep, sweep.space(), number, f"w{number}", 1, math.inf)


def finished(folder: Path, search: str = "", *settings: str, epochs: int = 2) -> tuple[Sweep, Space, Ledger]:
    """A sweep whose trials are all trained."""
    sweep = begun(folder, search, *settings, epochs=epochs)
    one = worker(sweep)
    one.work()
    one.close()
    return sweep, one.space, one.ledger
