"""Data that stay in their files train to the same bits as data in memory, in memory that does not grow with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kerascli import api, feed
from kerascli.check import check
from kerascli.engine.readers import start_readers
from kerascli.engine.team import forks
from kerascli.errors import Failure, Problem
from kerascli.run import Run
from kerascli.runner import Averages
from kerascli.sources import hdf5
from kerascli.stored import Stored
from kerascli.training import Silence
from tests.reliability.test_resume import assert_same
from tests.sources.helpers import fails
from tests.trained import lesson

SPEC = """
seed: 3
dataset: {type: hdf5, path: data.h5, validation_split: 0.2}
layers:
  - {type: Rescaling, scale: 0.004}
  - Normalization
  - {type: Conv2D, filters: 4, kernel_size: 3, activation: relu}
  - BatchNormalization
  - Flatten
  - {type: Dropout, rate: 0.3}
  - {type: Dense, units: 3, activation: softmax}
loss: categorical_crossentropy
metrics: [accuracy]
weighted_metrics: [AUC]
optimizer: adam
training: {epochs: 3, batch_size: 32}
"""
KINDS = [pytest.param(True, marks=pytest.mark.skipif(not forks(), reason="nothing forks here")), False]


def write(folder: Path, samples: int = 250) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(samples) % 3
    with h5py.File(folder / "data.h5", "w") as file:
        file["x_train"] = (rng.integers(0, 90, (samples, 6, 6, 2)) + 60 * y[:, None, None, None]).astype(np.uint8)
        file["y_train"] = y
        file["x_test"], file["y_test"] = file["x_train"][:40], file["y_train"][:40]
        file["sample_weight_train"] = rng.random(samples)


def spec(folder: Path, text: str = SPEC) -> Path:
    write(folder)
    (folder / "spec.yaml").write_text(text)
    return folder / "spec.yaml"


@pytest.mark.parametrize("processes", KINDS, ids=["processes", "threads"])
@pytest.mark.parametrize(("workers", "kept"), [(1, 0), (3, 0), (3, feed.KEPT)])
def test_streamed_data_train_to_the_bits_of_data_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, kept: int, processes: bool
) -> None:
    write(tmp_path)
    whole = lesson(SPEC, tmp_path)
    expected = whole.fit()
    monkeypatch.setattr(hdf5, "KEPT", 0)
    monkeypatch.setattr(feed, "KEPT", kept)
    streamed = lesson(SPEC, tmp_path, workers, processes)
    found = streamed.fit()
    assert streamed.logs == whole.logs
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


class Stop(Silence):
    """Ends the process's training at a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.left = step

    def batch_end(self, step: int, averages: Averages) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [3, 10])
def test_a_streamed_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    path = spec(tmp_path)
    whole = api.train(check(path), tmp_path / "whole", threads=1).run
    monkeypatch.setattr(hdf5, "KEPT", 0)
    with pytest.raises(api.Interrupted) as stopped:
        api.train(check(path), tmp_path / "parts", threads=2, progress=Stop(step), save_every=0.0)
    run = Run.open(Path(str(stopped.value)))
    api.resume(run, api.checked_again(run), threads=2)
    assert_same(run.path, whole)


def test_evaluation_streams_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = api.train(check(spec(tmp_path)), tmp_path, threads=1).run
    expected = json.loads((run / "metrics.json").read_text())
    monkeypatch.setattr(hdf5, "KEPT", 0)
    for split in ("test", "validation"):
        assert api.evaluate(Stored(run), split, threads=2) == (split, expected[split])


