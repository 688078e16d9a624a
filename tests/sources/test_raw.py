from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import InputInfo
from kerascli.sources.raw import read_inputs, read_split
from tests.sources.helpers import fails, load

TABLE = "age,sex,label\n20,m,yes\n40,f,no\n60,m,yes\n"
GREY = {"x": InputInfo((2, 2, 1), "uint8")}
ARRAYS = Preprocessing()


@pytest.fixture
def fitted(tmp_path: Path) -> Preprocessing:
    (tmp_path / "t.csv").write_text(TABLE)
    found = load(tmp_path, type="csv", path="t.csv", target="label").preprocessing
    return Preprocessing.from_json(found.to_json())


def specs(preprocessing: Preprocessing) -> dict[str, InputInfo]:
    return {name: InputInfo(layout.shape, layout.dtype) for name, layout in preprocessing.inputs.items()}


def one(path: Path | str, preprocessing: Preprocessing, infos: dict[str, InputInfo], **more: Any) -> np.ndarray:
    return np.concatenate([block["x"] for block in read_inputs([str(path)], preprocessing, infos, **more)])


def test_rows_are_encoded_as_in_training_in_any_column_order(tmp_path: Path, fitted: Preprocessing) -> None:
    (tmp_path / "new.csv").write_text("extra,sex,age\n?,f,40\n?,m,NA\n")
    sd = np.sqrt(800 / 3)
    (tmp_path / "old.csv").write_text("age,sex\n20,m\n")
    np.testing.assert_allclose(one(tmp_path / "old.csv", fitted, specs(fitted)), [[-20 / sd, 0, 1, 0]], rtol=1e-6)
    assert one(tmp_path / "new.csv", fitted, specs(fitted)).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_standard_input_is_a_table_and_unseen_values_are_told(fitted: Preprocessing) -> None:
    said: list[str] = []
    stdin = io.StringIO("age,sex\n40,x\n40,x\n40,f\n")
    assert one("-", fitted, specs(fitted), stdin=stdin, say=said.append)[:, 1:].tolist() == [
        [0, 0, 1], [0, 0, 1], [1, 0, 0]]  # fmt: skip
    assert said == ["column `sex`: 2 values that training never showed (`x` 2×)"]


def test_a_long_table_comes_in_blocks_in_order(tmp_path: Path, fitted: Preprocessing) -> None:
    (tmp_path / "long.csv").write_text("age,sex\n" + "".join(f"{i},m\n" for i in range(9000)))
    blocks = list(read_inputs([str(tmp_path / "long.csv")], fitted, specs(fitted)))
    assert [len(block["x"]) for block in blocks] == [4096, 4096, 808]
    assert (np.diff(np.concatenate([block["x"][:, 0] for block in blocks])) > 0).all()


def test_an_absent_column_or_a_wrong_value_is_named(tmp_path: Path, fitted: Preprocessing) -> None:
    (tmp_path / "new.csv").write_text("sex\nf\n")
    with fails("E409", "no column `age`", "`sex`"):
        one(tmp_path / "new.csv", fitted, specs(fitted))
    (tmp_path / "new.csv").write_text("age,sex\n" + "1,m\n" * 5000 + "old,m\n")
    with fails("E408", "row 5001, column `age`: `old`"):
        one(tmp_path / "new.csv", fitted, specs(fitted))


def test_a_row_that_training_would_drop_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    features = {"age": {"missing": "drop"}, "sex": {"missing": "drop"}}
    found = load(tmp_path, type="csv", path="t.csv", target="label", features=features).preprocessing
    (tmp_path / "new.csv").write_text("age,sex\n" + "1,m\n" * 5000 + ",m\n")
    with fails("E408", "row 5001, column `age`", "missing: drop"):
        one(tmp_path / "new.csv", found, specs(found))


@pytest.mark.parametrize("shape", [(3, 2, 2, 1), (3, 2, 2), (2, 2, 1)])
def test_arrays_may_lack_the_channel_or_the_sample_axis(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))
    found = one(tmp_path / "a.npy", ARRAYS, GREY)
    assert found.shape[1:] == (2, 2, 1) and found.dtype == np.uint8
    assert found.ravel().tolist() == list(range(int(np.prod(shape))))


def test_arrays_of_another_shape_or_lossy_type_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 5), np.uint8))
    with fails("E403", "(2, 2, 1)", "(3, 5)"):
        one(tmp_path / "a.npy", ARRAYS, GREY)
    np.save(tmp_path / "a.npy", np.full((3, 2, 2), 0.5))
    with fails("E408", "uint8", "0.5", "scaling"):
        one(tmp_path / "a.npy", ARRAYS, GREY)
    np.save(tmp_path / "a.npy", np.full((3, 2, 2), 200.0))
    assert one(tmp_path / "a.npy", ARRAYS, GREY).dtype == np.uint8


