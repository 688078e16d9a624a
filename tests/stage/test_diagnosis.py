"""What training says of specs that are made to fail, with the line to change, and of those of the project: nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.diagnosis.data import digests
from kerascli.diagnosis.examiner import Examiner
from kerascli.errors import Failure, Problem, Span
from kerascli.launch import resume, train
from kerascli.ops.ir import Array
from kerascli.resume import checked_again
from kerascli.run import Run
from kerascli.sources.base import Split
from kerascli.trainer import Interrupted
from kerascli.training import Silence

CONFIGS = Path(__file__).parents[2] / "configs"
HEAD = """dataset: {type: npz, path: data.npz}
loss: sparse_categorical_crossentropy
metrics: [accuracy]
"""
NET = """layers:
  - {type: Dense, units: 16, activation: relu, name: hidden}
  - {type: Dense, units: 3, activation: softmax, name: scores}
"""


class Heard(Silence):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def found(folder: Path, text: str, **arrays: Array) -> dict[str, Any]:
    """Train a spec on arrays; the findings by name. Each is said once, and kept with the run."""
    np.savez(folder / "data.npz", **arrays)
    (folder / "spec.yaml").write_text(text)
    heard = Heard()
    outcome = train(check(folder / "spec.yaml"), folder / "runs", threads=1, progress=heard)
    kept = json.loads((outcome.run / "run.json").read_text()).get("diagnoses", [])
    said = [line for line in heard.lines if line.startswith("diagnosis: ")]
    assert [f"diagnosis: {f['file']}:{f['line']}: {f['message']}; {f['help']}" for f in kept] == said
    log = (outcome.run / "train.log").read_text()
    assert all(log.count(line) == 1 for line in said)
    return {finding["name"]: finding for finding in kept}


def blobs(samples: int, seed: int = 0, spread: float = 0.4) -> tuple[Array, Array]:
    """Three classes of points that are easy to tell apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, samples)
    centres = np.random.default_rng(9).normal(0, 1, (3, 6))
    return (centres[y] + rng.normal(0, spread, (samples, 6))).astype(np.float32), y


def splits(train: int = 300, held: int = 120) -> dict[str, Array]:
    x, y = blobs(train + held)
    return {"x_train": x[:train], "y_train": y[:train], "x_val": x[train:], "y_val": y[train:]}


def test_a_training_that_goes_well_is_told_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, HEAD + NET + "training: {epochs: 10}\n", **splits()) == {}


# ---- the samples


def test_inputs_that_nothing_scales_are_told_with_the_layer_that_reads_them(tmp_path: Path) -> None:
    arrays = splits()
    arrays |= {k: ((a - a.min()) / np.ptp(a) * 255).astype(np.uint8) for k, a in arrays.items() if k[0] == "x"}
    told = found(tmp_path, HEAD + NET + "training: {epochs: 1}\n", **arrays)
    assert told["unscaled_inputs"]["line"] == 5 and "0.00392156862745098" in told["unscaled_inputs"]["help"]
    scaled = NET.replace("layers:\n", "layers:\n  - {type: Rescaling, scale: 0.00392156862745098}\n")
    assert "unscaled_inputs" not in found(tmp_path, HEAD + scaled + "training: {epochs: 1}\n", **arrays)


def test_images_outside_of_an_augmentations_range_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (48, 4, 4, 1)).astype(np.uint8), rng.integers(0, 3, 48)
    arrays: dict[str, Array] = {"x_train": x, "y_train": y}
    net = """layers:
  - {type: Rescaling, scale: 0.00392156862745098}
  - {type: RandomFlip}
  - {type: RandomBrightness, factor: 0.2, name: light%s}
  - {type: Flatten}
  - {type: Dense, units: 3, activation: softmax}
training: {epochs: 1}
"""
    told = found(tmp_path, HEAD + net % "", **arrays)["value_range"]
    assert told["line"] == 7 and "`light`" in told["message"] and "value_range: [0, 1]" in told["help"]
    assert "value_range" not in found(tmp_path, HEAD + net % ", value_range: [0, 1]", **arrays)
    above = net.replace("scale: 0.00392156862745098", "scale: 2.0")
    assert "510" in found(tmp_path, HEAD + above % "", **arrays)["value_range"]["message"]


