"""What columns become: texts, dates, numbers for Embedding; how inputs divide them; what is written down."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kerascli.api import evaluate, predict, train
from kerascli.check import check
from kerascli.dates import PARTS, parts, seconds
from kerascli.errors import Failure
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import Dataset, InputInfo
from kerascli.sources.raw import read_inputs
from kerascli.stored import Stored
from kerascli.text import TextEncoder, TextOptions
from tests.sources.helpers import fails, load, source

TABLE = """when,size,town,review,label
2031-12-24,1,Bonn,A good film <br /> it is &amp; was good,yes
2032-02-29,2,Köln,a bad film by a man of bad taste,no
,,,,yes
2033-03-01,3,Bonn,not so bad a film but for the end,no
"""
NAMES = ("when", "size", "town", "review")


def read(folder: Path, features: Any, text: str = TABLE, inputs: tuple[str, ...] = (), **config: Any) -> Dataset:
    (folder / "t.csv").write_text(text, "utf-8")
    one = source(type="csv", path="t.csv", target="label", features=features, **config)
    return one.load(folder, 0, None, inputs)


# ---- texts


def test_words_are_numbered_from_the_most_frequent_on_and_padded_and_cut_in_front(tmp_path: Path) -> None:
    found = read(tmp_path, {"review": {"kind": "text", "vocabulary": 6, "sequence_length": 5}})
    text = found.preprocessing.features[0].model_dump()
    assert text["encoder"]["words"] == ("a", "bad", "film", "good")
    x = found.train.inputs["x"]
    assert x.dtype == np.int32
    assert x.tolist() == [[4, 1, 1, 1, 5], [2, 1, 1, 3, 1], [0, 0, 0, 0, 0], [4, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"padding": "post"}, [4, 2, 0, 0]),
        ({"truncating": "post", "sequence_length": 1}, [4]),
        ({"sequence_length": 1}, [2]),
        ({"output": "multi_hot"}, [0, 0, 1, 0, 1, 0]),
        ({"output": "count"}, [0, 0, 1, 0, 1, 0]),
    ],
)
def test_text_options(options: dict[str, Any], expected: list[int]) -> None:
    encoder = TextEncoder.fit(["b b", "B <i>d</i>", "c c"], TextOptions(vocabulary=6, sequence_length=4))
    assert encoder.words == ("b", "c", "d")
    changed = TextOptions(**{"vocabulary": 6, "sequence_length": 4, **options})
    assert TextEncoder.fit(["b b", "B d", "c c"], changed).encode(["D, <br>b"]).tolist() == [expected]


def test_html_and_capitals_may_count(tmp_path: Path) -> None:
    keep = TextOptions(lower=False, strip_html=False, vocabulary=9)
    assert set(TextEncoder.fit(["A<br/>a &amp; don't"], keep).words) == {"A", "br", "a", "amp", "don't"}


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.sampled_from(["int", "multi_hot", "count"]))
def test_any_texts_are_encoded_within_the_vocabulary(texts: list[str], output: Any) -> None:
    encoder = TextEncoder.fit(texts, TextOptions(vocabulary=5, sequence_length=4, output=output))
    encoded = encoder.encode([*texts, "unknown"])
    assert encoded.shape == (len(texts) + 1, encoder.width) and encoded.dtype == encoder.dtype
    assert encoded.min() >= 0 and (output == "count" or encoded.max() < 5)
    assert TextEncoder.model_validate_json(encoder.model_dump_json()) == encoder


def test_the_vocabulary_is_that_of_the_training_rows(tmp_path: Path) -> None:
    found = read(tmp_path, {"review": {"kind": "text", "sequence_length": 9}}, validation_split=0.25)
    assert "not" not in found.preprocessing.features[0].model_dump()["encoder"]["words"]
    assert found.validation is not None and found.validation.inputs["x"][0, :2].tolist() == [1, 1]
    with fails("E410", "column `review` has no value"):
        read(tmp_path, {"review": "text"}, "review,label\n,x\n?,y\n")


def test_texts_longer_than_a_batch_of_rows_keep_their_rows(tmp_path: Path) -> None:
    rows = [f"w{i % 50} v{i % 97},{'xy'[i % 2]}" for i in range(9000)]
    options = {"review": {"kind": "text", "vocabulary": 300, "sequence_length": 2, "missing": "drop"}}
    rows[5000] = ",x"
    for config in ({"validation_split": 0.3}, {"stratify": True, "validation_split": 0.3}):
        found = read(tmp_path, options, "\n".join(["review,label", *rows]), **config)
        words = ("", "?", *found.preprocessing.features[0].model_dump()["encoder"]["words"])
        assert found.validation is not None
        got = {
            split: [" ".join(words[n] for n in row) for row in np.asarray(part.inputs["x"]).tolist()]
            for split, part in (("train", found.train), ("validation", found.validation))
        }
        assert len(got["train"]) + len(got["validation"]) == 8999
        if "stratify" not in config:
            assert got["validation"] == [row.split(",")[0] for row in rows[6300:]]
            assert any("1 of 6300 rows of the train split dropped" in note for note in found.notes)


# ---- dates


def test_dates_become_their_parts_each_scaled_by_itself(tmp_path: Path) -> None:
    options = {"when": {"kind": "date", "parts": ["year", "month", "day", "weekday", "days"], "scale": "none"}}
    found = read(tmp_path, {**options, "when": {**options["when"], "missing": "constant", "constant": -1.0}})
    assert found.train.inputs["x"][:, :4].tolist() == [
        [2031, 12, 24, 2], [2032, 2, 29, 6], [-1, -1, -1, -1], [2033, 3, 1, 1]]  # fmt: skip
    scaled = read(tmp_path, {"when": {"kind": "date", "scale": "minmax"}}).train.inputs["x"]
    np.testing.assert_allclose(scaled[:, 0], [0, 0.5, 0.5, 1])


WHOLE_SECONDS = st.datetimes().map(lambda when: when.replace(microsecond=0))
"""A number of 64 bits holds seconds since 1970 to the microsecond for some centuries only."""


@given(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)) | WHOLE_SECONDS)
def test_parts_of_any_time_are_those_of_python(when: datetime) -> None:
    got = parts(np.array([seconds(when.isoformat())]), PARTS)[0]  # type: ignore[arg-type]
    day = (when - datetime(1970, 1, 1)).total_seconds() / 86400
    want = [when.year, when.month, when.day, when.weekday(), when.timetuple().tm_yday]
    np.testing.assert_allclose(got, [*want, when.hour, when.minute, when.second, day], atol=1e-4)


def test_dates_in_a_format_and_faulty_ones_are_named(tmp_path: Path) -> None:
    table = "when,label\n24.12.2031,x\n29.02.2032,y\n"
    options = {"when": {"kind": "date", "format": "%d.%m.%Y", "parts": ["day"], "scale": "none"}}
    assert read(tmp_path, options, table).train.inputs["x"].tolist() == [[24], [29]]
    with fails("E408", "row 2, column `when`: `30.02.2032` is no date of the format `%d.%m.%Y`"):
        read(tmp_path, options, table.replace("29", "30"))
    with fails("E408", "row 1, column `when`: `24.12.2031` is no date as ISO 8601", "format:"):
        read(tmp_path, {"when": "date"}, table)
    with pytest.raises(ValidationError, match="format of dates"):
        source(type="csv", path="t.csv", target="label", features={"when": {"format": "%Q"}})


# ---- categories for Embedding


def test_categories_may_be_numbers_the_last_of_which_is_for_the_unknown(tmp_path: Path) -> None:
    found = read(tmp_path, {"town": {"encoding": "integer"}})
    assert found.train.inputs["x"].dtype == np.int32
    assert found.train.inputs["x"].tolist() == [[0], [1], [2], [0]]
    said: list[str] = []
    infos = {"x": InputInfo((1,), "int32")}
    (block,) = read_inputs(["-"], found.preprocessing, infos, say=said.append, stdin=io.StringIO("town\nUlm\nBonn\n"))
    assert block["x"].tolist() == [[2], [0]] and "`Ulm` 1×" in said[0]


# ---- what is inferred, and written down

LONG = "".join(
    f"2031-01-{i + 1:02d},{i},{'ab'[i % 2]},the words number {i} of this text,{'xy'[i % 2]}\n" for i in range(9)
)


def test_kinds_are_inferred_and_settled_options_give_the_same_data(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{','.join(NAMES)},label\n{LONG}")
    one = source(type="csv", path="t.csv", target="label")
    inputs = ("review", "rest")
    settled = one.settled(tmp_path, inputs)
    assert {name: options["kind"] for name, options in settled.dump()["features"].items()} == {
        "when": "date",
        "size": "numeric",
        "town": "category",
        "review": "text",
    }
    assert settled.dump()["features"]["when"]["parts"] == ["year", "month", "day", "weekday"]
    again = source(**settled.dump())
    assert again.settled(tmp_path, inputs).dump() == settled.dump()
    first, second = one.load(tmp_path, 0, None, inputs), again.load(tmp_path, 0, None, inputs)
    assert first.preprocessing == second.preprocessing
    for name in inputs:
        np.testing.assert_array_equal(first.train.inputs[name], second.train.inputs[name])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "", "2.5"], "numeric"),
        (["2031-01-01", "?", "2031-01-02"], "date"),
        (["2031-01-01T10:00", "2031-01-02 11:30:05.25+02:00", "NA"], "date"),
        (["2031-01-01", "soon", "2031-01-02"], "category"),
        (["20310101", "20310102", "x"], "category"),
        (["a b c d e", "f g h i j k", ""], "text"),
        (["a b c d e", "a b c d e", "a b c d e"], "category"),
        (["the one", "the other", "none"], "category"),
    ],
)
def test_what_a_column_holds_is_seen_in_its_values(tmp_path: Path, cells: list[str], kind: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("a", "label"), *zip(cells, "xyx", strict=True)])
    (feature,) = read(tmp_path, None, text.getvalue()).preprocessing.features
    assert feature.kind == kind


def test_numbers_before_the_first_date_are_no_dates(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'xy'[i % 2]}\n" for i in range(9) for _ in range(500))
    assert read(tmp_path, {"a": {}}, f"a,label\n{rows}2031-01-01,x\n").preprocessing.features[0].kind == "category"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([*map(str, range(40)), "#DIV/0!", "-"], ["row 41, column `a`: `#DIV/0!` is not a number", "category"]),
        ([*map(str, range(1200)), "3800 g"], ["row 1201, column `a`: `3800 g` is not a number", "nearly all"]),
        (["950", "1,250", "12,000.5"], ["thousands are parted, such as `1,250` in row 2", "as in `1250`", "decimal"]),
        (["1'250", "12'000"], ["thousands are parted", "as in `1250`"]),
        (["39,1", "40"], ["decimal commas, such as `39,1` in row 1", 'decimal: ","']),
    ],
    ids=["words", "words after many", "thousands", "apostrophes", "commas"],
)
def test_a_column_that_nearly_is_one_of_numbers_is_no_category(
    values: list[str], words: list[str], tmp_path: Path
) -> None:
    rows = "".join(f'"{value}",{"xy"[k % 2]}\n' for k, value in enumerate(values))
    with fails("E408", *words):
        read(tmp_path, {}, f"a,label\n{rows}")
    assert read(tmp_path, {"a": "category"}, f"a,label\n{rows}").preprocessing.features[0].kind == "category"


def test_measured_targets_with_decimal_commas_are_no_classes(tmp_path: Path) -> None:
    with fails("E408", "column `label` holds numbers with decimal commas"):
        read(tmp_path, {}, 'a,label\n1,"2,5"\n2,"3,5"\n')


# ---- inputs


def test_inputs_take_features_by_name_and_one_of_another_name_takes_the_rest(tmp_path: Path) -> None:
    features = {"when": "date", "size": {}, "town": {"encoding": "integer"}, "review": {"kind": "text"}}
    found = read(tmp_path, features, inputs=("town", "rest", "review"))
    layouts = found.preprocessing.inputs
    assert {name: layout.features for name, layout in layouts.items()} == {
        "town": ("town",),
        "rest": ("when", "size"),
        "review": ("review",),
    }
    assert {name: (layout.shape, layout.dtype) for name, layout in layouts.items()} == {
        "town": ((1,), "int32"),
        "rest": ((5,), "float32"),
        "review": ((100,), "int32"),
    }


def test_what_cannot_be_one_vector_is_told_with_the_mends(tmp_path: Path) -> None:
    with fails("E409", "feature `review` is a sequence of word numbers", "with `size`", "{type: Input, name: review}"):
        read(tmp_path, {"size": {}, "review": "text"})
    with fails("E409", "feature `town` is a number for Embedding", "`encoding: one_hot`"):
        read(tmp_path, {"size": {}, "town": {"encoding": "integer"}})
    both = {"size": {}, "review": {"kind": "text", "output": "multi_hot", "vocabulary": 9}}
    assert read(tmp_path, both).train.inputs["x"].shape == (4, 10)
    with fails("E409", "no feature `twon`", "did you mean `town`?"):
        read(tmp_path, {"size": {}, "town": {}}, inputs=("twon", "size"))
    with fails("E409", "no feature is left for the Input `rest`", "list in `features`"):
        read(tmp_path, {"size": {}}, inputs=("size", "rest"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "text", "scale": "none"}, "a text feature takes no `scale`, which is for `numeric` and `date`"),
        ({"kind": "numeric", "vocabulary": 9}, "takes no `vocabulary`, which is for `text`"),
        ({"kind": "date", "missing": "own"}, "takes `mean`, `median`, `constant`, `drop`"),
        ({"kind": "text", "vocabulary": 2}, "greater than or equal to 3"),
        ({"kind": "date", "parts": ["century"]}, "'year'"),
        ({"kind": "ignore", "missing": "drop"}, "takes no `missing`"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        source(type="csv", path="t.csv", target="label", features={"a": options})


def test_an_option_that_does_not_fit_what_is_inferred_is_told(tmp_path: Path) -> None:
    with fails("E410", "column `size`: a numeric feature takes no `sequence_length`"):
        read(tmp_path, {"size": {"sequence_length": 9}})


# ---- a whole run

SPEC = """
dataset:
  {type: csv, path: t.csv, target: label, validation_split: 0.25, features: {when: {}, size: {},
   town: {encoding: integer}, review: {kind: text, vocabulary: 12, sequence_length: 6}}}
