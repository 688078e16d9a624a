from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.sources.helpers import fails, load, source

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx_bytes(values: np.ndarray) -> bytes:
    code = CODES[values.dtype.name]
    return (
        struct.pack(f">HBB{values.ndim}I", 0, code, values.ndim, *values.shape)
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def write(path: Path, values: np.ndarray) -> None:
    data = idx_bytes(values)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([0, 1, 2, 1, 0], np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_and_labels_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"i{suffix}", IMAGES)
    write(tmp_path / f"l{suffix}", LABELS)
    one = source(
        type="idx", images=f"i{suffix}", labels=f"l{suffix}", test_images=f"i{suffix}", test_labels=f"l{suffix}"
    )
    signature = one.peek(tmp_path)
    assert signature.inputs["x"].shape == (4, 3, 1) and signature.inputs["x"].dtype == "uint8"
    assert signature.targets["y"].classes == 3 and signature.sizes == {"train": 5, "test": 5}
    found = one.load(tmp_path, 0)
    np.testing.assert_array_equal(found.train.inputs["x"][..., 0], IMAGES)
    assert found.train.targets["y"].tolist() == LABELS.tolist()
    assert found.test is not None and len(found.test) == 5


@pytest.mark.parametrize("dtype", CODES)
def test_every_type_is_read_in_its_byte_order(tmp_path: Path, dtype: str) -> None:
    write(tmp_path / "i", IMAGES.astype(dtype))
    write(tmp_path / "l", LABELS)
    x = load(tmp_path, type="idx", images="i", labels="l").train.inputs["x"]
    np.testing.assert_array_equal(x[..., 0], IMAGES)
    assert x.dtype.isnative


def test_every_truncation_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "l", LABELS)
    for whole in (idx_bytes(IMAGES), gzip.compress(idx_bytes(IMAGES))):
        for cut in range(len(whole)):
            (tmp_path / "i").write_bytes(whole[:cut])
            with fails("E402", "damaged or no IDX file"):
                load(tmp_path, type="idx", images="i", labels="l")


def test_a_header_that_claims_more_than_can_be_there_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    head = struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**10)
    write(tmp_path / "l", LABELS)
    for data in (head, gzip.compress(head)):
        (tmp_path / "i").write_bytes(data)
        with fails("E402", "more than it can hold"):
            load(tmp_path, type="idx", images="i", labels="l")


def test_surplus_bytes_and_other_formats_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "l", LABELS)
    for data in (idx_bytes(IMAGES) + b"!", b"", b"PK\x03\x04 a zip file", b"\0\0\x07\x01" + b"\0" * 9):
        (tmp_path / "i").write_bytes(data)
        with fails("E402"):
            load(tmp_path, type="idx", images="i", labels="l")


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "i", IMAGES)
    write(tmp_path / "l", LABELS[:4])
    with fails("E403", "(5, 4, 3)", "(4,)"):
        source(type="idx", images="i", labels="l").peek(tmp_path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with fails("E401", "nowhere"):
        source(type="idx", images="nowhere", labels="l").peek(tmp_path)
