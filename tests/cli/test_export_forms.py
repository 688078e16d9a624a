"""`export` to forms that need no Keras: NumPy, ONNX, safetensors, the spec; fewer bits; the check after writing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from kerascli.exporters.readback import Reading, check, run_python
from kerascli.graph import Graph
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.run import find
from kerascli.runner import Runner
from kerascli.stored import Stored
from tests.cli.session import Shell

ROWS = """species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year
?,Torgersen,39.1,18.7,181,3750,male,2007
?,Biscoe,50.0,15.2,NA,5700,male,2008
?,Mars,46.5,17.9,192,3500,,2009
"""


def without_us(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python with what is installed and nothing else: kerascli is not found from there."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = (sys.executable, "-I", *words)
    return subprocess.run(
        [str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_numpy_file_names_classes_from_a_table_as_predict_does(ask: Shell) -> None:
    (ask.folder / "rows.csv").write_text(ROWS)
    answer = ask("export", "penguins", "--format", "numpy", "-o", "birds.py")
    assert answer.code == 0 and answer.out.split() == ["birds.py", "birds.npz"]
    assert "largest difference of predictions" in answer.err
    done = without_us(ask.folder, "birds.py", "rows.csv")
    assert done.returncode == 0, done.stderr
    expected = [
        json.loads(line) for line in ask("predict", "penguins", "rows.csv", "--format", "jsonl").out.splitlines()
    ]
    for line, row in zip(done.stdout.splitlines(), expected, strict=True):
        label, p = line.split("\t")
        assert label == row["class"] and float(p) == pytest.approx(row["probability"], abs=1e-4)
    assert "kerascli" not in (ask.folder / "birds.py").read_text().split('"""', 2)[2]


def test_a_numpy_file_writes_arrays_and_says_what_it_wants(ask: Shell) -> None:
    assert ask("export", "digits", "--format", "numpy", "-o", "digits_net.py", "--no-verify").code == 0
    x = np.random.default_rng(0).integers(0, 17, (300, 8, 8, 1)).astype(np.uint8)
    np.save(ask.folder / "x.npy", x)
    assert without_us(ask.folder, "digits_net.py", "x.npy", "-o", "y.npy").returncode == 0
    assert ask("predict", "digits", "x.npy", "-o", "expected.npy").code == 0
    y, expected = (np.load(ask.folder / name) for name in ("y.npy", "expected.npy"))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.save(ask.folder / "wrong.npy", x[:, :5])
    refused = without_us(ask.folder, "digits_net.py", "wrong.npy")
    assert refused.returncode == 1 and "expected samples of shape (8, 8, 1)" in refused.stderr
    assert "python digits_net.py" in without_us(ask.folder, "digits_net.py").stderr


@pytest.mark.parametrize(("way", "share", "close"), [("float16", 0.5, 1e-2), ("int8", 0.35, 0.1)])
def test_fewer_bits_are_smaller_and_say_what_they_change(way: str, share: float, close: float, ask: Shell) -> None:
    answer = ask("export", "digits", "--format", "numpy", "--quantize", way, "-o", f"{way}.py", "--json")
    found = answer.document
    assert answer.code == 0 and found["stored_bytes"] <= share * found["weights_bytes"]
    assert 0 < found["quantize_difference"] < close
    assert found["check"]["passed"] and found["check"]["largest_difference"] < 1e-5
    with np.load(ask.folder / f"{way}.npz", allow_pickle=False) as arrays:
        assert arrays["dense/kernel"].dtype == np.dtype(way)


def test_safetensors_hold_the_weights_by_path_with_name_and_version(ask: Shell) -> None:
    reader = pytest.importorskip("safetensors")
    answer = ask("export", "digits", "--format", "safetensors", "-o", "w.safetensors", "--json")
    assert answer.code == 0 and answer.document["check"]["largest_difference"] == 0
    weights = Stored(find("digits", ask.folder / "runs")).weights()
    with reader.safe_open(ask.folder / "w.safetensors", "numpy") as file:
        assert file.metadata()["name"] == "digits" and file.metadata()["kerascli_version"]
        assert set(file.keys()) == set(weights)
        assert all(np.array_equal(file.get_tensor(path), array) for path, array in weights.items())


