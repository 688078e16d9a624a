"""What a contestant is given: a folder with `job.json` and the training data as .npy files.

Peers read nothing else, so that they pay for nothing of kerascli's; this module imports NumPy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

CONTESTANTS = {
    "numpy": ("numpy_engine", ("numpy",)),
    "keras-tensorflow": ("keras_backend", ("keras", "tensorflow")),
    "keras-jax": ("keras_backend", ("keras", "jax")),
    "keras-torch": ("keras_backend", ("keras", "torch")),
    "torch": ("plain_torch", ("torch",)),
}
"""Name → the module of this package that trains, and the packages it needs."""

FILE = "job.json"
WEIGHTS = "model.weights.h5"


class NotTranslated(Exception):
    """A contestant has no words for a part of the model."""


@dataclass(frozen=True)
class Node:
    """One layer of the graph in plain data, for contestants that build the model from scratch."""

    name: str
    type: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    config: Mapping[str, Any]
    """As Keras writes it."""


@dataclass(frozen=True)
class Job:
    """One training, the same for every contestant."""

    spec: str
    settings: tuple[str, ...]
    """Overrides that the numpy engine reads the spec with."""
    threads: int
    batch: int
    shuffle: bool
    model: Mapping[str, Any]
    """Keras's JSON of the compiled model."""
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weighted: bool
    """Whether samples or classes have weights."""
    adapted: bool
    """Whether layers learned from the data beforehand, so that the initial weights must be read."""

    def write(self, folder: Path, arrays: Mapping[str, Sequence[Array]]) -> None:
        """Write the job; `arrays` has the kinds `x`, `y` and perhaps `w`, each in the order of inputs or outputs."""
        (folder / FILE).write_text(json.dumps(asdict(self)), "utf-8")
        for kind, parts in arrays.items():
            for number, part in enumerate(parts):
                np.save(folder / f"{kind}{number}.npy", part)


def read(folder: Path) -> Job:
    """The job of a folder."""
    facts: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
    nodes = tuple(Node(**{**n, "inputs": tuple(n["inputs"]), "shape": tuple(n["shape"])}) for n in facts.pop("nodes"))
    plain: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in facts.items()}
    return Job(nodes=nodes, **plain)


def arrays(folder: Path, kind: str) -> list[Array]:
    """The arrays of one kind, in the order of inputs or outputs."""
    return [np.load(folder / f"{kind}{number}.npy") for number in range(len(list(folder.glob(f"{kind}*.npy"))))]
