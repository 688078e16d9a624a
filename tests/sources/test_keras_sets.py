"""Keras's downloadable sets: files of their exact form, small, in a cache of the test's own; Keras reads them alike."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.downloads import OFFLINE
from kerascli.sources import keras_sets, keras_texts
from kerascli.sources.download import cache
from tests.sources.helpers import fails, load, source


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    return tmp_path / "keras" / "datasets"


def keep(kind: Any, data: bytes, monkeypatch: pytest.MonkeyPatch, rows: dict[str, int] | None = None) -> None:
    """Put the set's only file into the cache, and let its digest be the right one."""
    remote = kind.remotes[0]
    remote.path.write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    monkeypatch.setattr(kind, "remotes", (replace(remote, digest=digest),))
    if rows:
        monkeypatch.setattr(kind, "about", replace(kind.about, rows=rows))


def ragged(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lists = np.empty(count, object)
    for k in range(count):
        lists[k] = [int(n) for n in rng.integers(1, 60, rng.integers(2, 20))]
    return lists


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def reviews() -> dict[str, np.ndarray]:
    labels = np.arange(40) % 2
    return {"x_train": ragged(40, 1), "y_train": labels, "x_test": ragged(30, 2), "y_test": labels[:30]}


def keras_path(path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> Any:
    """Keras's own reader, on our file."""
    import importlib

    found = importlib.import_module(f"keras.src.datasets.{module}")
    monkeypatch.setattr(found, "get_file", lambda *args, **kwargs: str(path))
    return found


CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_words": 30},
    {"num_words": 40, "skip_top": 8, "maxlen": 15},
    {"start_char": None, "index_from": 0, "oov_char": None, "num_words": 20, "seed": 4},
    {"start_char": None, "index_from": 2, "num_words": 25},
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_texts_are_the_numbers_that_keras_gives(
    config: dict[str, Any], padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    keep(keras_texts.Imdb, npz(**reviews()), monkeypatch, {"train": 40, "test": 30})
    theirs = keras_path(keras_texts.Imdb.remotes[0].path, monkeypatch, "imdb").load_data(**config)
    cuts: dict[str, Any] = {"padding": padding, "truncating": padding}
    ours = source(type="imdb", sequence_length=9, **cuts, **config).load(Path(), 0)
    for split, (x, y) in zip((ours.train, ours.test), theirs, strict=True):
        assert split is not None
        wanted = keras.utils.pad_sequences(x, 9, **cuts)
        np.testing.assert_array_equal(split.inputs["x"], wanted)
        np.testing.assert_array_equal(split.targets["y"], y)


def test_reuters_is_cut_as_keras_cuts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(keras_texts.Reuters, npz(x=ragged(53, 3), y=np.arange(53) % 46), monkeypatch, {"train": 53})
    theirs = keras_path(keras_texts.Reuters.remotes[0].path, monkeypatch, "reuters").load_data(num_words=30)
    ours = load(Path(), type="reuters", num_words=30, target_encoding="integer")
    assert ours.train.inputs["x"].shape[1] == max(len(x) for split in theirs for x in split[0])
    for split, (x, y) in zip((ours.train, ours.test), theirs, strict=True):
        assert split is not None
        assert [row[row > 0].tolist() for row in split.inputs["x"]] == [list(words) for words in x]
        np.testing.assert_array_equal(split.targets["y"], y)


@pytest.mark.parametrize("name", ["california_housing", "boston_housing"])
def test_houses_come_in_keras_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = keras_sets.CaliforniaHousing if name.startswith("cal") else keras_sets.BostonHousing
    count, rng = kind.about.rows["train"], np.random.default_rng(0)
    keep(kind, npz(x=rng.normal(size=(count, kind.columns)), y=rng.normal(size=count)), monkeypatch)
    (x, y), (x_test, y_test) = keras_path(kind.remotes[0].path, monkeypatch, name).load_data(test_split=0.3)
    ours = load(Path(), type=name, test_split=0.3)
    assert ours.test is not None
    np.testing.assert_array_equal(ours.train.inputs["x"], x.astype(np.float32))
    np.testing.assert_array_equal(ours.train.targets["y"], y.astype(np.float32))
    np.testing.assert_array_equal(ours.test.inputs["x"], x_test.astype(np.float32))
    np.testing.assert_array_equal(ours.test.targets["y"], y_test.astype(np.float32))


def archive(files: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, value in files.items():
            data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=4)
            info = tarfile.TarInfo(f"cifar/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def images(count: int, seed: int, key: bytes) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {b"data": rng.integers(0, 256, (count, 3072), np.uint8), key: [int(n) for n in rng.integers(0, 10, count)]}


def test_cifar_images_have_their_colours_last(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = {f"data_batch_{k}": images(3, k, b"labels") for k in range(1, 6)}
    test = images(4, 9, b"labels")
    keep(keras_sets.Cifar10, archive({**batches, "test_batch": test}), monkeypatch, {"train": 15, "test": 4})
    found = load(Path(), type="cifar10", target_encoding="integer")
    assert found.test is not None and found.train.inputs["x"].shape == (15, 32, 32, 3)
    first = batches["data_batch_1"][b"data"][0]
    np.testing.assert_array_equal(found.train.inputs["x"][0, :, :, 2].ravel(), first[2048:])
    np.testing.assert_array_equal(found.test.targets["y"], test[b"labels"])
    coarse = {"train": images(6, 1, b"coarse_labels"), "test": images(2, 2, b"coarse_labels")}
    keep(keras_sets.Cifar100, archive(coarse), monkeypatch, {"train": 6, "test": 2})
    assert len(load(Path(), type="cifar100", label_mode="coarse").train) == 6


class Payload:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/kerascli-was-here",)


@pytest.mark.parametrize("hostile", [Payload(), {b"data": Payload()}, [Payload()]])
def test_a_pickle_may_hold_arrays_and_nothing_else(hostile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(keras_sets.Cifar100, archive({"train": hostile, "test": hostile}), monkeypatch, {"train": 1, "test": 1})
    with fails("E402", "holds `posix.mkdir`", "delete it"):
        load(Path(), type="cifar100")
    assert not Path("/tmp/kerascli-was-here").exists()


def test_fashion_mnist_is_read_from_its_four_files(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"train": 5, "test": 3}
    monkeypatch.setattr(keras_sets.FashionMnist, "about", replace(keras_sets.FashionMnist.about, rows=rows))
    rng = np.random.default_rng(0)
    for remote, count in zip(keras_sets.FashionMnist.remotes, (5, 5, 3, 3), strict=True):
        shape = (count, 28, 28) if "images" in remote.name else (count,)
        values = rng.integers(0, 10, shape).astype(np.uint8)
        head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        remote.path.parent.mkdir(exist_ok=True)
        remote.path.write_bytes(gzip.compress(head + values.tobytes()))
    found = load(Path(), type="fashion_mnist")
    assert found.train.inputs["x"].shape == (5, 28, 28, 1) and found.test is not None and len(found.test) == 3


def test_shapes_are_known_before_anything_is_fetched() -> None:
    token = OFFLINE.set(True)
    try:
        for name in ("cifar10", "cifar100", "fashion_mnist", "california_housing", "boston_housing"):
            assert source(type=name).peek(Path()).sizes["train"]
        found = source(type="imdb", num_words=5000, sequence_length=80).peek(Path())
        assert found.inputs["x"].shape == (80,) and found.sizes == {"train": 25_000, "test": 25_000}
        with fails("E411", "--offline", "kerascli datasets fetch"):
            load(Path(), type="cifar10")
    finally:
        OFFLINE.reset(token)
    assert not any(cache().iterdir())


def test_every_set_says_what_it_is_and_comes_over_https() -> None:
    for kind in (keras_sets.FashionMnist, keras_sets.Cifar10, keras_texts.Imdb, keras_texts.Reuters):
        assert kind.about.licence and all(remote.url.startswith("https://") for remote in kind.remotes)
