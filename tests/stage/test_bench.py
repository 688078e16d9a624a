"""The bench: every contestant that is installed trains in turn, and what cannot is said so."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kerascli.bench import runner
from kerascli.bench.job import CONTESTANTS, Job, Node, arrays, read
from kerascli.bench.report import COLUMNS, Report, Result
from kerascli.bench.runner import bench
from kerascli.cli.main import main

SPEC = """
name: tiny
dataset: {type: synthetic, samples: 70, shape: [6], classes: 3}
layers: [{type: Dense, units: 8, activation: relu}, {type: Dense, units: 3, activation: softmax}]
loss: sparse_categorical_crossentropy
metrics: [accuracy]
training: {batch_size: 16, steps_per_epoch: 2}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return path


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def test_engines_train_in_turn_on_full_batches_and_the_loss_falls(spec: Path) -> None:
    turns: list[str] = []
    names = ["numpy", *(["keras-jax"] if installed("keras") and installed("jax") else [])]
    report = bench(spec, ["optimizer.learning_rate=0.01"], rounds=2, threads=1, contestants=names, say=turns.append)
    assert [r.status for r in report.results] == ["ran"] * len(names), [r.reason for r in report.results]
    assert (report.samples, report.batch) == (64, 16)
    assert turns[len(names) :] == [f"round {number} of 2: {name}" for number in (1, 2) for name in names]
    for result in report.results:
        assert len(result.seconds) == 2 and min(result.seconds) > 0
        assert result.first_epoch_seconds is not None and result.first_epoch_seconds > min(result.seconds)
        assert result.loss is not None and result.loss < 2 and result.versions
        assert result.peak_bytes is None or 10 * 2**20 < result.peak_bytes < 2**33


def test_the_command_prints_one_json_document_and_lists_who_is_absent(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTESTANTS, "torch", ("plain_torch", ("no_such_package",)))
    words = ["bench", str(spec), "--rounds", "1", "--samples", "20", "--with", "numpy,torch", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    numpy, torch = found["contestants"]
    assert found["samples"] == 16 and found["best_keras"] is None and found["machine"]["processor"]
    assert numpy["status"] == "ran" and numpy["ratio_to_numpy"] == 1 and numpy["samples_per_second"]["median"] > 0
    assert (torch["status"], torch["reason"]) == ("not installed", "no no_such_package in this Python")


def test_a_contestant_that_fails_is_shown_with_its_last_words(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTESTANTS, "torch", ("no_such_module", ("numpy",)))
    assert main(["bench", str(spec), "--rounds", "1", "--with", "torch"]) == 1
    shown = capsys.readouterr()
    assert "failed" in shown.out
    assert "torch: failed: ended with code 1" in shown.err and "No module named 'kerascli.bench.no_such" in shown.err


@pytest.mark.parametrize("words", [["--with", "numpy,cobol"], ["--with", ","], ["--rounds", "0"], ["--samples", "0"]])
def test_wrong_words_are_a_usage_error(spec: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(spec), *words]) == 2
    assert "Usage:" in capsys.readouterr().err


