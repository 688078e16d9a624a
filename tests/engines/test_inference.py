"""A stored model on the engine keras: the figures and outputs of our own engine, whichever trained it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerascli import keras_backend
from kerascli.api import evaluate, export, predict, train
from kerascli.check import check
from kerascli.errors import Failure, Span
from kerascli.ops.ir import Array
from kerascli.report.gather import gather
from kerascli.stored import Stored

pytest.importorskip("keras")


MASKED = """
name: masked
dataset: {type: npz, path: data.npz, inputs: {words: words, numbers: numbers}, targets: {kind: kind, size: size}}
layers:
  - {type: Input, name: words}
  - {type: Input, name: numbers}
  - {type: Embedding, input_dim: 9, output_dim: 4, mask_zero: true, inputs: words}
  - {type: GlobalAveragePooling1D, name: read}
  - {type: BatchNormalization, name: scaled, inputs: numbers}
  - {type: Concatenate, name: both, inputs: [read, scaled]}
  - {type: Dropout, rate: 0.5}
  - {type: Dense, units: 3, activation: softmax, name: kind}
  - {type: Dense, units: 1, name: size, inputs: both}
outputs: [kind, size]
loss: {kind: sparse_categorical_crossentropy, size: mse}
loss_weights: {size: 0.3}
metrics: {kind: [accuracy], size: [mae]}
weighted_metrics: {kind: [accuracy], size: [mae]}
training: {epochs: 2, batch_size: 16}
"""
TEXTS = """
name: texts
dataset: {type: csv, path: words.csv, target: good, test_split: 0.3}
layers:
  - {type: TextVectorization, max_tokens: 9, output_sequence_length: 3}
  - {type: Embedding, input_dim: 9, output_dim: 4}
  - GlobalAveragePooling1D
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
metrics: [accuracy]
training: {batch_size: 40}
"""
STATEFUL = """
dataset: {type: synthetic, kind: sequences, samples: 40, shape: [5], vocabulary: 30}
layers:
  - {type: Embedding, input_dim: 30, output_dim: 4}
  - {type: GRU, units: 3, stateful: true}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
training: {batch_size: 20}
"""


def trained(text: str, folder: Path) -> Stored:
    """A run on the engine numpy."""
    (folder / "spec.yaml").write_text(text)
    return Stored(train(check(folder / "spec.yaml"), folder / "runs", threads=1).run)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two inputs, one of them with a mask, two outputs, and weights for the samples."""
    folder, rng = tmp_path_factory.mktemp("masked"), np.random.default_rng(3)
    arrays: dict[str, Array] = {}
    for split, count in (("train", 60), ("test", 35)):
        words, numbers = rng.integers(0, 9, (count, 5)), rng.normal(size=(count, 2)).astype(np.float32)
        arrays |= {f"words_{split}": words, f"numbers_{split}": numbers, f"kind_{split}": words.sum(axis=1) % 3}
        arrays |= {f"size_{split}": numbers.sum(axis=1), f"sample_weight_{split}": rng.uniform(0, 3, count)}
    np.savez(folder / "data.npz", **arrays)
    np.savez(folder / "new.npz", words=rng.integers(0, 9, (300, 5)), numbers=rng.normal(size=(300, 2)))
    return trained(MASKED, folder)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("texts")
    rows = [f"{word} film {k % 5},{int(word != 'bad')}" for k, word in enumerate(["good", "bad", "nice"] * 15)]
    (folder / "words.csv").write_text("\n".join(["said,good", *rows]))
    (folder / "new.csv").write_text('said\na good film\nan unknown thing\n""\n')
    return trained(TEXTS, folder)


@pytest.mark.parametrize(("name", "file"), [("masked", "new.npz"), ("texts", "new.csv")])
def test_keras_computes_a_stored_model_to_the_same_figures_and_outputs(
    name: str, file: str, request: pytest.FixtureRequest
) -> None:
    stored: Stored = request.getfixturevalue(name)
    (split, ours), (same, theirs) = (evaluate(stored, engine=engine) for engine in ("numpy", "keras"))
    assert split == same == "test" and list(ours) == list(theirs)
    assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-6)
    new = [str(stored.path.parents[1] / file)]
    (_, own), (_, found) = (predict(stored, new, engine=engine) for engine in ("numpy", "keras"))
    assert list(own) == list(found)
    for output, array in own.items():
        assert found[output].dtype == array.dtype and found[output].shape == array.shape
        np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-6)


def test_an_exported_file_and_a_report_are_computed_by_keras_too(texts: Stored, tmp_path: Path) -> None:
    export(texts, "keras", tmp_path / "texts.keras")
    split, found = evaluate(Stored(tmp_path / "texts.keras"), engine="keras")
    assert (split, found) == ("test", pytest.approx(evaluate(texts)[1], rel=1e-5, abs=1e-6))
    ours, theirs = (gather(texts, say=lambda text: None, engine=engine) for engine in ("numpy", "keras"))
    assert theirs.results[0].facts()["accuracy"] == ours.results[0].facts()["accuracy"]
    own, same = ([mistake.row for mistake in report.mistakes[report.results[0].output]] for report in (ours, theirs))
    assert own == same and own, "or nothing was looked at once more"


def test_without_keras_the_engine_is_told_and_our_own_computes(texts: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_backend, "_installed", lambda name: name != "keras")
    evaluate(texts)
    for ask in (
        lambda: evaluate(texts, engine="keras"),
        lambda: predict(texts, [str(texts.path.parents[1] / "new.csv")], engine="keras"),
        lambda: gather(texts, engine="keras"),
    ):
        with pytest.raises(Failure) as failure:
            ask()
        (problem,) = failure.value.problems
        assert problem.code == "E516" and "kerascli[keras]" in (problem.help or "")


def test_a_layer_that_keras_cannot_compute_is_told_with_its_line(tmp_path: Path) -> None:
    stored = trained(STATEFUL, tmp_path)
    with pytest.raises(Failure) as failure:
        evaluate(stored, engine="keras")
    (problem,) = failure.value.problems
    assert isinstance(problem.where, Span) and problem.where.file.endswith("resolved.yaml")
    assert "GRU" in problem.message and "--engine numpy" in (problem.help or "")
