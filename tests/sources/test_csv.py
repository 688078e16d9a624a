from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kerascli.errors import Failure, Span
from kerascli.sources.base import Dataset, Source
from tests.sources.helpers import fails, load, source

TABLE = """age,sex,town,label
20,m,Bonn,yes
40,f,Köln,no
NA,m,Bonn,yes
60,,"Bad Ems, Lahn",no
"""


def read(folder: Path, text: str | bytes = TABLE, encoding: dict[str, str] | None = None, **config: Any) -> Dataset:
    (folder / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return load(folder, encoding, **{"type": "csv", "path": "t.csv", "target": "label", **config})


def test_numbers_are_filled_then_scaled_and_categories_are_one_hot_in_sorted_order(tmp_path: Path) -> None:
    found = read(tmp_path)
    sd = np.sqrt(2 * 20**2 / 4)
    np.testing.assert_allclose(found.train.inputs["x"], [
        [-20 / sd, 0, 1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1, 0, 0],
        [20 / sd, 0, 0, 1, 1, 0, 0, 0],
    ], rtol=1e-6)  # fmt: skip
    assert found.train.targets["label"].tolist() == [1, 0, 1, 0]
    assert found.preprocessing.targets["label"].class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"missing": "median", "scale": "none"}, [20, 40, 40, 60]),
        ({"missing": "constant", "scale": "none"}, [20, 40, 0, 60]),
        ({"missing": "constant", "constant": -1.0, "scale": "none"}, [20, 40, -1, 60]),
        ({"missing": "mean", "scale": "minmax"}, [0, 0.5, 0.5, 1]),
        ({"missing": "drop", "scale": "none"}, [20, 40, 60]),
    ],
)
def test_numeric_options(tmp_path: Path, options: dict[str, Any], expected: list[float]) -> None:
    found = read(tmp_path, features={"age": options})
    np.testing.assert_allclose(found.train.inputs["x"][:, 0], expected)
    assert any("dropped" in note for note in found.notes) == (options["missing"] == "drop")


