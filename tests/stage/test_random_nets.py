"""Random nets: simplified, planned in blocks on lanes, they compute what the trace as it was written says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.program import build
from kerascli.program.build import training_program
from tests.random_nets import random_spec
from tests.steps import by_engine, by_interpreter, require_equal
from tests.trained import lesson


@pytest.mark.parametrize("seed", range(30))
def test_the_engine_computes_what_the_plain_trace_says(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss, outputs, new state and all gradients in float64, where a mistake cannot hide behind rounding."""
    found = lesson(random_spec(seed, tmp_path), tmp_path)
    rng = np.random.default_rng(seed)
    for array in found.runner.parameters.weights.values():
        if array.dtype.kind == "f":  # away from zeros and ones, where mistakes would hide
            array += rng.uniform(0.05, 0.3, array.shape).astype(array.dtype)
    program = training_program(found.model.graph, found.model.targets, weighted=False)
    monkeypatch.setattr(build, "simplify", _as_it_is)
    plain = training_program(found.model.graph, found.model.targets, weighted=False)
    rows = np.arange(3, 26)[::-1]
    expected = by_interpreter(found, plain, rows, "float64")
    for lanes in (1, 3):
        require_equal(by_engine(found, program, rows, 25, "float64", lanes), expected, 1e-9)


def _as_it_is(wanted: list[Any], exact: bool = False) -> dict[Any, Any]:
    return {value: value for value in wanted}