def test_pickles_nan_and_truncated_arrays_are_refused(tmp_path: Path) -> None:
    infos = {"x": InputInfo((2,), "float32")}
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with fails("E402", "a.npy"):
        one(tmp_path / "a.npy", ARRAYS, infos)
    np.save(tmp_path / "a.npy", np.array([[1, 2], [np.nan, 4]]))
    with fails("E404", "nan at [1, 0]"):
        one(tmp_path / "a.npy", ARRAYS, infos)
    long = np.zeros((9000, 2))
    long[8500, 1] = np.inf
    np.save(tmp_path / "long.npy", long)
    with fails("E404", "inf at [8500, 1]"):
        one(tmp_path / "long.npy", ARRAYS, infos)
    whole = (tmp_path / "a.npy").read_bytes()
    for cut in (0, 5, 60, len(whole) - 1):
        (tmp_path / "a.npy").write_bytes(whole[:cut])
        with fails("E402", "a.npy"):
            one(tmp_path / "a.npy", ARRAYS, infos)


def test_archives_serve_inputs_by_name(tmp_path: Path) -> None:
    infos = {"left": InputInfo((2,), "float32"), "right": InputInfo((1,), "int32")}
    np.savez(tmp_path / "a.npz", left=np.zeros((3, 2)), right=np.ones((3, 1)))
    (block,) = read_inputs([str(tmp_path / "a.npz")], ARRAYS, infos)
    assert block["left"].shape == (3, 2) and block["right"].dtype == np.int32
    np.savez(tmp_path / "a.npz", left=np.zeros((3, 2)))
    with fails("E403", "no array for `right`"):
        list(read_inputs([str(tmp_path / "a.npz")], ARRAYS, infos))
    np.savez(tmp_path / "a.npz", left=np.zeros((3, 2)), right=np.ones((2, 1)))
    with fails("E403", "differ in length"):
        list(read_inputs([str(tmp_path / "a.npz")], ARRAYS, infos))


@pytest.mark.parametrize("header", ["", "p0,p1,p2,p3\n"])
def test_rows_of_numbers_serve_an_input_of_arrays(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(header + "0,1,2,3\n4,5,6,255\n")
    assert one(tmp_path / "a.csv", ARRAYS, GREY).tolist() == [[[[0], [1]], [[2], [3]]], [[[4], [5]], [[6], [255]]]]
    (tmp_path / "a.csv").write_text(header + "0,1,2,3\n4,5,6\n")
    with fails("E403", "3 values", "takes 4"):
        one(tmp_path / "a.csv", ARRAYS, GREY)
    (tmp_path / "a.csv").write_text(header + "0,1,2,3\n4,5,6,b\n")
    with fails("E408", "row 2, column 4: `b`"):
        one(tmp_path / "a.csv", ARRAYS, GREY)


def test_unknown_endings_absent_files_and_empty_ones_are_named(tmp_path: Path, fitted: Preprocessing) -> None:
    for name, code in (("a.parquet", "E402"), ("a.npy", "E401"), ("a.npz", "E401"), ("a.csv", "E401")):
        with fails(code, name):
            one(tmp_path / name, ARRAYS, GREY)
    (tmp_path / "none.csv").write_text("age,sex\n")
    with fails("E403", "no samples"):
        one(tmp_path / "none.csv", fitted, specs(fitted))


def test_evaluation_reads_samples_with_targets(tmp_path: Path, fitted: Preprocessing) -> None:
    (tmp_path / "new.csv").write_text("label,sex,age\nno,f,40\nyes,m,NA\n")
    split, notes = read_split(tmp_path / "new.csv", fitted, specs(fitted))
    assert split.targets["label"].tolist() == [0, 1] and len(split) == 2 and not notes
    (tmp_path / "new.csv").write_text("label,sex,age\nno,f,40\nperhaps,m,NA\n")
    with fails("E405", "row 2", "`perhaps`"):
        read_split(tmp_path / "new.csv", fitted, specs(fitted))
    np.savez(tmp_path / "a.npz", x_train=np.zeros((4, 2)), y_train=np.array([0, 1, 2, 0]))
    arrays = load(tmp_path, type="npz", path="a.npz").preprocessing
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 2)), y=np.array([2, 1]))
    split, _ = read_split(tmp_path / "b.npz", arrays, specs(arrays))
    assert split.targets["y"].tolist() == [2, 1] and split.inputs["x"].dtype == np.float32
    split, _ = read_split(tmp_path / "b.npz", arrays, {"other": InputInfo((2,), "float32")})
    assert list(split.inputs) == ["x"], "a single input goes by its trained name"


def test_damaged_preprocessing_is_a_problem(fitted: Preprocessing) -> None:
    for text in (
        "",
        "{",
        "[]",
        fitted.to_json().replace('"numeric"', '"numbers"'),
        fitted.to_json().replace("40.0", "NaN"),
    ):
        with fails("E402", "preprocessing.json"):
            Preprocessing.from_json(text)
