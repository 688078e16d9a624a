"""Whatever stands in a spec, the answer is a graph or located problems, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kerascli import yamltext
from kerascli.check import validate

WORDS = [
    "type",
    "Dense",
    "units",
    "relu",
    "name",
    "inputs",
    "Repeat",
    "layers",
    "times",
    "Reuse",
    "layer",
    "l2",
    "Input",
]
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 3, 2.5, 1e300, float("inf"), 2**70, "", "dense", *WORDS])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
PLACES: list[tuple[Any, ...]] = [
    ("dataset",),
    ("dataset", "validation_split"),
    ("layers",),
    ("layers", 0),
    ("layers", 0, "units"),
    ("layers", 0, "kernel_initializer"),
    ("layers", 0, "activation"),
    ("layers", 0, "inputs"),
    ("layers", 0, "name"),
    ("layers", 1, "layers"),
    ("layers", 1, "times"),
    ("layers", 2, "layer"),
    ("layers", 3, "use_bias"),
    ("outputs",),
    ("loss",),
    ("loss_weights",),
    ("metrics",),
    ("optimizer", "learning_rate"),
    ("training",),
    ("training", "class_weight"),
    ("callbacks",),
    ("expect",),
    ("seed",),
    ("name",),
]


def right() -> dict[str, Any]:
    return {
        "dataset": {"type": "synthetic", "kind": "classification", "samples": 20, "shape": [4], "classes": 3},
        "layers": [
            {"type": "Dense", "units": 4, "name": "first"},
            {"type": "Repeat", "times": 2, "layers": [{"type": "Residual", "layers": [{"type": "Dense", "units": 4}]}]},
            {"type": "Reuse", "layer": "first"},
            {"type": "Dense", "units": 3},
        ],
        "loss": "mse",
        "optimizer": {"type": "SGD"},
        "training": {},
    }


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_place_is_a_graph_or_problems(place: tuple[Any, ...], value: Any) -> None:
    spec: Any = right()
    around = spec
    for step in place[:-1]:
        around = around[step]
    around[place[-1]] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.yaml"
        path.write_text(yamltext.dump(spec), "utf-8")
        verdict = validate(path)
    assert verdict.exit_code == 0 or all(problem.where for problem in verdict.problems)
