from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kerascli.sources import hdf5
from kerascli.sources.rows import Streamed
from tests.sources.helpers import fails, load, source


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.h5"
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def arrays(n: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x_train": rng.normal(size=(n, 3)), "y_train": np.arange(n) % 4}


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every array were large."""
    monkeypatch.setattr(hdf5, "KEPT", 0)


def test_default_names_make_the_splits(tmp_path: Path) -> None:
    data = arrays()
    save(tmp_path, **data, x_val=data["x_train"][:2], y_val=data["y_train"][:2], sample_weight_train=np.ones(20))
    found = load(tmp_path, type="hdf5", path="data.h5", test_split=0.1)
    assert found.validation is not None and found.test is not None
    assert [len(found.train), len(found.validation), len(found.test)] == [18, 2, 2]
    assert isinstance(found.train.inputs["x"], np.ndarray), "small arrays are kept in memory"
    np.testing.assert_allclose(found.train.inputs["x"], data["x_train"][:18], rtol=1e-6)
    assert found.train.sample_weight is not None and found.train.sample_weight.dtype == np.float32


@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 3)}, {"chunks": (7, 2), "compression": "gzip"}], ids=str)
def test_large_arrays_stay_in_the_file_and_give_the_same_rows(
    tmp_path: Path, streams: None, layout: dict[str, Any]
) -> None:
    data = arrays()
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("x_train", data=data["x_train"].astype(">f8"), **layout)
        file["y_train"] = data["y_train"]
    found = load(tmp_path, {"y": "one_hot"}, type="hdf5", path="data.h5", validation_split=0.25)
    x, y = found.train.inputs["x"], found.train.targets["y"]
    assert isinstance(x, Streamed) and isinstance(y, Streamed) and x.dtype == np.float32
    rows = np.array([14, 3, 4, 5, 3, 0])
    np.testing.assert_array_equal(x[rows], data["x_train"][rows].astype(np.float32))
    np.testing.assert_array_equal(y[rows], np.eye(4, dtype=np.float32)[rows % 4])
    assert found.validation is not None
    np.testing.assert_array_equal(found.validation.inputs["x"][1:3], data["x_train"][16:18].astype(np.float32))


def test_stratify_reorders_without_reading(tmp_path: Path, streams: None) -> None:
    data = arrays()
    data["y_train"] = np.sort(data["y_train"])
    save(tmp_path, **data)
    hdf5_source = source(type="hdf5", path="data.h5", validation_split=0.2, stratify=True)
    with fails("E406", "too large"):
        hdf5_source.load(tmp_path, 0)


def test_an_array_may_lie_in_a_group(tmp_path: Path) -> None:
    data = arrays()
    save(tmp_path, **{"train/images": data["x_train"], "train/labels": data["y_train"]})
    names = {"x_train": "train/images", "y_train": "train/labels"}
    assert len(load(tmp_path, type="hdf5", path="data.h5", **names).train) == 20
    with fails("E403", "no array `train/image`", "did you mean `train/images`?"):
        load(tmp_path, type="hdf5", path="data.h5", x_train="train/image", y_train="train/labels")


def test_nan_is_named_by_its_row_when_it_is_read(tmp_path: Path, streams: None) -> None:
    data = arrays()
    data["x_train"][13, 2] = np.nan
    save(tmp_path, **data)
    found = load(tmp_path, type="hdf5", path="data.h5")
    found.train.inputs["x"][:10]
    with fails("E404", "`x` of the train split has nan at [13, 2]"):
        found.train.inputs["x"][np.array([2, 13])]


def vlen_texts(file: h5py.File) -> None:
    file["x_train"] = np.array(["one", "two"], object)


def fixed_texts(file: h5py.File) -> None:
    file["x_train"] = np.array([b"one", b"two"])


def references(file: h5py.File) -> None:
    file["x_train"] = np.array([file.ref, file.ref], h5py.ref_dtype)


def link_to_another_file(file: h5py.File) -> None:
    file["x_train"] = h5py.ExternalLink("secret.h5", "/x")


def values_in_another_file(file: h5py.File) -> None:
    file.create_dataset("x_train", (2, 3), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2, 3))
    file.create_virtual_dataset("x_train", layout)


def compound(file: h5py.File) -> None:
    file["x_train"] = np.zeros(2, [("a", "f4"), ("b", "f4")])


def group(file: h5py.File) -> None:
    file["x_train/inside"] = np.zeros(2)


@pytest.mark.parametrize(
    ("make", "code", "word"),
    [
        (vlen_texts, "E402", "any length"),
        (fixed_texts, "E402", "not numbers"),
        (references, "E402", "any length"),
        (link_to_another_file, "E403", "no array `x_train`"),
        (values_in_another_file, "E402", "other files"),
        (virtual, "E402", "other files"),
        (compound, "E402", "not numbers"),
        (group, "E403", "it has `x_train/inside`"),
    ],
)
def test_what_is_no_plain_array_of_numbers_is_refused(
    tmp_path: Path, make: Callable[[h5py.File], None], code: str, word: str
) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        make(file)
        file["y_train"] = np.zeros(2)
    with fails(code, word):
        source(type="hdf5", path="data.h5").peek(tmp_path)


def test_bad_files_are_problems(tmp_path: Path) -> None:
    with fails("E401", "there is no file"):
        load(tmp_path, type="hdf5", path="data.h5")
    with fails("E401", "cannot read"):
        load(tmp_path, type="hdf5", path=".")
    path = save(tmp_path, **arrays())
    whole = path.read_bytes()
    path.write_bytes(b"not hdf5")
    with fails("E402", "no HDF5 file"):
        load(tmp_path, type="hdf5", path="data.h5")
    path.write_bytes(whole[: len(whole) // 2])
    with fails("E402", "damaged"):
        load(tmp_path, type="hdf5", path="data.h5")
    save(tmp_path, x_train=np.zeros((4, 2)), y_train=np.zeros(3))
    with fails("E403", "differ in length", "`x_train` 4"):
        load(tmp_path, type="hdf5", path="data.h5")


def test_a_chunk_damaged_later_is_said_when_it_is_read(tmp_path: Path, streams: None) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        random = np.random.default_rng(1).integers(0, 256, (8, 4000), np.uint8)
        file.create_dataset("x_train", data=random, chunks=(1, 4000), compression="gzip")
        file["y_train"] = np.zeros(8)
    found = load(tmp_path, type="hdf5", path="data.h5")
    path = tmp_path / "data.h5"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 4000] = bytes(4000)
    path.write_bytes(raw)
    with fails("E402", "damaged"):
        found.train.inputs["x"][:]


def test_the_fingerprint_of_a_large_file_tells_files_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_DIGESTED", 1000)
    monkeypatch.setattr(hdf5, "_BLOCK", 100)
    one = source(type="hdf5", path="data.h5")
    found = set()
    for change in range(3):
        data = arrays()
        data["x_train"] += change
        save(tmp_path, **data)
        found.add(one.load(tmp_path, 0).fingerprint)
    assert len(found) == 3