def test_an_onnx_file_predicts_in_onnxruntime_what_predict_does(ask: Shell) -> None:
    runtime = pytest.importorskip("onnxruntime")
    answer = ask("export", "digits", "--format", "onnx", "-o", "digits.onnx")
    assert answer.code == 0 and answer.out.split() == ["digits.onnx"]
    assert "read back, the largest difference of predictions is" in answer.err
    x = np.random.default_rng(0).integers(0, 17, (70, 8, 8, 1)).astype(np.uint8)
    np.save(ask.folder / "some.npy", x)
    assert ask("predict", "digits", "some.npy", "-o", "expected.npy").code == 0
    session = runtime.InferenceSession(ask.folder / "digits.onnx", providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, np.load(ask.folder / "expected.npy"), rtol=1e-5, atol=1e-5)
    (output,) = session.get_outputs()
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"])[output.name] == [*map(str, range(10))]


def test_an_onnx_file_keeps_fewer_bits_and_is_no_folder(ask: Shell) -> None:
    pytest.importorskip("onnx")
    answer = ask("export", "digits", "--format", "onnx", "--quantize", "int8", "-o", "few.onnx", "--json")
    found = answer.document
    assert answer.code == 0 and found["check"]["largest_difference"] < 1e-5 < found["quantize_difference"]
    answer = ask("export", "digits", "--format", "onnx", "-o", "runs")
    assert answer.code == 2 and "`runs` is a folder" in answer.err and "`-o runs.onnx`" in answer.err


def test_the_spec_goes_out_and_is_valid(ask: Shell) -> None:
    answer = ask("export", "penguins", "--format", "yaml", "-o", "again.yaml")
    assert answer.code == 0 and "check skipped" in answer.err
    assert ask("validate", "again.yaml").code == 0


def test_keras_reads_the_file_back(ask: Shell) -> None:
    pytest.importorskip("keras")
    answer = ask("export", "penguins", "--format", "keras", "-o", "birds.keras", "--json")
    found = answer.document
    assert answer.code == 0 and found["check"]["passed"] and found["check"]["largest_difference"] < 1e-5