layers:
  - {type: Input, name: review}
  - {type: Embedding, input_dim: 12, output_dim: 3}
  - {type: GlobalAveragePooling1D, name: read}
  - {type: Input, name: town}
  - {type: Embedding, input_dim: 3, output_dim: 2}
  - {type: Flatten, name: where}
  - {type: Input, name: rest}
  - {type: Concatenate, inputs: [read, where, rest]}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
training: {epochs: 2, batch_size: 4, class_weight: balanced}
"""


def test_a_run_writes_what_it_found_and_encodes_new_data_alike(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{','.join(NAMES)},label\n{LONG}")
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1).run
    resolved = check(run / "resolved.yaml").loaded.spec.dataset.dump()["features"]
    assert [options["kind"] for options in resolved.values()] == ["date", "numeric", "category", "text"]
    again = train(check(run / "resolved.yaml"), tmp_path / "runs", threads=1).run
    assert (run / "model.weights.h5").read_bytes() == (again / "model.weights.h5").read_bytes()
    assert (run / "preprocessing.json").read_bytes() == (again / "preprocessing.json").read_bytes()
    stored = Stored(run)
    Preprocessing.from_json(stored.attachment("preprocessing.json"))
    whole = evaluate(stored, "train", threads=1)[1]["loss"], evaluate(stored, "validation", threads=1)[1]["loss"]
    file = evaluate(stored, data=tmp_path / "t.csv", threads=1)[1]["loss"]
    np.testing.assert_allclose((whole[0] * 6 + whole[1] * 3) / 9, file, rtol=1e-5)
    rows = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    _, found = predict(stored, [str(tmp_path / "new.csv")], threads=1)
    assert next(iter(found.values())).shape == (9, 1)


@pytest.mark.parametrize(
    ("target", "label", "words"),
    [
        ("tags", "a;b", "some have several"),
        ("size", "0.5", "no numbers of classes"),
    ],
)
def test_class_weights_want_classes(tmp_path: Path, target: str, label: str, words: str) -> None:
    rows = "".join(f"{i},{label if i else '1;a'}\n" for i in range(8)) if target == "tags" else "1,0.5\n2,1.5\n3,2\n"
    (tmp_path / "t.csv").write_text(f"a,{target}\n{rows}")
    more = ', label_separator: ";"' if target == "tags" else ""
    units = 3 if target == "tags" else 1
    (tmp_path / "spec.yaml").write_text(
        f"dataset: {{type: csv, path: t.csv, target: {target}{more}}}\nlayers: [{{type: Dense, units: {units}}}]\n"
        "loss: {type: BinaryCrossentropy, from_logits: true}\ntraining: {class_weight: balanced}\n"
    )
    with pytest.raises(Failure, match=words):
        train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1)


def test_balanced_weights_are_alike_in_every_form_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,label\n" + "".join(f"{i % 7},{'x' if i % 4 else 'y'}\n" for i in range(40)))
    found = {}
    for loss, units, activation in (
        ("sparse_categorical_crossentropy", 2, "softmax"),
        ("categorical_crossentropy", 2, "softmax"),
        ("binary_crossentropy", 1, "sigmoid"),
    ):
        (tmp_path / "spec.yaml").write_text(
            "dataset: {type: csv, path: t.csv, target: label}\n"
            f"layers: [{{type: Dense, units: {units}, activation: {activation}, kernel_initializer: zeros}}]\n"
            f"loss: {loss}\noptimizer: {{type: SGD, learning_rate: 0.0}}\ntraining: {{class_weight: balanced}}\n"
        )
        outcome = train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1)
        found[loss] = next(csv.DictReader((outcome.run / "history.csv").read_text().splitlines()))["loss"]
    assert len({f"{float(loss):.5f}" for loss in found.values()}) == 1, found
    np.testing.assert_allclose(float(found["binary_crossentropy"]), np.log(2), rtol=1e-5)


def test_a_source_of_arrays_has_nothing_to_settle(tmp_path: Path) -> None:
    one = source(type="synthetic")
    assert one.settled(tmp_path) is one and load(tmp_path, type="synthetic", samples=8).notes == ()