@pytest.mark.parametrize("bad", ["nan", "class", "file"])
def test_what_is_wrong_with_a_sample_is_said_when_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setattr(hdf5, "KEPT", 0)
    path = spec(tmp_path, SPEC.replace("categorical", "sparse_categorical").replace("weighted_metrics: [AUC]", ""))
    checked = check(path)
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        if bad == "nan":
            x = file["x_train"][()].astype(np.float32)
            x[101, 2, 3, 1] = np.inf
            del file["x_train"]
            file["x_train"] = x
        elif bad == "class":
            file["y_train"][101] = 3
    if bad == "file":
        (tmp_path / "data.h5").write_bytes(b"")
    words = {"nan": "E404 inf at [101, 2, 3, 1]", "class": "E405 row 102 has class 3", "file": "E402 damaged"}[bad]
    with fails(*words.split(" ", 1)):
        api.train(checked, tmp_path / "runs", threads=2)
    (facts,) = (json.loads(p.read_text()) for p in tmp_path.glob("runs/*/run.json"))
    assert facts["status"] == "failed"


@pytest.mark.parametrize("processes", KINDS, ids=["processes", "threads"])
def test_readers_report_in_any_order_that_is_asked_for(processes: bool) -> None:
    def fill(slot: int, rows: int) -> None:
        if rows == 7:
            raise Failure(Problem("E402", f"slot {slot}", Path("some/file"), help="mend it"))
        if rows == 8:
            raise ZeroDivisionError

    readers = start_readers(2, [fill], processes)
    asked = [readers.ask(k % 2, 0, k, rows) for k, rows in enumerate([1, 2, 7, 3, 8, 7])]
    with fails("E402", "slot 5", "mend it") as problems:
        readers.wait(asked[5])
    assert problems[0].where == Path("some/file")
    readers.wait(asked[3])
    with fails("E402", "slot 2"):
        readers.wait(asked[2])
    readers.wait(asked[0])
    readers.wait(asked[1])
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        readers.wait(asked[4])
    readers.close()
    readers.close()


@pytest.mark.skipif(not forks(), reason="nothing forks here")
def test_a_reader_that_is_killed_is_missed() -> None:
    readers = start_readers(1, [lambda slot, rows: os.kill(os.getpid(), 9)], True)
    with fails("E508", "signal 9"):
        readers.wait(readers.ask(0, 0, 0, 1))
    readers.close()


LARGE = """
import h5py, json, os, sys
from pathlib import Path
import numpy as np
from kerascli import api
from kerascli.check import check
from kerascli.stored import Stored
from kerascli.training import Silence

def resident():
    pages = [Path(f"/proc/{pid}/statm").read_text().split() for pid in [os.getpid(), *children()]]
    return [(int(page[1]) - int(page[2])) * os.sysconf("SC_PAGESIZE") >> 20 for page in pages]  # without what is shared

def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

class Watch(Silence):
    def __init__(self):
        self.seen = []
    def epoch_end(self, *figures):
        self.seen.append(max(resident()))

folder = Path(sys.argv[1])
watch = Watch()
api.train(check(folder / "spec.yaml"), folder, threads=2, progress=watch)
print(json.dumps(watch.seen))
"""


def hdf5_file(folder: Path) -> str:
    """315 MB of images."""
    samples, sample = 1600, np.arange(256 * 256 * 3).astype(np.uint8).reshape(256, 256, 3)
    with h5py.File(folder / "data.h5", "w", libver="latest") as file:
        x = file.create_dataset("x_train", (samples, 256, 256, 3), "u1", chunks=(1, 256, 256, 3), compression=1)
        for row in range(0, samples, 50):
            x[row] = sample * (row % 3)  # rows that are not written are zeros, and take no room in the file
        file["y_train"] = np.arange(samples) % 3
    return "dataset: {type: hdf5, path: data.h5}\nlayers: [{type: CenterCrop, height: 4, width: 4}, Flatten, "


def image_folder(folder: Path) -> str:
    """As many images, in files of two pictures."""
    Image = pytest.importorskip("PIL.Image")
    for name in "abc":
        (folder / "data" / name).mkdir(parents=True)
    for number in range(1600):
        path = folder / "data" / "abc"[number % 3] / f"{number}.png"
        if number < 2:
            Image.fromarray(np.full((256, 256, 3), 90 * number, np.uint8)).save(path, compress_level=1)
        else:
            path.hardlink_to(folder / "data" / "abc"[number % 2] / f"{number % 2}.png")
    dataset = "{type: image_folder, path: data, image_size: 256}"
    return f"dataset: {dataset}\nlayers: [{{type: CenterCrop, height: 4, width: 4}}, Flatten, "