def test_samples_in_two_splits_are_told_but_not_those_that_repeat_everywhere(tmp_path: Path) -> None:
    arrays = splits()
    arrays["x_val"][:30] = arrays["x_train"][:30]
    told = found(tmp_path, HEAD + NET + "training: {epochs: 1}\n", **arrays)
    assert told["shared_samples"]["message"] == "30 of 120 validation samples are training samples too"
    assert told["shared_samples"]["line"] == 1 and told["shared_samples"]["epoch"] is None
    few = {k: np.sign(a) if k[0] == "x" else a for k, a in splits().items()}
    assert "shared_samples" not in found(tmp_path, HEAD + NET + "training: {epochs: 1}\n", **few)


@pytest.mark.parametrize("kind", ["image", "text", "numbered text"])
def test_files_that_stand_in_two_splits_are_told_though_they_are_streamed(kind: str, tmp_path: Path) -> None:
    Image, rng = pytest.importorskip("PIL.Image"), np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for number in range(count):
            path = tmp_path / split / "ab"[number % 2] / f"{number}.{'png' if kind == 'image' else 'txt'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "image":
                Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
            else:
                path.write_text(" ".join(f"w{word}" for word in rng.integers(50, size=12)))
            if split == "test" and number < 6:
                path.write_bytes((tmp_path / "train" / path.relative_to(tmp_path / "test")).read_bytes())
    words = {"image": "image_size: 9", "text": "follow_links: false", "numbered text": "vocabulary: 40, output: count"}
    layers = {
        "image": "Flatten, ",
        "text": "{type: Input, name: x, shape: [1], dtype: string}, "
        "{type: TextVectorization, max_tokens: 40, output_mode: multi_hot}, ",
        "numbered text": "",
    }
    text = (
        f"dataset: {{type: {kind.split()[-1]}_folder, path: {{train: train, test: test}}, {words[kind]}}}\n"
        f"layers: [{layers[kind]}{{type: Dense, units: 2, activation: softmax}}]\n"
        "loss: sparse_categorical_crossentropy\n"
    )
    told = found(tmp_path, text)
    assert told["shared_samples"]["message"] == "6 of 10 test samples are training samples too"
    assert ("unscaled_inputs" in told) == (kind == "image")


def test_digests_tell_samples_apart_by_any_one_byte() -> None:
    rng = np.random.default_rng(0)
    for dtype, shape in ((np.uint8, (5, 5, 1)), (np.float32, (7,)), (np.int32, ())):
        base = rng.integers(0, 200, shape).astype(dtype)
        rows = np.stack([base] * (base.nbytes + 1))
        raw = rows.reshape(len(rows), -1).view(np.uint8)
        for place in range(base.nbytes):
            raw[place + 1, place] ^= 0x80
        found = digests(Split({"x": rows}, {}))
        assert found is not None and len(set(found.tolist())) == len(rows)
        again = digests(Split({"x": rows.copy()}, {}))
        assert again is not None and (again == found).all()


# ---- the figures of the epochs


def test_a_loss_that_does_not_move_is_told_beside_that_of_a_constant_prediction(tmp_path: Path) -> None:
    text = HEAD + NET + "optimizer:\n  type: SGD\n  learning_rate: 1.0e-9\ntraining: {epochs: 6}\n"
    told = found(tmp_path, text, **splits())
    assert told["constant_loss"]["line"] == 9 and told["constant_loss"]["epoch"] <= 5


def test_one_answer_for_all_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 0.1, (400, 6)).astype(np.float32), (rng.random(400) < 0.08).astype(np.int64)
    arrays = {"x_train": x[:300], "y_train": y[:300], "x_val": x[300:], "y_val": y[300:]}
    text = HEAD + NET.replace("units: 3", "units: 2") + "optimizer: sgd\ntraining: {epochs: 6}\n"
    told = found(tmp_path, text, **arrays)
    assert "always answering class 0" in told["one_class"]["message"] and told["one_class"]["line"] == 8
    assert "class_weight: balanced" in told["one_class"]["help"]


def test_overfitting_is_told_unless_training_stops_early_anyway(tmp_path: Path) -> None:
    x, y = blobs(200, spread=2.0)
    arrays = {"x_train": x[:60], "y_train": y[:60], "x_val": x[60:], "y_val": y[60:]}
    text = HEAD + NET.replace("units: 16", "units: 200") + "optimizer: {type: Adam, learning_rate: 0.02}\n"
    told = found(tmp_path, text + "training:\n  epochs: 60\n", **arrays)
    assert told["overfitting"]["line"] == 9 and "EarlyStopping" in told["overfitting"]["help"]
    early = text + "training:\n  epochs: 60\ncallbacks: [{type: EarlyStopping, patience: 50}]\n"
    assert "overfitting" not in found(tmp_path, early, **arrays)