def test_category_options(tmp_path: Path) -> None:
    assert read(tmp_path, features={"sex": {"missing": "most_frequent"}}).train.inputs["x"].tolist() == [
        [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]  # fmt: skip
    assert len(read(tmp_path, features={"sex": {"missing": "drop"}}).train) == 3


@pytest.mark.parametrize(
    ("features", "used"),
    [
        (["town", "age"], ["age", "town"]),
        ({"sex": "category"}, ["sex"]),
        ({"town": "ignore"}, ["age", "sex"]),
        ({"town": "ignore", "age": {}}, ["age"]),
    ],
)
def test_features_choose_columns(tmp_path: Path, features: Any, used: list[str]) -> None:
    assert [each.name for each in read(tmp_path, features=features).preprocessing.features] == used


@pytest.mark.parametrize(
    "wrong", [{"kind": "category", "scale": "minmax"}, {"kind": "numeric", "missing": "own"}, {"constant": 1.0},
              {"kind": "text", "scale": "none"}, {"kid": "numeric"}]
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(type="csv", path="t.csv", target="label", features={"age": wrong})


def test_encoders_see_the_training_rows_alone(tmp_path: Path) -> None:
    text = "a,c,label\n0,p,x\n2,q,y\n1000,r,x\n"
    found = read(tmp_path, text, validation_split=0.3)
    assert found.validation is not None
    assert found.train.inputs["x"].tolist() == [[-1, 1, 0, 0], [1, 0, 1, 0]]
    assert found.validation.inputs["x"].tolist() == [[999, 0, 0, 1]]
    assert found.notes[-1:] == ("column `c`: 1 value that training never showed (`r` 1×)",)


def test_limit_changes_no_shape(tmp_path: Path) -> None:
    found = read(tmp_path, limit=1)
    assert found.train.inputs["x"].shape == (1, 8)
    assert found.preprocessing == read(tmp_path).preprocessing


def test_a_file_for_each_split(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("label,town,sex,age\nno,Ulm,m,30\n")
    found = read(tmp_path, path={"train": "t.csv", "validation": "v.csv"})
    assert found.validation is not None and len(found.validation) == 1
    assert found.validation.targets["label"].tolist() == [0]
    (tmp_path / "v.csv").write_text("label,town,age\nno,Ulm,30\n")
    with fails("E409", "no column `sex` in the validation table"):
        read(tmp_path, path={"train": "t.csv", "validation": "v.csv"})
    (tmp_path / "v.csv").write_text("label,town,sex,age\nno,Ulm,m,old\n")
    with fails("E408", "row 1, column `age`", "`old` is not a number") as problems:
        read(tmp_path, path={"train": "t.csv", "validation": "v.csv"})
    assert isinstance(problems[0].where, Span) and problems[0].where.line == 2
    (tmp_path / "v.csv").write_text("label,town,sex,age\nno,Ulm,m,30\nmaybe,Ulm,m,30\n")
    with fails("E405", "row 2", "`maybe` is no class", "no, yes") as problems:
        read(tmp_path, path={"train": "t.csv", "validation": "v.csv"})
    assert isinstance(problems[0].where, Span) and problems[0].where.line == 3


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    rows = ["a", "note", "label"], ["1.5", "x, y; z|w", "u"], ["2", "plain", "v"]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    assert read(tmp_path, text.getvalue()).train.inputs["x"].shape == (2, 4)


def test_bytes_before_the_header_blank_lines_and_other_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeff\r\na, label\r\n1, x\r\n\r\n 2 ,y\r\n   \r\n"
    assert read(tmp_path, text, features={"a": {"scale": "none"}}).train.inputs["x"].tolist() == [[1], [2]]


def test_decimal_commas_are_read_when_said_and_pointed_out_when_not(tmp_path: Path) -> None:
    text = "a;label\n1,5;x\n2;y\n"
    assert read(tmp_path, text, decimal=",", features={"a": {"scale": "none"}}).train.inputs["x"].tolist() == [
        [1.5],
        [2],
    ]
    with fails("E408", "decimal commas", "decimal"):
        read(tmp_path, text)


@pytest.mark.parametrize("label", ["3", "1.0", "-1"])
def test_whole_numbers_are_labels_or_values_as_the_loss_wants(tmp_path: Path, label: str) -> None:
    text = f"a,label\n1,7\n2,{label}\n3,7\n"
    assert read(tmp_path, text, {"label": "integer"}).train.targets["label"].tolist() == [1, 0, 1]
    assert read(tmp_path, text, {"label": "one_hot"}).train.targets["label"].tolist() == [[0, 1], [1, 0], [0, 1]]
    values = read(tmp_path, text, {"label": "none"}).train.targets["label"]
    assert values.tolist() == [7, float(label), 7] and values.dtype == np.float32


def test_two_names_serve_as_0_and_1_but_three_are_no_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, TABLE, {"label": "none"}).train.targets["label"].tolist() == [1, 0, 1, 0]
    with fails("E405", "3 class names cannot be taken for numbers"):
        read(tmp_path, "a,label\n1,x\n2,y\n3,z\n", {"label": "none"})


def test_several_targets_go_apart_or_as_one_vector(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,u,v\n1,0.5,1.5\n2,2.5,3.5\n")
    one = source(type="csv", path="t.csv", target=["u", "v"])
    assert {name: info.shape for name, info in one.peek(tmp_path).targets.items()} == {"u": (), "v": ()}
    assert one.peek(tmp_path, (), ["both"]).targets["both"].shape == (2,)
    both = one.load(tmp_path, 0, {"both": "none"}, (), ["both"])
    assert both.train.targets["both"].tolist() == [[0.5, 1.5], [2.5, 3.5]]
    apart = one.load(tmp_path, 0, {}, (), ["v", "u"])
    assert apart.train.targets["v"].tolist() == [1.5, 3.5]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "E407", ["is empty"]),
        ("\n\n", "E407", ["is empty"]),
        ('""\n', "E407", ["is empty"]),
        ("a,label\n", "E407", ["no rows"]),
        ("a,label\n1,x\n2\n3,y,z\n", "E407", ["row 2 has 1 values, the header has 2"]),
        (",a,label\n0,1,x\n1,2,y\n", "E407", ["column 1 has no name", "index=False"]),
        ("a,a,label\n0,1,x\n1,2,y\n", "E407", ["column name `a` occurs 2 times"]),
        ('a,label\n"1,x\n2,y\n', "E407", ["quotation mark"]),
        ("a,lable\n1,x\n2,y\n", "E409", ["no column `label`", "did you mean `lable`?"]),
        ("label\nx\ny\n", "E409", ["no column left"]),
        ("a,label\n1,x\n2,x\n", "E410", ["one class only, `x`"]),
        ("a,label\n1,x\n2,\n3,y\n", "E408", ["row 2, column `label`", "missing"]),
        ("a,label\nNA,x\n,y\n", "E410", ["column `a` has no value"]),
        ("a,label\n1,x\ninf,y\n", "E404", ["row 2, column `a`: inf", "allow_nan"]),
        ("a,label\n1e308,x\n-1e308,y\n", "E410", ["too large"]),
        ("a,label\n1,x\n2,y\n".encode("utf-16-le"), "E402", ["not UTF-8", "encoding: utf-16-le"]),
        ("a,label\n1,x\n2,y\xe9\n".encode("latin-1"), "E402", ["0xe9 in line 3, after `2,y`", "encoding: latin-1"]),
        ("a,label\n" + "".join(f"t{i},{'xy'[i % 2]}\n" for i in range(1001)), "E410", ["more than 1,000", "ignore"]),
    ],
)
def test_faulty_tables_are_problems(tmp_path: Path, text: str | bytes, code: str, words: list[str]) -> None:
    with fails(code, *words):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    ["sep=;\r\na;label\r\n1;x\r\n2;y\r\n", "a;label;\n1;x;\n2;y\n", "a;label;;\n1;x\n;;\n2;y;;\n;\n"],
    ids=["separator said", "separators at the end", "rows without values"],
)
def test_what_spreadsheets_leave_behind_is_passed_over(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text, features={"a": {"scale": "none"}})
    assert found.train.inputs["x"].tolist() == [[1], [2]] and found.train.targets["label"].tolist() == [0, 1]


