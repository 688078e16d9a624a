from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.sources.base import Dataset
from tests.sources.helpers import fails, load

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def read(folder: Path, columns: dict[str, Any], **config: Any) -> Dataset:
    pq.write_table(pa.table(columns), folder / "t.parquet", row_group_size=3)
    return load(folder, **{"type": "parquet", "path": "t.parquet", "target": "label", **config})


def test_columns_have_the_types_of_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "n": pa.array([1, None, 3, 5], pa.int16()),
            "price": [Decimal("1.50"), Decimal("2.50"), None, Decimal("3.50")],
            "when": [date(2031, 1, 1), date(2031, 1, 2), None, date(2032, 3, 4)],
            "at": [datetime(2031, 1, 1, 5), datetime(2031, 1, 1, 6), datetime(2031, 1, 1, 7), None],
            "town": pa.array(["Bonn", "Köln", None, "Bonn"]).dictionary_encode(),
            "label": ["x", "y", "x", "y"],
        },
    )
    assert [each.kind for each in found.preprocessing.features] == ["numeric", "numeric", "date", "date", "category"]
    assert found.preprocessing.features[3].model_dump()["parts"][-1] == "hour"
    assert found.preprocessing.features[4].model_dump()["categories"] == ("Bonn", "Köln")
    np.testing.assert_allclose(found.train.inputs["x"][:, 0], (np.array([1, 3, 3, 5]) - 3) / np.sqrt(2), atol=1e-6)


def test_row_groups_come_in_order_and_longer_tables_whole(tmp_path: Path) -> None:
    count = 9001
    found = read(
        tmp_path,
        {"a": np.arange(count), "label": np.arange(count) % 2, "unused": np.zeros(count)},
        features={"a": {"scale": "none"}},
    )
    np.testing.assert_array_equal(found.train.inputs["x"][:, 0], np.arange(count))


def test_lists_are_labels_and_nested_columns_no_features(tmp_path: Path) -> None:
    columns = {"a": [1.0, 2.0], "s": [{"b": 1}, {"b": 2}], "label": [["u", "v"], ["v"]]}
    found = read(tmp_path, columns, features={"s": "ignore"})
    assert found.train.targets["label"].tolist() == [[1, 1], [0, 1]]
    with fails("E408", "row 1, column `s`: an object cannot be a feature"):
        read(tmp_path, columns)


def test_a_damaged_or_absent_file_is_named(tmp_path: Path) -> None:
    read(tmp_path, {"a": [1.0, 2.0], "label": ["x", "y"]})
    whole = (tmp_path / "t.parquet").read_bytes()
    for cut in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t.parquet").write_bytes(whole[:cut])
        with fails("E402", "t.parquet"):
            load(tmp_path, type="parquet", path="t.parquet", target="label")
    garbled = whole[:4] + bytes(255 - byte for byte in whole[4:60]) + whole[60:]
    (tmp_path / "t.parquet").write_bytes(garbled)
    with fails("E402", "t.parquet"):
        load(tmp_path, type="parquet", path="t.parquet", target="label")
    with fails("E401", "no.parquet"):
        load(tmp_path, type="parquet", path="no.parquet", target="label")


def test_without_pyarrow_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, {"a": [1.0, 2.0], "label": ["x", "y"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with fails("E516", "pyarrow", 'pip install "kerascli[parquet]"'):
        load(tmp_path, type="parquet", path="t.parquet", target="label", limit=1)
