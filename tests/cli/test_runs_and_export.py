"""`runs`, `export`, `plan` and what every command has: help with an example, one JSON document, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest

from kerascli.cli.main import commands, group
from tests.cli.session import SMALL, Shell

# ---- every command


@pytest.mark.parametrize("name", commands())
def test_help_is_exit_code_0_and_on_standard_output(name: str, shell: Shell) -> None:
    answer = shell(name, "--help")
    assert answer.code == 0 and answer.out.startswith("Usage: kerascli") and not answer.err


@pytest.mark.parametrize("name", commands())
def test_a_word_that_is_no_option_is_exit_code_2(name: str, shell: Shell) -> None:
    answer = shell(name, "--no-such-option")
    assert answer.code == 2 and not answer.out and "no-such-option" in answer.err


def test_every_option_is_explained() -> None:
    with group.make_context("kerascli", [], resilient_parsing=True) as context:
        for name in commands():
            command = group.get_command(context, name)
            assert command is not None
            for parameter in command.params:
                assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


# ---- runs


def test_runs_are_listed_the_newest_first(ask: Shell) -> None:
    for words in (("runs",), ("runs", "list")):
        lines = ask(*words).out.splitlines()
        assert "penguins-" in lines[1] and "digits-" in lines[2]
    found = ask("runs", "list", "--json").document
    assert [Path(row["run"]).name.split("-")[0] for row in found] == ["penguins", "digits"]
    assert {row["status"] for row in found} == {"completed"} and found[0]["epochs"] == 8


def test_a_run_is_shown_with_its_figures_and_files(ask: Shell) -> None:
    answer = ask("runs", "show", "digits")
    assert answer.code == 0 and "model.weights.h5" in answer.out and "completed" in answer.out
    found = ask("runs", "show", "latest", "--json").document
    assert found["name"] == "penguins" and found["metrics"]["test"]["accuracy"] > 0.5


def test_no_runs_is_said_and_is_no_error(shell: Shell) -> None:
    answer = shell("runs", "list")
    assert answer.code == 0 and answer.out == "no runs in `runs`\n"
    assert shell("runs", "list", "--json").document == []
    assert shell("runs", "show", "latest").code == 1


# ---- plan


@pytest.mark.parametrize("words", [(), ("--predict",)])
def test_the_plan_prints_operations_with_shapes_places_bytes_and_flops(words: tuple[str, ...], shell: Shell) -> None:
    shell.write(SMALL)
    answer = shell("plan", "spec.yaml", *words)
    assert answer.code == 0 and "MatMul" in answer.out and "kFLOP" in answer.out and "arena" in answer.out
    found = shell("plan", "spec.yaml", *words, "--json").document
    ops = [op for stage in found["stages"] for op in stage["ops"]]
    assert {"value", "op", "inputs", "shape", "dtype", "place", "bytes", "flops"} <= set(ops[0])
    products = sum(op["flops"] for op in ops if op["op"].startswith("MatMul"))
    assert products >= 2 * (64 * 16 + 16 * 10) * found["block"]
    assert bool(found["gradients"]) != ("--predict" in words)


# ---- export

CNN = """
seed: 4
dataset: {type: digits, limit: 150, test_split: 0.2}
layers: [{type: Rescaling, scale: 0.0625}, {type: Conv2D, filters: 6, kernel_size: 3, padding: same},
  BatchNormalization, ReLU, MaxPooling2D, Flatten, {type: Dropout, rate: 0.3}, {type: Dense, units: 10}]
loss: {type: SparseCategoricalCrossentropy, from_logits: true}
metrics: [accuracy]
optimizer: {type: SGD, momentum: 0.9}
training: {epochs: 2}
"""
LSTM = """
seed: 4
dataset: {type: synthetic, kind: sequences, samples: 120, shape: [7], vocabulary: 20, test_split: 0.2}
layers: [{type: Embedding, input_dim: 20, output_dim: 6, mask_zero: true}, {type: LSTM, units: 5},
  {type: Dense, units: 1, activation: sigmoid}]
loss: binary_crossentropy
optimizer: adam
training: {epochs: 2}
"""


@pytest.mark.parametrize("text", [CNN, LSTM], ids=["cnn", "lstm"])
def test_real_keras_opens_every_export_and_predicts_the_same(text: str, shell: Shell) -> None:
    keras = pytest.importorskip("keras")
    shell.write(text, "net.yaml")
    assert shell("train", "net.yaml", "-q").code == 0
    rng = np.random.default_rng(1)
    x = rng.integers(0, 17, (40, 8, 8, 1)).astype(np.uint8) if text is CNN else rng.integers(0, 20, (40, 7))
    np.save(shell.folder / "x.npy", x)
    assert shell("predict", "latest", "x.npy", "-o", "y.npy").code == 0
    y = np.load(shell.folder / "y.npy")
    for form, name in (("keras", "m.keras"), ("h5", "m.h5"), ("json", "m.json")):
        answer = shell("export", "latest", "--format", form, "-o", name, "--no-verify")
        assert answer.code == 0 and name in answer.out
        model = _opened(keras, shell.folder, answer.out.split())
        np.testing.assert_allclose(np.asarray(model(x)), y, rtol=1e-5, atol=1e-5)
    again = shell("predict", "m.keras", "x.npy", "--format", "npy", "-o", "again.npy")
    assert again.code == 0 and np.array_equal(np.load(shell.folder / "again.npy"), y)
    said = shell("evaluate", "latest", "--json").document["metrics"]
    assert shell("evaluate", "m.keras", "--json").document["metrics"] == pytest.approx(said, rel=1e-6)


def _opened(keras, folder: Path, written: list[str]):  # type: ignore[no-untyped-def]
    paths = [folder / word for word in written]
    if len(paths) == 1:
        return keras.models.load_model(paths[0])
    (config,) = (p for p in paths if p.suffix == ".json")
    (weights,) = (p for p in paths if p.name.endswith(".weights.h5"))
    model = keras.models.model_from_json(config.read_text())
    model.load_weights(weights)
    return model


def test_exports_are_named_in_json_and_an_unknown_format_is_an_error(ask: Shell, trained: Path) -> None:
    found = ask("export", "digits", "--format", "keras", "-o", "out.keras", "--json", "--no-verify").document
    assert found == {"format": "keras", "files": ["out.keras"]} and (trained / "out.keras").is_file()
    answer = ask("export", "digits", "--format", "kears")
    assert answer.code in (1, 2) and "keras" in answer.err and not answer.out


def test_failures_are_json_where_json_was_asked_for(ask: Shell) -> None:
    for words in (("evaluate", "absent"), ("runs", "show", "absent"), ("train", "absent.yaml")):
        answer = ask(*words, "--json")
        assert answer.code in (1, 2)
        assert [p["severity"] for p in json.loads(answer.out)["problems"]] == ["error"]