def test_lines_are_counted_from_the_one_that_says_the_separator(tmp_path: Path) -> None:
    with fails("E407", "row 2 has 3 values") as problems:
        read(tmp_path, "sep=,\na,label\n1,x\n2,y,z\n")
    assert [problem.where.line for problem in problems if isinstance(problem.where, Span)] == [4]


def test_all_ragged_rows_are_named_up_to_ten(tmp_path: Path) -> None:
    with fails("E407", "row 2 has 1 values") as problems:
        read(tmp_path, "a,label\n1,x\n" + "2\n" * 50)
    assert len(problems) == 10
    assert [problem.where.line for problem in problems if isinstance(problem.where, Span)] == list(range(3, 13))


def test_a_column_said_to_be_numeric_must_be(tmp_path: Path) -> None:
    with fails("E408", "row 1, column `town`: `Bonn` is not a number"):
        read(tmp_path, features={"town": "numeric"})
    with fails("E410", "column `sex`", "own"):
        read(tmp_path, features={"sex": {"missing": "median"}})


def test_tables_longer_than_a_batch_are_whole_and_named_right(tmp_path: Path) -> None:
    rows = [f"{i},{'xy'[i % 2]}" for i in range(10_000)]
    found = read(tmp_path, "\n".join(["a,label", *rows]), features={"a": {"scale": "none"}})
    np.testing.assert_array_equal(found.train.inputs["x"][:, 0], np.arange(10_000))
    np.testing.assert_array_equal(found.train.targets["label"], np.arange(10_000) % 2)
    rows[9000] += ",z"
    with fails("E407", "row 9001 has 3 values"):
        read(tmp_path, "\n".join(["a,label", *rows]))
    rows[9000] = "?,"
    with fails("E408", "row 9001, column `label`"):
        read(tmp_path, "\n".join(["a,label", *rows]))


