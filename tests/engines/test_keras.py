"""The engine keras: the figures of our own engine, the same run, either engine's state, devices and hosts."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from kerascli import keras_backend
from kerascli.api import Outcome, checked_again, evaluate, resume, train
from kerascli.check import check
from kerascli.engines.cluster import Cluster, cluster
from kerascli.errors import Failure, Span
from kerascli.run import History, Run
from kerascli.runner import Averages
from kerascli.stored import Stored
from kerascli.trainer import Interrupted
from kerascli.training import Silence
from kerascli.verify import verify
from tests.cli.session import start

pytest.importorskip("keras")

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""For processes that compile more than they compute."""
CONFIGS = Path(__file__).parents[2] / "configs"
VECTORS = "{type: synthetic, kind: classification, samples: 330, shape: [20], classes: 3, validation_split: 0.2}"
TOKENS = "{type: synthetic, kind: sequences, samples: 100, shape: [5], vocabulary: 30, validation_split: 0.2}"
MLP = f"""
seed: 3
dataset: {VECTORS}
layers:
  - {{type: Dense, units: 12, activation: relu, kernel_regularizer: l2, kernel_constraint: MaxNorm}}
  - BatchNormalization
  - {{type: Dense, units: 3, activation: softmax}}
loss: categorical_crossentropy
metrics: [accuracy, TruePositives, {{type: F1Score, average: null}}, AUC]
weighted_metrics: [accuracy]
optimizer: {{type: SGD, momentum: 0.9, learning_rate: 0.05, clipnorm: 0.5, use_ema: true, ema_momentum: 0.9}}
training: {{epochs: 3, batch_size: 40, class_weight: balanced}}
callbacks: [{{type: ReduceLROnPlateau, patience: 0, min_delta: 9.0}}, {{type: SwapEMAWeights}}]
"""
CALM = f"""
seed: 3
dataset: {VECTORS}
layers:
  - {{type: Dense, units: 8, activation: relu}}
  - {{type: GaussianNoise, stddev: 0.00001}}
  - {{type: Dense, units: 3}}
loss: {{type: SparseCategoricalCrossentropy, from_logits: true}}
metrics: [accuracy]
optimizer: {{type: Adam, learning_rate: 0.01}}
training: {{epochs: 3, batch_size: 22}}
"""
"""With noise that changes the last digits alone."""
STATEFUL = """
dataset: {type: synthetic, kind: sequences, samples: 100, shape: [5], vocabulary: 30}
layers:
  - {type: Embedding, input_dim: 30, output_dim: 4}
  - {type: Bidirectional, layer: {type: LSTM, units: 3, stateful: true}}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
training: {batch_size: 20}
"""