def test_a_reader_that_fails_is_exit_code_1(ask: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    answer = ask("export", "penguins", "--format", "keras", "-o", "unread.keras")
    assert answer.code == 1 and "check failed" in answer.err and "abacus" in answer.err
    assert (ask.folder / "unread.keras").is_file()
    assert ask("export", "penguins", "--format", "keras", "-o", "unread.keras", "--no-verify").code == 0


def test_without_its_package_a_form_says_how_to_get_it(ask: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = ask("export", "penguins", "--format", "keras", "-o", "unread.keras")
    assert answer.code == 0 and "check skipped: Keras is not installed: `pip install keras jax`" in answer.err
    for form in ("safetensors", "onnx"):
        answer = ask("export", "penguins", "--format", form)
        assert answer.code == 1 and f"pip install kerascli[{form}]" in answer.err


def test_without_onnxruntime_the_check_is_skipped(ask: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found(name) if name != "onnxruntime" else None)
    answer = ask("export", "penguins", "--format", "onnx", "-o", "unread.onnx")
    assert (
        answer.code == 0 and "check skipped: onnxruntime is not installed: `pip install kerascli[onnx]`" in answer.err
    )
    assert (ask.folder / "unread.onnx").is_file()


def test_what_a_form_cannot_do_is_said(ask: Shell) -> None:
    answer = ask("export", "penguins", "--format", "h5", "--quantize", "int8")
    assert answer.code == 2 and "cannot store weights as int8" in answer.err and "can store int8" in answer.err
    answer = ask("export", "penguins", "--format", "numpy", "-o", "birds.keras")
    assert answer.code == 2 and "birds.py" in answer.err
    answer = ask("export", "penguins", "--format", "numpi")
    assert answer.code == 2 and "did you mean `numpy`" in answer.err


def test_layers_that_read_texts_are_named_all_at_once(shell: Shell) -> None:
    shell.write(
        """
name: words
seed: 1
dataset: {type: csv, path: t.csv, target: y}
layers: [{type: Input, name: t, dtype: string}, {type: StringLookup, name: look}, {type: CategoryEncoding,
  name: code, num_tokens: 8}, {type: Dense, units: 2, activation: softmax}]
loss: sparse_categorical_crossentropy
training: {epochs: 1}
""",
        "words.yaml",
    )
    (shell.folder / "t.csv").write_text("t,y\n" + "a,p\nb,q\nc,p\n" * 10)
    assert shell("train", "words.yaml", "-q").code == 0
    for form, name in (("numpy", "words.py"), ("onnx", "words.onnx")):
        answer = shell("export", "latest", "--format", form)
        assert answer.code == 1 and "StringLookup `look`" in answer.err and not (shell.folder / name).exists()


STATEFUL = """
name: keeps
dataset: {type: synthetic, kind: classification, samples: 12, shape: [3, 2], classes: 3}
layers:
  - {type: LSTM, units: 2, stateful: true, name: kept}
  - {type: Dense, units: 3}
loss: sparse_categorical_crossentropy
training: {batch_size: 4}
"""


def test_a_layer_that_a_form_cannot_hold_is_shown_where_the_spec_writes_it(shell: Shell) -> None:
    shell.write(STATEFUL, "keeps.yaml")
    assert shell("train", "keeps.yaml", "-q", "--run-name", "plain").code == 0
    answer = shell("export", "plain", "--format", "numpy")
    assert answer.code == 1 and "/spec.yaml:5:12\n" in answer.err and "cannot hold LSTM `kept`" in answer.err
    changed = ("--set", "layers[0].type=GRU", "--run-name", "changed", "-q")
    assert shell("train", "keeps.yaml", *changed).code == 0  # that text has another layer there
    answer = shell("export", "changed", "--format", "numpy", "--json")
    (problem,) = answer.document["problems"]
    assert problem["message"].startswith("a NumPy file cannot hold GRU") and problem["file"].endswith("resolved.yaml")
    assert shell("export", "plain", "--format", "keras", "-o", "plain.keras", "--no-verify").code == 0
    answer = shell("export", "plain.keras", "--format", "numpy", "--json")
    assert [problem["file"] for problem in answer.document["problems"]] == [None]


def test_what_is_read_back_gets_whole_batches_where_a_layer_needs_them(shell: Shell) -> None:
    shell.write(STATEFUL, "keeps.yaml")
    assert shell("train", "keeps.yaml", "-q").code == 0
    stored = Stored(find("latest", shell.folder / "runs"))
    weights, runner = stored.weights(), Runner(Model.stored(stored.loaded, stored.signature), 1)
    runner.parameters.load(weights)

    def read(inputs: Mapping[str, Array]) -> Reading:
        with runner.session:
            return Reading(runner.predict(inputs))

    assert check(stored.graph, weights, read).passed


def test_of_what_a_reader_says_the_error_is_shown() -> None:
    said = "Traceback:\n  line\nValueError: It met an error.\n\n\x1b[1mThe size is wrong.\x1b[0m\n\nArguments:\n  x"
    failed = run_python(f"import sys; sys.exit({said!r})", Graph((), (), ()), {}).failed
    assert failed == "ValueError: It met an error. The size is wrong."


def test_the_help_names_the_forms(shell: Shell) -> None:
    text = " ".join(shell("export", "--help").out.split())
    assert "h5, json, keras, numpy" in text and "safetensors, yaml" in text