def test_a_directory_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with fails("E401", "d.csv"):
        source(type="csv", path="d.csv", target="label").peek(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_are_found_or_said_and_gzip_is_unpacked(tmp_path: Path, encoding: str, packed: bool) -> None:
    data = TABLE.encode(encoding)
    said = {"encoding": encoding} if encoding == "latin-1" else {}
    (tmp_path / "t.csv").write_bytes(gzip.compress(data) if packed else data)
    found = source(type="csv", path="t.csv", target="label", **said).load(tmp_path, 0)
    assert found.preprocessing.features[2].model_dump()["categories"] == ("Bad Ems, Lahn", "Bonn", "Köln")
    assert found.preprocessing.encoding == said.get("encoding")


def test_how_a_file_was_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("when;note;n;label\n2031-01-02;a;1;x\n2031-01-03;b;2;y\n", "utf-16")
    found = load(tmp_path, type="csv", path="t.csv", target="label")
    assert found.notes == ("`t.csv`: UTF-16, separated by `;`", "date: when; category: note (2); numeric: n")


def test_a_byte_far_into_the_file_is_named_by_its_line(tmp_path: Path) -> None:
    text = b"a,label\n" + b"1,x\n2,y\n" * 9000 + "3,Köln\n".encode("latin-1")
    with fails("E402", "byte 0xf6 in line 18002, after `3,K`", "encoding: latin-1") as problems:
        read(tmp_path, text)
    assert problems[0].where == Span(str(tmp_path / "t.csv"), 18002, 4)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"PK\x03\x04rest", ["Excel workbook", "CSV"]),
        (b"PAR1rest", ["type: parquet"]),
        (b'{"a": 1, "label": "x"}\n', ["JSON", "type: jsonl"]),
        (gzip.compress(b"a,label\n1,x\n" * 100, mtime=0)[:-20], ["damaged gzip"]),
        (b"\x1f\x8b\x00\x00\x00", ["damaged gzip"]),
    ],
)
def test_files_of_another_kind_are_told_by_their_beginning(tmp_path: Path, begin: bytes, words: list[str]) -> None:
    with fails("E407" if b"{" in begin[:1] else "E402", *words):
        read(tmp_path, begin)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('a,note,label\n1,"one, ""two""\nthree",x\n2,b,y\n', 'one, "two"\nthree'),
        ("a,note,label\n1,'one, two',x\n2,b,y\n", "one, two"),
        ('a,note,label\n1,"one, \\"two\\"",x\n2,b,y\n', 'one, "two"'),
        ('a, note, label\n1, "one, two", x\n2, b, y\n', "one, two"),
        ("a;note;label\n1;'t is one, two;x\n2;b;y\n", "'t is one, two"),
    ],
)
def test_quotation_marks_are_found(tmp_path: Path, text: str, note: str) -> None:
    (category,) = read(tmp_path, text, features=["note"]).preprocessing.features
    assert category.model_dump()["categories"] == tuple(sorted([note, "b"]))


def test_a_fault_after_a_row_of_several_lines_is_named_by_the_line_that_its_row_begins_in(tmp_path: Path) -> None:
    with fails("E407", "row 2 has 1 values") as problems:
        read(tmp_path, 'a,label\n"1\n\n",x\n2\n3,y\n')
    assert isinstance(problems[0].where, Span) and problems[0].where.line == 5


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    for name in ("latin-11", "hex", "rot13"):
        with pytest.raises(ValidationError, match="encoding of texts"):
            source(type="csv", path="t.csv", target="label", encoding=name)


