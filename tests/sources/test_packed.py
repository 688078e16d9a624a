"""What would be wide is kept short, in memory or in a file without a name, and served in the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.errors import Failure
from kerascli.sources import packed, ragged
from kerascli.sources.ragged import Ragged
from kerascli.sources.raw import read_split
from kerascli.sources.rows import Streamed
from tests.sources.helpers import load

NUMBERS = {"n": {"kind": "numeric"}, "c": {"kind": "category"}}
TEXT = {"kind": "text", "vocabulary": 20}
FEATURES: list[dict[str, Any]] = [
    {"text": {**TEXT, "output": "multi_hot"}, **NUMBERS, "other": {**TEXT, "output": "count"}},
    {"text": {**TEXT, "sequence_length": 4, "padding": "post", "truncating": "post"}},
    NUMBERS,
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """More rows than are read at a time; the rows of a class lie together."""
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.integers(30, size=rng.integers(0, 9))) for _ in range(5000)]
    rows = [f'"{text}",one two,{k % 9},{"abc"[k % 3]},{"xy"[k // 2500]}' for k, text in enumerate(texts)]
    (tmp_path / "t.csv").write_text("\n".join(["text,other,n,c,label", *rows]) + "\n")
    return tmp_path


def keep(monkeypatch: pytest.MonkeyPatch, wide: int, short: int) -> None:
    monkeypatch.setattr(packed, "KEPT", wide)
    monkeypatch.setattr(ragged, "KEPT", short)


@pytest.mark.parametrize("features", FEATURES, ids=["vectors", "sequences", "categories"])
def test_streamed_columns_are_those_in_memory(
    table: Path, features: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config: dict[str, Any] = {"type": "csv", "path": "t.csv", "target": "label", "features": features, "limit": 2000}
    config |= {"validation_split": 0.1, "test_split": 0.2, "stratify": True}
    whole = load(table, **config)
    for short in (1 << 26, 1000):
        keep(monkeypatch, 0, short)
        found = load(table, **config)
        for split, expected in ((found.train, whole.train), (found.validation, whole.validation)):
            assert split is not None and expected is not None
            x, rows = split.inputs["x"], np.array([3, 180, 3, 77])
            assert isinstance(x, Streamed) == ("text" in features) and isinstance(expected.inputs["x"], np.ndarray)
            np.testing.assert_array_equal(x[:], expected.inputs["x"])
            np.testing.assert_array_equal(x[rows], expected.inputs["x"][rows])
        again, _ = read_split(table / "t.csv", found.preprocessing, {})
        np.testing.assert_array_equal(np.sum(again.inputs["x"][:]), np.sum(every(table, config)))


def every(table: Path, config: dict[str, Any]) -> Any:
    parts = load(table, **{**config, "limit": None})
    return np.concatenate([split.inputs["x"][:] for split in (parts.train, parts.validation, parts.test) if split])


def test_wide_categories_become_wide_a_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, 0, 0)
    (tmp_path / "t.csv").write_text("c,label\n" + "".join(f"v{k % 40},{k % 2}\n" for k in range(200)))
    x = load(tmp_path, type="csv", path="t.csv", target="label").train.inputs["x"]
    assert isinstance(x, Streamed) and x.shape == (200, 41)
    assert x[:].sum() == 200 and x[np.array([7])].argmax() == sorted(f"v{k}" for k in range(40)).index("v7")


def test_rows_come_back_from_memory_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [np.arange(k, dtype=np.int32) for k in (3, 0, 5, 1)] * 30
    for kept in (1 << 20, 100, 0):
        monkeypatch.setattr(ragged, "KEPT", kept)
        found = Ragged(np.int32)
        for start in range(0, len(rows), 7):
            found.add(rows[start : start + 7])
        found.finish()
        assert len(found) == 120 and found.nbytes == 4 * sum(map(len, rows))
        for number, row in zip((119, 2, 1, 2), found.take(np.array([119, 2, 1, 2])), strict=True):
            np.testing.assert_array_equal(row, rows[number])


def test_a_disk_without_room_for_them_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "KEPT", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(Failure) as failure:
        Ragged(np.uint8).add([b"text"])
    assert failure.value.problems[0].code == "E501"
