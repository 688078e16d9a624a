from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerascli.preprocessing import Preprocessing
from kerascli.sources import text_folder
from kerascli.sources.base import Dataset, InputInfo, Source
from kerascli.sources.raw import read_inputs
from kerascli.sources.rows import Streamed
from kerascli.text import TextEncoder, TextOptions
from tests.sources.helpers import fails, load, source

TEXTS = {
    "bad": ["A <b>poor</b> film", "poor, poor acting", "Not good", "I slept"],
    "good": ["Good film!", "I laughed", "caf\u00e9 noir \u2014 good", "so good"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, texts in TEXTS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number, text in enumerate(texts):
            (tmp_path / "data" / name / f"{number}.txt").write_text(text, "utf-8")
    return tmp_path


@pytest.fixture(params=["in memory", "streamed"])
def opened(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "streamed":
        monkeypatch.setattr(text_folder, "KEPT", 0)
    return folder


def texts(folder: Path, **more: object) -> Dataset:
    return load(folder, **{"type": "text_folder", "path": "data", **more})


def test_texts_are_served_as_they_are(opened: Path) -> None:
    (opened / "data" / "bad" / "1.txt").write_bytes(b"\xef\xbb\xbfwith a mark\r\n")
    found = texts(opened)
    x = found.train.inputs["x"]
    assert isinstance(x, Streamed) == (text_folder.KEPT == 0)
    assert x.shape == (8, 1) and x[np.array([5, 1])][:, 0].tolist() == ["I laughed", "with a mark\r\n"]
    assert found.train.targets["y"][:].tolist() == [0] * 4 + [1] * 4
    info = source(type="text_folder", path="data").peek(opened).inputs["x"]
    assert info.shape == (1,) and info.dtype == "string" and found.preprocessing.text_files


def test_a_vocabulary_of_the_training_texts_makes_numbers(opened: Path) -> None:
    found = texts(opened, vocabulary=20, sequence_length=3, validation_split=0.25, stratify=True)
    x = found.train.inputs["x"]
    assert found.validation is not None and x.shape == (6, 3) and x.dtype == np.int32
    encoder = found.preprocessing.text
    assert encoder is not None and "slept" not in encoder.words and "so" not in encoder.words
    train = [text for pair in zip(*(each[:3] for each in TEXTS.values()), strict=True) for text in pair]
    expected = TextEncoder.fit(train, TextOptions(vocabulary=20, sequence_length=3))
    assert encoder == expected
    np.testing.assert_array_equal(x[:], expected.encode(train))
    np.testing.assert_array_equal(found.validation.inputs["x"][:], expected.encode(["I slept", "so good"]))
    assert found.preprocessing == Preprocessing.from_json(found.preprocessing.to_json())
    assert found.preprocessing.inputs["x"].shape == (3,)


def test_options_written_out_are_read_again() -> None:
    for options in ({}, {"vocabulary": 9}, {"vocabulary": 9, "output": "count"}):
        one = source(type="text_folder", path="data", **options)
        assert Source.parse(one.dump()) == one
    assert source(type="text_folder", path="data", sequence_length=5).options.vocabulary == 5000  # type: ignore[attr-defined]
    for wrong in ({"output": "count"}, {"vocabulary": 9, "output": "multi_hot", "sequence_length": 3}):
        with pytest.raises(ValueError, match="output"):
            source(type="text_folder", path="data", **wrong)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("caf\u00e9\nna\u00efve".encode("latin-1"), ("not UTF-8", "0xe9 in line 1")),
        ("text".encode("utf-16"), ("not UTF-8", "0xff")),
        ("text".encode("utf-16-le"), ("no text", "zero")),
        (b"x" * ((1 << 24) + 1), ("more than 16,777,216 bytes", "type: csv")),
    ],
)
def test_files_that_are_no_text_are_named(folder: Path, raw: bytes, words: tuple[str, ...]) -> None:
    path = folder / "data" / "good" / "2.txt"
    path.write_bytes(raw)
    with fails("E402", "2.txt", *words) as problems:
        texts(folder)
    assert problems[0].where == path


def test_a_folder_without_texts_is_told_from_one_of_classes(folder: Path) -> None:
    for path in (folder / "data" / "good").iterdir():
        path.rename(path.with_suffix(".md"))
    with fails("E403", "folder `good`", "has no texts, but 4 other files", ".txt"):
        texts(folder)


def test_another_encoding_is_read_where_it_is_said_and_kept_for_new_files(opened: Path) -> None:
    path = opened / "data" / "good" / "2.txt"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with fails("E402", "not UTF-8", "encoding: latin-1"):
        texts(opened).train.inputs["x"][:]
    found = source(type="text_folder", path="data", encoding="latin-1").load(opened, 0)
    assert found.train.inputs["x"][6:7][0, 0] == "caf\u00e9"
    (block,) = read_inputs([str(path)], found.preprocessing, {"x": InputInfo((1,), "string")})
    assert block["x"].tolist() == [["caf\u00e9"]]
    with pytest.raises(ValueError, match="encoding of texts"):
        source(type="text_folder", path="data", encoding="utf-9")