def test_labels_of_a_cell_become_a_place_each(tmp_path: Path) -> None:
    text = "a,tags\n1,red;round\n2,\n3, big ; red\n4,big\n"
    found = read(tmp_path, text, target="tags", label_separator=";")
    assert found.train.targets["tags"].tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0]]
    layout = found.preprocessing.targets["tags"]
    assert layout.class_names == ("big", "red", "round") and layout.encoding == "none" and layout.classes is None
    with fails("E405", "row 4, column `tags`: `huge` is no class", "big, red, round") as problems:
        read(tmp_path, text.replace("4,big", "4,red;huge"), target="tags", label_separator=";", test_split=0.25)
    assert isinstance(problems[0].where, Span) and problems[0].where.line == 5
    with fails("E408", "row 2, column `tags`", "missing"):
        read(tmp_path, text.replace("2,", "2,NA"), target="tags", label_separator=";")
    with fails("E410", "one class only, `red,round`", "label_separator: ;"):
        read(tmp_path, 'a,tags\n1,"red,round"\n2,"red,round"\n', target="tags", label_separator=";")


def test_classes_that_look_like_lists_are_pointed_out(tmp_path: Path) -> None:
    found = read(tmp_path, "a,label\n1,red\n2,red;big\n3,big\n")
    assert any("classes such as `red;big`" in note and 'label_separator: ";"' in note for note in found.notes)
    assert not any("label_separator" in note for note in read(tmp_path, "a,label\n1,x;y\n2,x\n").notes)


def test_stratified_splits_have_every_class_and_no_row_twice(tmp_path: Path) -> None:
    text = "a,label\n" + "".join(f"{i},{'x' if i < 20 else 'y'}\n" for i in range(40))
    config = {"features": {"a": {"scale": "none"}}, "validation_split": 0.25, "stratify": True}
    found = read(tmp_path, text, **config)
    assert found.validation is not None
    parts = [found.train, found.validation]
    assert [np.bincount(np.asarray(part.targets["label"])).tolist() for part in parts] == [[15, 15], [5, 5]]
    assert sorted(np.concatenate([np.asarray(part.inputs["x"])[:, 0] for part in parts]).tolist()) == list(range(40))


def test_a_target_that_is_always_the_same_is_pointed_out(tmp_path: Path) -> None:
    found = read(tmp_path, "a,label\n1,0\n2,0\n3,0\n4,1\n", validation_split=0.25)
    assert any("target `label` is 0 in every training row" in note for note in found.notes)


CELL = st.one_of(
    st.text(max_size=8), st.floats().map(repr), st.sampled_from(["", "NA", "1", "x", "1_0", "0x1", "1e999"])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, st.sampled_from("uvw")), min_size=1, max_size=8))
def test_any_written_table_is_read_as_the_signature_says_or_refused(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b", "label"), *rows])
    (tmp_path / "t.csv").write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    one = source(type="csv", path="t.csv", target="label", separator=",")
    read_both_ways(one, tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text(alphabet='a,b;"\n\r1 2.\0', max_size=60).map(str.encode)))
def test_any_bytes_after_a_header_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,label\n" + data)
    read_both_ways(source(type="csv", path="t.csv", target="label"), tmp_path)


PIECES = [b"a,label\n", b"1,x\n", b"2;y\n", b'"', b"'", b"\\", b"\r\n", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\0"]
PIECES += [b"\xe9", b"\x1f\x8b", b"2031-12-24", b"one two three four five six", b"{", b"1e999", b"\x1f", b";", b"\t"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=80), st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))).map(b"".join)
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, packed: bool, several: bool) -> None:
    (tmp_path / "t.csv").write_bytes(gzip.compress(data) if packed else data)
    more = {"label_separator": ";"} if several else {}
    read_both_ways(source(type="csv", path="t.csv", target="label", **more), tmp_path)


def read_both_ways(one: Source, folder: Path) -> None:
    try:
        signature, found = one.peek(folder), one.load(folder, 0)
    except Failure as failure:
        assert all(problem.code.startswith("E4") for problem in failure.problems)
        return
    x = found.train.inputs["x"]
    assert x.shape == (signature.sizes["train"], *signature.inputs["x"].shape)
    assert np.isfinite(x).all() and x.dtype == signature.inputs["x"].dtype
    assert found.preprocessing.from_json(found.preprocessing.to_json()) == found.preprocessing