def trained(text: str, folder: Path, engine: str, name: str, *settings: str, **how: Cluster | Silence) -> Outcome:
    """A run of its own for each name."""
    spec = folder / "spec.yaml"
    spec.write_text(text)
    checked = check(spec, [f"training.engine={engine}", *settings])
    return train(checked, folder / name, threads=1, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Most runs here have the same steps: what JAX has compiled for one serves the next."""
    import jax

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    yield
    jax.config.update("jax_compilation_cache_dir", None)


def figures(run: Path) -> list[Mapping[str, float | None]]:
    """The history without the seconds."""
    rows = History.load(run / "history.csv").rows
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights(run: Path) -> Mapping[str, np.ndarray]:
    return Stored(run).weights()


def assert_close(found: Sequence[Mapping[str, float | None]], wanted: Sequence[Mapping[str, float | None]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-4, rel=1e-5)


def test_both_engines_come_to_the_same_figures_and_write_the_same_files(tmp_path: Path) -> None:
    text = (CONFIGS / "two_outputs.yaml").read_text().replace("path: ", f"path: {CONFIGS}/")
    few = ("dataset.limit=66", "training.epochs=3", "training.batch_size=22", "expect={}")
    ours, theirs = (trained(text, tmp_path, engine, engine, *few) for engine in ("numpy", "keras"))
    assert_close(figures(theirs.run), figures(ours.run))
    for split, logs in ours.metrics.items():
        assert theirs.metrics[split] == pytest.approx(logs, abs=1e-4, rel=1e-5)
    assert [p.name for p in sorted(theirs.run.iterdir())] == [p.name for p in sorted(ours.run.iterdir())]
    facts = json.loads((theirs.run / "run.json").read_text())
    assert (facts["engine"], facts["backend"], facts["devices"]) == ("keras", "jax", 1)
    assert {"keras", "jax", "numpy"} <= set(facts["versions"])
    split, again = evaluate(Stored(theirs.run))
    assert again == pytest.approx(theirs.metrics[split], abs=1e-4, rel=1e-5)
    for path, array in weights(ours.run).items():
        np.testing.assert_allclose(weights(theirs.run)[path], array, atol=1e-4, rtol=1e-5)


class Stopping(Silence):
    """Types Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def batch_end(self, step: int, averages: Averages) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def broken_off(text: str, folder: Path, engine: str, name: str) -> Run:
    """A run that Ctrl-C ended within its second epoch."""
    with pytest.raises(Interrupted) as stop:
        trained(text, folder, engine, name, progress=Stopping(15))
    run = Run.open(Path(str(stop.value)))
    assert run.status == "interrupted" and len(figures(run.path)) == 1
    return run


def test_a_run_goes_on_with_either_engine(tmp_path: Path) -> None:
    whole = trained(CALM, tmp_path, "keras", "whole")
    ours, theirs = (broken_off(CALM, tmp_path, engine, engine) for engine in ("numpy", "keras"))
    moved = Run.open(shutil.copytree(theirs.path, tmp_path / "moved"))
    for run, after in ((ours, "keras"), (moved, "numpy"), (theirs, "keras")):
        outcome = resume(run, checked_again(run, settings=[f"training.engine={after}"]), threads=1)
        assert_close(figures(outcome.run), figures(whole.run))
        assert json.loads((run.path / "run.json").read_text())["engine"] == after
    (told,) = verify(Run.open(moved.path), threads=1).circumstances
    assert told == "engine numpy, was keras then numpy"
    assert figures(theirs.path) == figures(whole.run), "with random numbers, to the last bit"
    assert all((weights(theirs.path)[path] == array).all() for path, array in weights(whole.run).items())
    assert figures(moved.path) != figures(whole.run), "or the noise shows nothing"


def test_two_devices_come_to_the_figures_of_one(tmp_path: Path) -> None:
    """With batches that cannot be halved at the end of an epoch and of the validation."""
    text = MLP.replace("samples: 330", "samples: 331")
    one = trained(text, tmp_path, "numpy", "one")
    two = trained(text, tmp_path, "keras", "two", cluster=Cluster(devices=2))
    assert_close(figures(two.run), figures(one.run))
    assert json.loads((two.run / "run.json").read_text())["devices"] == 2


def test_two_hosts_come_to_the_figures_of_one_and_the_first_writes_the_run(tmp_path: Path) -> None:
    one = trained(CALM, tmp_path, "numpy", "one", "training.epochs=2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ("train", "spec.yaml", "--engine", "keras", "--hosts", f"{address},{address}", "--set", "training.epochs=2")
    hosts = [start(*words, "--host", str(number), "--json", folder=tmp_path, XLA_FLAGS=QUICK) for number in range(2)]
    said = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads(said[0][0])["run"] == str(run.relative_to(tmp_path)) and not said[1][0]
    assert figures(run) == [pytest.approx(row, abs=1e-5) for row in figures(one.run)]
    assert json.loads((run / "run.json").read_text())["devices"] == 2


def test_what_is_missing_is_told_with_the_command_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> str:
        with pytest.raises(Failure) as failure:
            trained(CALM, tmp_path, "keras", "runs")
        (problem,) = failure.value.problems
        assert problem.where is not None
        return f"{problem.code} {problem.message}: {problem.help}"

    monkeypatch.setenv("KERAS_BACKEND", "theano")
    assert "E518 `KERAS_BACKEND` is `theano`, and the engine `keras` trains on jax, tensorflow, torch" in told()
    monkeypatch.setattr(keras_backend, "_installed", lambda name: name != "torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert "E516 `KERAS_BACKEND` is `torch`, which is not installed: `pip install torch`" in told()
    monkeypatch.setattr(keras_backend, "_installed", lambda name: name != "keras")
    assert 'which is not installed: `pip install "kerascli[keras]"`' in told()
    assert not (tmp_path / "runs").exists()


def test_a_layer_that_the_backend_cannot_train_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        trained(STATEFUL, tmp_path, "keras", "runs")
    (problem,) = failure.value.problems
    assert isinstance(problem.where, Span) and problem.where.line == 5
    assert "is stateful, and Keras forgets on JAX" in problem.message and not (tmp_path / "runs").exists()


def test_devices_and_hosts_that_cannot_be_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text(CALM)
    ours, theirs = (check(tmp_path / "spec.yaml", [f"training.engine={e}"]) for e in ("numpy", "keras"))

    def told(checked: object, where: Cluster) -> str:
        with pytest.raises(Failure) as failure:
            train(checked, tmp_path / "runs", cluster=where)  # type: ignore[arg-type]
        return f"{failure.value}: {failure.value.problems[0].help}"

    assert "add `--engine keras`" in told(ours, Cluster(devices=2))
    assert "batches of 22 cannot be dealt out evenly to 4 devices: write `batch_size: 24`" in told(theirs, Cluster(4))
    for hosts, host in (("10.0.0.1", 0), ("10.0.0.1:1", None), ("10.0.0.1:1", 1), (None, 0)):
        with pytest.raises(Failure):
            cluster(theirs.loaded, None, hosts, host)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "10.0.0.1:9")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "3")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "2")
    found = cluster(theirs.loaded)
    assert (len(found.hosts), found.host, found.writes) == (3, 2, False)
    assert cluster(ours.loaded).single
    assert "keras" in sys.modules, "or the tests above have shown nothing"