def test_validation_that_is_too_good_is_told_unless_dropout_is_the_reason(tmp_path: Path) -> None:
    arrays = splits()
    x, y = blobs(300, seed=3, spread=2.5)  # hard to train on; easy samples are held back
    arrays |= {"x_train": x, "y_train": y}
    text = HEAD + NET + "training: {epochs: 8}\noptimizer: {type: Adam, learning_rate: 0.01}\n"
    assert "validation_leak" in found(tmp_path, text, **arrays)
    dropped = text.replace("  - {type: Dense, units: 3", "  - {type: Dropout, rate: 0.1}\n  - {type: Dense, units: 3")
    assert "validation_leak" not in found(tmp_path, dropped, **arrays)


def test_labels_that_belong_to_other_inputs_are_told(tmp_path: Path) -> None:
    arrays = splits(200, 200)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        rng.shuffle(arrays[f"y_{split}"])
    text = HEAD + NET.replace("units: 16", "units: 400") + "optimizer: {type: Adam, learning_rate: 0.02}\n"
    told = found(tmp_path, text + "training: {epochs: 60}\n", **arrays)
    assert told["labels_do_not_fit"]["line"] == 1


# ---- the gradients


def test_dead_relus_are_told_with_their_layer(tmp_path: Path) -> None:
    dead = NET.replace("activation: relu,", "activation: relu, bias_initializer: {type: Constant, value: -50},")
    told = found(tmp_path, HEAD + dead + "training: {epochs: 2}\n", **splits())
    assert "16 of 16 units of Dense `hidden` are 0 for all of 128 samples" in told["dead_relu"]["message"]
    assert told["dead_relu"]["line"] == 5


def test_vanishing_gradients_are_told_with_the_first_layer_that_squeezes_them(tmp_path: Path) -> None:
    deep = "layers:\n" + "  - {type: Dense, units: 16, activation: sigmoid}\n" * 12 + NET.split("\n")[2] + "\n"
    told = found(tmp_path, HEAD + deep + "training: {epochs: 2}\n", **splits())
    assert told["vanishing_gradients"]["line"] == 5
    relu = deep.replace("sigmoid}", "relu, kernel_initializer: HeNormal}")
    assert "vanishing_gradients" not in found(tmp_path, HEAD + relu + "training: {epochs: 2}\n", **splits())


def test_steps_larger_than_the_weights_are_told(tmp_path: Path) -> None:
    arrays = splits()
    arrays |= {k: a.astype(np.float32) * 10 for k, a in arrays.items()}
    text = "dataset: {type: npz, path: data.npz}\nloss: mse\nlayers:\n  - {type: Dense, units: 1, name: value}\n"
    told = found(tmp_path, text + "optimizer: {type: SGD, learning_rate: 0.1, clipnorm: 1.0e+4}\n", **arrays)
    assert told["exploding_gradients"]["line"] == 5


# ---- NaN and infinity


def broken(folder: Path, text: str, **arrays: Array) -> Problem:
    np.savez(folder / "data.npz", **arrays)
    (folder / "spec.yaml").write_text(text)
    with pytest.raises(Failure) as caught:
        train(check(folder / "spec.yaml"), folder / "runs", threads=1)
    (problem,) = caught.value.problems
    assert problem.code == "E511" and isinstance(problem.where, Span)
    return problem


def line(problem: Problem) -> int:
    assert isinstance(problem.where, Span)
    return problem.where.line


def test_the_layer_whose_output_overflows_is_named_with_its_batch(tmp_path: Path) -> None:
    arrays = splits()
    arrays["x_train"][40] = 1e38
    text = HEAD + NET.replace("units: 16", "units: 16, kernel_initializer: {type: Constant, value: 3}")
    problem = broken(tmp_path, text + "training: {batch_size: 32, shuffle: false}\n", **arrays)
    assert problem.message == "NaN or infinity began in step 2 (batch 2 of epoch 1): the output of Dense `hidden`"
    assert line(problem) == 5 and problem.label == "infinity in 16 of 512 numbers"
    assert "what it reads has grown to 1e+38" in problem.help


def test_nan_in_the_data_is_the_input_s(tmp_path: Path) -> None:
    arrays = splits()
    arrays["x_train"][70] = np.nan
    text = HEAD.replace("data.npz", "data.npz, allow_nan: true") + NET
    problem = broken(tmp_path, text + "training: {batch_size: 32, shuffle: false}\n", **arrays)
    assert "step 3 (batch 3 of epoch 1): the values of Input" in problem.message
    assert "NaN in 6 of 192 numbers" in problem.label and "data" in problem.help


