from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerascli.errors import Span
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import Dataset, InputInfo
from kerascli.sources.raw import read_inputs, read_split
from tests.sources.helpers import fails, load, source
from tests.sources.test_csv import read_both_ways

ROWS: list[dict[str, Any]] = [
    {"age": 20, "town": "Bonn", "label": "yes"},
    {"age": 40.5, "town": None, "label": "no"},
    {"town": "Köln", "label": "yes", "further": 1},
    {"age": None, "town": "Bonn", "label": "no"},
]


def read(folder: Path, rows: Any = ROWS, **config: Any) -> Dataset:
    text = rows if isinstance(rows, str) else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "t.jsonl").write_text(text, "utf-8")
    return load(
        folder, **{"type": "jsonl", "path": "t.jsonl", "target": "label", "features": ["age", "town"], **config}
    )


def infos(preprocessing: Preprocessing) -> dict[str, InputInfo]:
    return {name: InputInfo(layout.shape, layout.dtype) for name, layout in preprocessing.inputs.items()}


def test_keys_are_columns_and_absent_ones_are_missing_values(tmp_path: Path) -> None:
    found = read(tmp_path, features={"age": {"scale": "none"}, "town": {}})
    np.testing.assert_allclose(
        found.train.inputs["x"], [[20, 1, 0, 0], [40.5, 0, 0, 1], [30.25, 0, 1, 0], [30.25, 1, 0, 0]]
    )
    assert found.train.targets["label"].tolist() == [1, 0, 1, 0]
    everything = read(tmp_path, features={})
    assert [each.name for each in everything.preprocessing.features] == ["age", "town", "further"]


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    rows = [{"zip": "01067", "label": "0"}, {"zip": "53111", "label": "1"}, {"zip": "null", "label": "1"}]
    found = read(tmp_path, rows, features={})
    assert found.preprocessing.features[0].model_dump()["categories"] == ("01067", "53111", "null")
    assert (
        found.train.targets["label"].tolist() == [0, 1, 1] and found.preprocessing.targets["label"].kind == "category"
    )
    split, _ = read_split(tmp_path / "t.jsonl", found.preprocessing, infos(found.preprocessing))
    assert split.targets["label"].tolist() == [0, 1, 1]


def test_true_and_false_are_two_categories_and_two_classes(tmp_path: Path) -> None:
    found = read(tmp_path, [{"a": True, "label": False}, {"a": False, "label": True}], features={})
    assert found.train.inputs["x"].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert found.preprocessing.targets["label"].class_names == ("false", "true")


def test_lists_of_labels_become_a_place_each(tmp_path: Path) -> None:
    rows = [{"a": 1, "label": ["red", "round"]}, {"a": 2, "label": []}, {"a": 3, "label": ["big; wide", 7]}]
    found = read(tmp_path, rows, features={})
    assert found.preprocessing.targets["label"].class_names == ("7", "big; wide", "red", "round")
    assert found.train.targets["label"].tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("text", "code", "words", "place"),
    [
        ("", "E407", ["is empty", "an object a line"], None),
        ('{"age": 1, "label": "x"}\n{"age": 2,}\n', "E407", ["line 2 is no JSON"], (2, 11)),
        ("[1, 2]\n", "E407", ["line 1 is no JSON object: `[1, 2]`"], (1, 1)),
        ('[\n{"age": 1}\n]\n', "E407", ["line 1 is no JSON"], None),
        ("[" * 100_000 + "\n", "E407", ["lists in lists"], (1, 1)),
        ('{"age": 1' + "0" * 5000 + ', "label": "x"}\n', "E407", ["a number too long"], (1, 1)),
        ('{"age": 1, "label": "x"}\n{"age": "2", "label": "y"}', "E408", ["row 2, column `age`: a text"], (2, 1)),
        ('{"age": {"years": 1}, "label": "x"}\n', "E408", ["row 1, column `age`: an object", "ignore"], (1, 1)),
        ('{"age": [1], "label": "x"}\n{"age": [2], "label": "y"}\n', "E408", ["a list cannot be a feature"], (1, 1)),
        ('{"age": Infinity, "label": "x"}\n{"age": 1, "label": "y"}', "E404", ["row 1, column `age`: inf"], (1, 1)),
        ('{"age": 1, "label": "x"}\n\n{"age": 1, "label": null}\n{"age": 2, "label": "y"}', "E408", ["row 2"], (3, 1)),
        ('{"age": 1, "lable": "x"}\n', "E409", ["no column `label`", "did you mean `lable`?"], None),
    ],
)
def test_faulty_lines_are_named(
    tmp_path: Path, text: str, code: str, words: list[str], place: tuple[int, int] | None
) -> None:
    with fails(code, *words) as problems:
        read(tmp_path, text, features={})
    where = problems[0].where
    assert place is None or (isinstance(where, Span) and (where.line, where.column) == place)


def test_a_column_that_is_ignored_may_hold_anything(tmp_path: Path) -> None:
    rows = [{"a": 1, "odd": {"b": 1}, "label": "x"}, {"a": 2, "odd": [1], "label": "y"}]
    assert read(tmp_path, rows, features={"odd": "ignore"}).train.inputs["x"].shape == (2, 1)


def test_mixed_types_are_categories_where_the_spec_says_so(tmp_path: Path) -> None:
    rows = [{"a": 1, "label": "x"}, {"a": "one", "label": "y"}, {"a": 1.0, "label": "y"}]
    found = read(tmp_path, rows, features={"a": "category"})
    assert found.preprocessing.features[0].model_dump()["categories"] == ("1", "one")


def test_objects_are_predicted_and_evaluated_in_order(tmp_path: Path) -> None:
    fitted = read(tmp_path).preprocessing
    said: list[str] = []
    lines = '{"town": "Ulm", "age": 30.25}\n{"age": 20}\n'
    blocks = list(read_inputs(["-"], fitted, infos(fitted), say=said.append, stdin=io.StringIO(lines)))
    assert np.concatenate([block["x"] for block in blocks])[:, 1:].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert said == ["column `town`: 1 value that training never showed (`Ulm` 1×)"]
    (tmp_path / "new.jsonl").write_text('{"agee": 3}\n')
    with fails("E409", "there are no columns `age`, `town`", "`agee`"):
        list(read_inputs([str(tmp_path / "new.jsonl")], fitted, infos(fitted)))
    (tmp_path / "new.jsonl").write_text('{"agee": 3, "town": "Ulm"}\n' * 2)
    said.clear()
    list(read_inputs([str(tmp_path / "new.jsonl")], fitted, infos(fitted), say=said.append))
    assert any("column `age` has no value" in text for text in said)
    (tmp_path / "new.jsonl").write_text('{"age": "3", "town": "Ulm"}\n')
    with fails("E408", 'row 1, column `age`: `"3"` is not a number'):
        list(read_inputs([str(tmp_path / "new.jsonl")], fitted, infos(fitted)))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.lists(st.fixed_dictionaries({}, optional={"a": JSON, "b": JSON, "label": JSON}), max_size=6).map(
            lambda rows: "\n".join(map(json.dumps, rows)).encode()
        ),
        st.binary(max_size=60),
        st.text(alphabet='{}[]",:ab1 \n', max_size=60).map(str.encode),
    )
)
def test_any_lines_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.jsonl").write_bytes(data)
    read_both_ways(source(type="jsonl", path="t.jsonl", target="label"), tmp_path)
