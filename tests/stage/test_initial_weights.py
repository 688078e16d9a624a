"""Weights to start from: of all layers by structure, of some by name, from every form of file, and from runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerascli.api import train
from kerascli.check import check
from kerascli.errors import Failure
from kerascli.exporters import exporter
from kerascli.keras_files import load_weights
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.stored import Stored

FIRST = """
dataset: {type: synthetic, kind: classification, samples: 40, shape: [6], classes: 3}
layers:
  - {type: Dense, name: low, units: 5, activation: relu}
  - type: Model
    name: body
    layers:
      - {type: Dense, name: inner, units: 4}
      - {type: BatchNormalization, name: norm}
  - {type: Dense, name: head, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
"""
SECOND = """
dataset: {type: synthetic, kind: classification, samples: 40, shape: [6], classes: 2}
layers:
  - {type: Dense, name: low, units: 5, activation: relu, trainable: false}
  - type: Model
    name: trunk
    trainable: false
    layers:
      - {type: Dense, name: inner, units: 4}
      - {type: BatchNormalization, name: norm}
  - {type: Dense, name: flat, units: 4}
  - {type: Dense, name: head, units: 2, activation: softmax}
loss: sparse_categorical_crossentropy
training: {epochs: 2, initial_weights: {path: PATH, layers: {low: low, trunk: body}}}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("first")
    (folder / "first.yaml").write_text(FIRST)
    return Stored(train(check(folder / "first.yaml"), folder, threads=1).run)


def second(folder: Path, path: Path, layers: str = "{low: low, trunk: body}") -> dict[str, Array]:
    """The weights of the second network after training."""
    text = SECOND.replace("PATH", str(path)).replace("{low: low, trunk: body}", layers)
    (folder / "second.yaml").write_text(text)
    checked = check(folder / "second.yaml")
    outcome = train(checked, folder, threads=1)
    return load_weights(outcome.run / "model.weights.h5", Model.of(checked).graph)


@pytest.mark.parametrize("form", ["run", "keras", "h5", "weights"])
def test_a_frozen_body_is_that_of_another_model(form: str, first: Stored, tmp_path: Path) -> None:
    """Only the head learns: the layers that were named are, after training, what they were in the file."""
    assert first.run
    path = {"run": first.path, "weights": first.run.weights}.get(form)
    if path is None:
        (path,) = exporter(form).write(first.trained(), tmp_path / f"first.{form}")
    found, theirs = second(tmp_path, path), first.weights()
    for ours, other in (("low/kernel", "low/kernel"), ("trunk/inner/kernel", "body/inner/kernel")):
        np.testing.assert_array_equal(found[ours], theirs[other])
    np.testing.assert_array_equal(found["trunk/norm/moving_mean"], theirs["body/norm/moving_mean"])


def test_layers_of_nested_models_have_names_too(first: Stored, tmp_path: Path) -> None:
    found = second(tmp_path, first.path, "{trunk/inner: body/inner, low: low}")
    np.testing.assert_array_equal(found["trunk/inner/kernel"], first.weights()["body/inner/kernel"])


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("[lo]", "the model has no layer `lo`"),
        ("{low: lower}", "has no layer `lower`"),
        ("{head: head}", "its shape there is (4, 3), the model's is (4, 2)"),
        ("[head, nothing]", "the model has no layer `nothing`"),
    ],
)
def test_what_does_not_fit_is_named(layers: str, said: str, first: Stored, tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        second(tmp_path, first.path, layers)
    assert said in str(failure.value) and {p.code for p in failure.value.problems} == {"E505"}


def test_a_run_named_latest_is_noted_by_its_path(first: Stored, tmp_path: Path) -> None:
    """`latest` will mean another run when this one is verified or resumed."""
    text = SECOND.replace("PATH", first.path.name)
    (first.path.parent / "second.yaml").write_text(text)
    outcome = train(check(first.path.parent / "second.yaml"), first.path.parent, threads=1)
    assert str(first.path.resolve()) in (outcome.run / "resolved.yaml").read_text()