def test_a_wrong_spec_is_told_before_any_engine_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(SPEC.replace("units: 8", "unit: 8"))
    assert main(["bench", str(path)]) == 2
    shown = capsys.readouterr().err
    assert "did you mean `units`?" in shown and "first epoch" not in shown


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's table of processes")
def test_waiting_engines_are_suspended_and_none_outlives_the_bench(spec: Path) -> None:
    states: list[str] = []
    children: list[int] = []

    def look(text: str) -> None:
        if not text.startswith("round"):
            return
        tasks = Path("/proc/self/task").iterdir()
        children[:] = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        states.extend(settled(pid) for pid in children)

    bench(spec, rounds=2, threads=2, contestants=["numpy"], say=look)
    assert states == ["T", "T"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def settled(pid: int) -> str:
    """The state of a process as Linux tells it: T is suspended, which takes the system a moment."""
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "T":
            break
        time.sleep(0.02)
    return state


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_a_killed_bench_takes_its_suspended_engines_along(spec: Path, tmp_path: Path) -> None:
    words = (
        "import os, sys, pathlib, signal\n"
        "from kerascli.bench import runner\n"
        "class Child(runner.Child):\n"
        "    def begin(self):\n"
        "        found = super().begin(); print(self._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "runner.Child = Child\n"
        "runner.bench(pathlib.Path(sys.argv[1]), contestants=['numpy'], threads=2)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    dead = subprocess.run(
        [sys.executable, "-c", words, str(spec)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert dead.returncode == -9 and not _alive(int(dead.stdout))


def _alive(group: int) -> bool:
    """Whether the group still has processes after a second at most."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


def report_of(**seconds: list[float]) -> Report:
    results = [Result(name.replace("_", "-"), "ran", 100, seconds=found) for name, found in seconds.items()]
    return Report(
        "net", 100, 10, 2, 3, 20, 50, {"processor": "slow"}, [*results, Result("torch", "not installed", 100)]
    )


def test_speeds_are_medians_and_ratios_are_to_numpy_and_to_the_best_keras() -> None:
    report = report_of(numpy=[1.0, 0.5, 9.0], keras_jax=[2.0, 2.0, 1.0], keras_torch=[4.0, 5.0, 4.0])
    numpy, jax, torch, absent = report.facts()["contestants"]
    assert report.facts()["best_keras"] == "keras-jax"
    assert numpy["samples_per_second"] == {"median": 100, "min": 100 / 9, "max": 200}
    assert (numpy["ratio_to_numpy"], jax["ratio_to_numpy"], torch["ratio_to_numpy"]) == (1, 0.5, 0.25)
    assert (numpy["ratio_to_best_keras"], torch["ratio_to_best_keras"]) == (2, 0.5)
    assert absent["ratio_to_numpy"] is None and absent["samples_per_second"]["median"] is None
    rows = report.rows()
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[0][:5] == ("numpy", "100", "11–200", "1.00×", "2.00×") and rows[3][1] == "not installed"


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    node = Node("d", "Dense", ("x",), (3,), {"units": 3})
    job = Job("a.yaml", ("b=1",), 2, 16, True, {"config": {}}, (node,), ("x",), ("d",), False, False)
    x = np.arange(6.0, dtype=np.float32)
    job.write(tmp_path, {"x": [x], "y": [x, x + 1], "w": []})
    assert read(tmp_path) == job
    np.testing.assert_array_equal(arrays(tmp_path, "y")[1], x + 1)
    assert arrays(tmp_path, "w") == []


@pytest.mark.skipif(not installed("torch"), reason="needs PyTorch")
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("{type: LayerNormalization}", "the layer LayerNormalization"),
        ("{type: Dense, units: 4, kernel_regularizer: l2}", "Dense with kernel_regularizer"),
        ("{type: Dense, units: 4, activation: hard_silu}", "the activation hard_silu"),
    ],
)
def test_what_plain_pytorch_has_no_words_for_is_declined(spec: Path, layer: str, reason: str) -> None:
    spec.write_text(SPEC.replace("layers: [", f"layers: [{layer}, "))
    result = bench(spec, rounds=1, threads=1, contestants=["torch"]).results[0]
    assert (result.status, result.reason) == ("not translated", reason)


@pytest.mark.skipif(not installed("torch"), reason="needs PyTorch")
@pytest.mark.parametrize("config", ["bench/lstm_text", "bench/rnn_text", "bench/batchnorm_cnn", "residual_cnn"])
def test_plain_pytorch_has_the_net_with_as_many_parameters(config: str, tmp_path: Path) -> None:
    from kerascli.bench.torch_layers import Translation
    from kerascli.check import check

    path = Path(__file__).parents[2] / "configs" / f"{config}.yaml"
    found = check(path, ["dataset.limit=8"])
    runner._prepare(found, ["dataset.limit=8"], 1, tmp_path)
    job = read(tmp_path)
    net = Translation(job.nodes, job.outputs[0])
    # PyTorch's recurrent cells have two biases, which are added.
    extra = {"lstm_text": 400, "rnn_text": 50}.get(path.stem, 0)
    assert sum(p.numel() for p in net.parameters) == found.graph.count(trainable=True) + extra


def test_the_engine_that_is_through_first_is_recommended_and_plain_pytorch_is_no_engine() -> None:
    report = report_of(numpy=[10.0], keras_jax=[4.0], torch_=[0.1])
    for result, first in zip(report.results, (11.0, 100.0, 1.0, None), strict=True):
        result.first_epoch_seconds = first
    report.results[2].name = "torch"
    # 1,000 samples: numpy starts in 1 s and needs 100 more, JAX in 96 s and needs 40
    assert report.estimates() == {"numpy": 101, "keras-jax": 136}
    assert report.advice() == (
        "recommended here: --engine numpy: 20 epochs of 50 samples in about 2 min, with keras-jax in 2 min"
    )
    longer = dataclasses.replace(report, epochs=100)
    assert longer.facts()["recommended"] == "keras-jax"
    assert "KERAS_BACKEND=jax --engine keras: 100 epochs" in longer.advice()
    assert dataclasses.replace(report, results=[Result("numpy", "failed", 100)]).advice() == ""


def test_keras_sees_accelerators_unless_told_otherwise() -> None:
    assert runner._environment("keras-jax", True)["JAX_PLATFORMS"] == "cpu"
    assert runner._environment("keras-torch", True)["CUDA_VISIBLE_DEVICES"] == ""
    assert runner._environment("keras-torch", False).get("CUDA_VISIBLE_DEVICES") == os.environ.get(
        "CUDA_VISIBLE_DEVICES"
    )
