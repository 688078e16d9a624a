"""ReversibleEmbedding is called forwards and in reverse with one table, trains as Keras's, and survives its files."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerascli.check import check
from kerascli.errors import SpecFailure
from kerascli.keras_config import layer as keras_config
from kerascli.layer import Layer
from tests.layer_cases import run, weights
from tests.parity.keras_live import Twin

SPEC = """
dataset: {type: npz, path: data.npz, x_train: tokens, y_train: next}
layers:
  - {type: ReversibleEmbedding, name: words, input_dim: 12, output_dim: 5, mask_zero: MASK, tie_weights: TIE,
     logit_soft_cap: CAP}
  - {type: GRU, units: 5, return_sequences: true}
  - {type: Reuse, layer: words, reverse: true, name: logits}
loss: {type: SparseCategoricalCrossentropy, from_logits: true}
metrics: [accuracy]
optimizer: {type: Adam, learning_rate: 0.01}
training: {epochs: 2, batch_size: 16, shuffle: false}
"""


def write(folder: Path, text: str = SPEC, mask: str = "false", tie: str = "true", cap: str = "null") -> Path:
    tokens = np.random.default_rng(2).integers(0, 12, (50, 8))
    np.savez(folder / "data.npz", tokens=tokens[:, :-1], next=tokens[:, 1:])
    (folder / "net.yaml").write_text(text.replace("MASK", mask).replace("TIE", tie).replace("CAP", cap))
    return folder / "net.yaml"


@pytest.mark.parametrize("mask", ["false", "true"])
@pytest.mark.parametrize(("tie", "cap"), [("true", "null"), ("true", "3.0"), ("false", "null")])
def test_a_training_with_the_table_used_both_ways_equals_that_of_keras(
    tie: str, cap: str, mask: str, tmp_path: Path
) -> None:
    twin = Twin(write(tmp_path, mask=mask, tie=tie, cap=cap), tmp_path)
    for theirs, ours in zip(twin.theirs(), twin.ours(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for name, (own, other) in twin.weights().items():
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("config", [{}, {"tie_weights": False}, {"logit_soft_cap": 0.5}])
def test_the_reverse_gives_keras_s_numbers(config: dict[str, object]) -> None:
    layer = Layer.parse({"type": "ReversibleEmbedding", "input_dim": 6, "output_dim": 3, "reverse": True, **config})
    x, w = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32), weights(layer, ((5, 3),))
    theirs = keras.saving.deserialize_keras_object(keras_config(layer, "words", [(5,)]))
    if not theirs.built:
        theirs.build((None, 5))
    theirs.set_weights(list(w.values()))
    np.testing.assert_allclose(run(layer, [x], w).y, np.asarray(theirs(x, reverse=True)), rtol=2e-5, atol=1e-6)


def test_only_a_reversible_embedding_is_called_in_reverse(tmp_path: Path) -> None:
    plain = SPEC.replace("type: ReversibleEmbedding", "type: Embedding").replace(", tie_weights: TIE,", "}")
    path = write(tmp_path, plain.replace("\n     logit_soft_cap: CAP}", ""))
    with pytest.raises(SpecFailure) as caught:
        check(path)
    (problem,) = caught.value.problems
    assert problem.code == "E205" and "Embedding cannot be called in reverse" in problem.message
    assert problem.where.line == 6  # type: ignore[union-attr]


def test_vectors_of_another_size_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecFailure, match="does not fit its input") as caught:
        check(write(tmp_path, SPEC.replace("units: 5", "units: 4")))
    assert "vectors of `output_dim` 5" in caught.value.problems[0].label