def table(folder: Path) -> str:
    """320 MB of numbers, made of the words of 8,000 texts."""
    words = np.random.default_rng(0).integers(12_000, size=(8_000, 12)).tolist()
    rows = [f"{' '.join(f'w{word}' for word in row)},{'abc'[number % 3]}\n" for number, row in enumerate(words)]
    (folder / "data.csv").write_text("".join(["text,label\n", *rows]))
    feature = "{kind: text, vocabulary: 10000, output: multi_hot}"
    return f"dataset: {{type: csv, path: data.csv, target: label, features: {{text: {feature}}}}}\nlayers: ["


@pytest.mark.skipif(not Path("/proc/self/statm").exists() or not forks(), reason="memory is read from /proc")
@pytest.mark.parametrize("write", [hdf5_file, image_folder, table])
def test_memory_holds_a_few_batches_of_data_several_times_its_size(
    write: Callable[[Path], str], tmp_path: Path
) -> None:
    """No process has a third of the data for itself, nor more in the last epoch than in the first."""
    (tmp_path / "spec.yaml").write_text(
        f"{write(tmp_path)}{{type: Dense, units: 3}}]\n"
        "loss: {type: SparseCategoricalCrossentropy, from_logits: true}\n"
        "training: {epochs: 2, batch_size: 32}\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert max(seen) < 105 and seen[-1] <= seen[0] + 16, seen  # a reader may hold two batches at that moment


def test_a_training_goes_on_once_the_image_that_ended_it_is_mended(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for number in range(12):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 30, 3), 20 * number, np.uint8) ^ np.arange(30, dtype=np.uint8)[:, None]).save(path)
    bad = tmp_path / "data" / "b" / "3.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-30])
    (tmp_path / "spec.yaml").write_text(
        "dataset: {type: image_folder, path: data, image_size: 8}\nlayers: [Flatten, {type: Dense, units: 2}]\n"
        "loss: {type: SparseCategoricalCrossentropy, from_logits: true}\ntraining: {epochs: 2, batch_size: 4}\n"
    )
    with fails("E402", "3.png", "truncated", "mend or remove the file; then go on with `kerascli train --resume"):
        api.train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1)
    (folder,) = (tmp_path / "runs").glob("*")
    other = tmp_path / "data" / "a" / "2.png"
    before = other.read_bytes()
    bad.write_bytes(whole)
    other.write_bytes(whole)
    with fails("E513", "are not those that the run was trained on"):
        api.resume(Run.open(folder), api.checked_again(Run.open(folder)), threads=1)
    other.write_bytes(before)
    api.resume(Run.open(folder), api.checked_again(Run.open(folder)), threads=1)
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "completed" and "unread" not in facts
    assert facts["data_wait"]["seconds"] > 0 and 0 < facts["data_wait"]["share"] <= 1


WORDS = """
dataset: {type: npz, path: words.npz}
layers:
  - {type: Input, name: x, shape: [1], dtype: string}
  - {type: TextVectorization, max_tokens: 9, output_mode: multi_hot}
  - {type: Dense, units: 2, activation: softmax}
loss: sparse_categorical_crossentropy
training: {epochs: 2, batch_size: 16}
"""


def test_what_a_layer_makes_of_texts_may_be_made_a_batch_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    texts = np.array([[" ".join(f"w{k}" for k in rng.integers(12, size=5))] for _ in range(90)])
    np.savez(tmp_path / "words.npz", x_train=texts, y_train=np.arange(90) % 2)
    whole = lesson(WORDS, tmp_path)
    expected = whole.fit()
    monkeypatch.setattr(feed, "MOST_SERVED", 0)
    monkeypatch.setattr(feed, "Held", None)  # nothing is held
    parts = lesson(WORDS, tmp_path, 2)
    found = parts.fit()
    assert parts.logs == whole.logs
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