STEEP = """layers:
  - {type: Dense, units: 4, name: shrinks, use_bias: false, kernel_initializer: {type: Constant, value: 1.0e-30}}
  - {type: Dense, units: 4, name: grows, use_bias: false, kernel_initializer: {type: Constant, value: 1.0e+30}}
  - {type: Dense, units: 1, name: scores, use_bias: false, kernel_initializer: {type: Constant, value: 1.0e+10}}
"""


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_gradient_that_breaks_is_found_though_the_loss_was_a_number(epochs: int, tmp_path: Path) -> None:
    """The weights are lost before the loss shows it, in the last step of all or before."""
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.normal(0, 1, (64, 4)).astype(np.float32), "y_train": np.zeros((64, 1), np.float32)}
    arrays["x_train"][:32] = 0  # the first batch has no gradient
    text = "dataset: {type: npz, path: data.npz}\nloss: mse\noptimizer: sgd\n" + STEEP
    text += f"training: {{batch_size: 32, shuffle: false, epochs: {epochs}}}\n"
    problem = broken(tmp_path, text, **arrays)
    place = "NaN or infinity began in step 2 (batch 2 of epoch 1)"
    assert problem.message == f"{place}: the gradient that comes back through Dense `grows`"
    assert line(problem) == 6


def test_a_callback_that_ends_training_at_nan_still_does_and_the_layer_is_told(tmp_path: Path) -> None:
    arrays = splits()
    arrays["x_train"][40] = 1e38
    text = HEAD + NET.replace("units: 16", "units: 16, kernel_initializer: {type: Constant, value: 3}")
    text += "training: {batch_size: 32, shuffle: false, epochs: 3}\ncallbacks: [TerminateOnNaN]\n"
    told = found(tmp_path, text, **arrays)
    assert told["not_finite"]["line"] == 5 and "step 2 (batch 2 of epoch 1)" in told["not_finite"]["message"]


# ---- what it must not do


def test_a_resumed_run_has_the_findings_of_one_without_a_break_each_said_once(tmp_path: Path) -> None:
    arrays = {k: a * 100 if k[0] == "x" else a for k, a in splits().items()}
    text = HEAD + NET + "optimizer: {type: SGD, learning_rate: 1.0e-9}\ntraining: {epochs: 6}\n"
    whole = found(tmp_path, text, **arrays)
    assert whole.keys() >= {"unscaled_inputs", "constant_loss"}

    class Stops(Heard):
        def epoch_end(self, epoch: int, *rest: Any) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    before, after = Stops(), Heard()
    with pytest.raises(Interrupted):
        train(check(tmp_path / "spec.yaml"), tmp_path / "again", threads=1, progress=before, save_every=0)
    (folder,) = (tmp_path / "again").iterdir()
    run = Run.open(folder)
    resume(run, checked_again(run), threads=1, progress=after)
    kept = {f["name"]: f for f in json.loads((folder / "run.json").read_text())["diagnoses"]}
    same = ("name", "epoch", "message", "help")
    assert [[f[key] for key in same] for f in kept.values()] == [[f[key] for key in same] for f in whole.values()]
    assert sum("diagnosis: " in line for line in before.lines + after.lines) == len(whole)


def quick() -> list[Path]:
    """The configs that train in seconds."""
    return [CONFIGS / f"{name}.yaml" for name in ("smoke", "iris_mlp", "penguins_mlp", "two_inputs", "siamese")]


@pytest.mark.parametrize("path", quick(), ids=lambda path: path.stem)
def test_a_config_of_the_project_raises_no_alarm(path: Path, tmp_path: Path) -> None:
    outcome = train(check(path), tmp_path, threads=1)
    assert json.loads((outcome.run / "run.json").read_text()).get("diagnoses", []) == []


def test_looking_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD.replace("npz, path: data.npz", "mnist, limit: 1000, validation_split: 0.1")
    layers = "layers: [{type: Rescaling, scale: 0.0039}, Flatten, {type: Dense, units: 16, activation: relu}, "
    (tmp_path / "spec.yaml").write_text(
        text + layers + "{type: Dense, units: 10, activation: softmax}]\ntraining: {epochs: 3}\n"
    )
    looked = train(check(tmp_path / "spec.yaml"), tmp_path / "a", threads=1)
    for name in ("before", "before_steps", "after_step", "require_finite", "epoch_end"):
        monkeypatch.setattr(Examiner, name, lambda self, *given: None)
    alone = train(check(tmp_path / "spec.yaml"), tmp_path / "b", threads=1)
    for file in ("model.weights.h5", "metrics.json"):
        assert (looked.run / file).read_bytes() == (alone.run / file).read_bytes()
