from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.check import check
from kerascli.launch import train
from tests.sources.helpers import fails, load, source


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez_compressed(path, **arrays)
    return path


def arrays(n: int = 10) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x_train": rng.normal(size=(n, 3)), "y_train": np.arange(n) % 4}


def test_default_names_make_the_splits(tmp_path: Path) -> None:
    data = arrays()
    save(tmp_path, **data, x_val=data["x_train"][:2], y_val=data["y_train"][:2], x_test=data["x_train"][:3],
         y_test=data["y_train"][:3], sample_weight_train=np.linspace(0, 1, 10))  # fmt: skip
    found = load(tmp_path, type="npz", path="data.npz")
    assert found.validation is not None and found.test is not None
    assert [len(found.train), len(found.validation), len(found.test)] == [10, 2, 3]
    assert found.train.inputs["x"].dtype == np.float32
    assert found.train.targets["y"].dtype == np.int32
    np.testing.assert_allclose(found.train.inputs["x"], data["x_train"], rtol=1e-6)
    assert found.train.sample_weight is not None and found.train.sample_weight.dtype == np.float32
    assert found.test.sample_weight is None


@pytest.mark.parametrize(
    ("stored", "served"), [("uint8", "uint8"), ("int64", "int32"), ("bool", "int32"), ("float16", "float32")]
)
def test_dtypes_are_served_as_the_signature_says(tmp_path: Path, stored: str, served: str) -> None:
    save(tmp_path, x_train=np.ones((4, 2), stored), y_train=np.zeros(4))
    one = source(type="npz", path="data.npz")
    assert one.peek(tmp_path).inputs["x"].dtype == served
    assert one.load(tmp_path, 0).train.inputs["x"].dtype == served


def test_arrays_may_have_other_names(tmp_path: Path) -> None:
    save(tmp_path, x=np.zeros((4, 2)), y=np.array([0, 1, 2, 1]))
    assert len(load(tmp_path, type="npz", path="data.npz", x_train="x", y_train="y").train) == 4
    with fails("E403", "no array `x_train`", "`x`, `y`"):
        load(tmp_path, type="npz", path="data.npz")


def test_several_inputs_and_targets_go_by_name(tmp_path: Path) -> None:
    two = np.zeros((6, 2))
    save(tmp_path, left_train=two, right_train=two + 1, same_train=np.ones(6), far_train=np.zeros((6, 2)))
    one = source(type="npz", path="data.npz", inputs={"a": "left", "b": "right"}, targets={"p": "same", "q": "far"})
    signature = one.peek(tmp_path, ["b", "a"])
    assert list(signature.inputs) == ["b", "a"] and signature.targets["q"].shape == (2,)
    assert one.load(tmp_path, 0).train.inputs["b"].max() == 1
    with fails("E409", "no input for `bb`", "did you mean `b`?"):
        one.peek(tmp_path, ["a", "bb"])


def test_labels_count_their_classes(tmp_path: Path) -> None:
    save(tmp_path, **arrays())
    one = source(type="npz", path="data.npz")
    info = one.peek(tmp_path).targets["y"]
    assert info.classes == 4 and info.shape_as("one_hot") == (4,) and info.shape_as("integer") == ()
    assert one.load(tmp_path, 0, {"y": "one_hot"}).train.targets["y"].tolist()[1] == [0, 1, 0, 0]
    assert one.load(tmp_path, 0, {"y": "none"}).train.targets["y"].dtype == np.float32
    one = source(type="npz", path="data.npz", target_encoding="one_hot")
    assert one.load(tmp_path, 0, {"y": "integer"}).train.targets["y"].shape == (10, 4), "the spec's word is last"


def test_one_hot_vectors_become_ids_and_others_do_not(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.zeros((3, 1)), y_train=np.eye(3))
    one = source(type="npz", path="data.npz")
    assert one.load(tmp_path, 0, {"y": "integer"}).train.targets["y"].tolist() == [0, 1, 2]
    assert one.load(tmp_path, 0, {"y": "one_hot"}).train.targets["y"].tolist() == np.eye(3).tolist()
    save(tmp_path, x_train=np.zeros((3, 1)), y_train=np.full((3, 3), 0.5))
    with fails("E405", "not one-hot"):
        one.load(tmp_path, 0, {"y": "integer"})


def test_text_labels_are_class_names(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.zeros((3, 1)), y_train=np.array(["owl", "cat", "owl"]), x_test=np.zeros((1, 1)),
         y_test=np.array(["cow"]))  # fmt: skip
    one = source(type="npz", path="data.npz")
    assert one.peek(tmp_path).targets["y"].class_names == ("cat", "owl")
    with fails("E405", "row 1", "`cow`"):
        one.load(tmp_path, 0)


def test_labels_beyond_the_training_classes_are_named(tmp_path: Path) -> None:
    save(tmp_path, **arrays(), x_test=np.zeros((2, 3)), y_test=np.array([1, 9]))
    with fails("E405", "row 2 has label 9", "0 to 3"):
        load(tmp_path, type="npz", path="data.npz")


def test_measured_values_are_no_labels(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.zeros((3, 1)), y_train=np.array([0.0, 0.5, 1.0]))
    with fails("E405", "row 2 has 0.5"):
        load(tmp_path, {"y": "integer"}, type="npz", path="data.npz")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named_unless_allowed(tmp_path: Path, bad: float) -> None:
    data = arrays()
    data["x_train"][7, 2] = bad
    save(tmp_path, **data)
    with fails("E404", "`x` of the train split", str(bad), "[7, 2]", "allow_nan"):
        load(tmp_path, type="npz", path="data.npz")
    assert not np.isfinite(load(tmp_path, type="npz", path="data.npz", allow_nan=True).train.inputs["x"]).all()


def test_what_float32_cannot_hold_is_infinity(tmp_path: Path) -> None:
    data = arrays()
    data["x_train"][0, 0] = 1e300
    save(tmp_path, **data)
    with fails("E404", "inf at [0, 0]"):
        load(tmp_path, type="npz", path="data.npz")


def test_integers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.full((2, 1), 2**40), y_train=np.zeros(2))
    with fails("E403", "do not fit 32 bits"):
        load(tmp_path, type="npz", path="data.npz")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.array([{"run": "me"}], dtype=object), y_train=np.zeros(1))
    for act in (lambda: source(type="npz", path="data.npz").peek(tmp_path),
                lambda: load(tmp_path, type="npz", path="data.npz")):  # fmt: skip
        with fails("E402", "pickled"):
            act()


def test_lengths_must_agree(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.zeros((4, 2)), y_train=np.zeros(3))
    with fails("E403", "`x_train` 4", "`y_train` 3"):
        source(type="npz", path="data.npz").peek(tmp_path)


def test_a_split_without_targets_or_of_another_shape_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, **arrays(), x_test=np.zeros((2, 3)))
    with fails("E403", "`y_test`", "test split"):
        source(type="npz", path="data.npz").peek(tmp_path)
    save(tmp_path, **arrays(), x_test=np.zeros((2, 5)), y_test=np.zeros(2, int))
    with fails("E403", "(5,)", "(3,)"):
        source(type="npz", path="data.npz").peek(tmp_path)


def test_own_and_cut_validation_exclude_each_other(tmp_path: Path) -> None:
    data = arrays()
    save(tmp_path, **data, x_val=data["x_train"], y_val=data["y_train"])
    with fails("E406", "validation split of their own"):
        source(type="npz", path="data.npz", validation_split=0.5).peek(tmp_path)


def test_a_split_of_nothing_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.zeros((1, 2)), y_train=np.zeros(1))
    with fails("E406", "train split is empty", "1 samples"):
        source(type="npz", path="data.npz", validation_split=0.5).peek(tmp_path)
    save(tmp_path, x_train=np.zeros((0, 2)), y_train=np.zeros(0, int))
    with fails("E406", "empty"):
        source(type="npz", path="data.npz").peek(tmp_path)


def test_every_truncation_and_many_flips_are_problems_not_tracebacks(tmp_path: Path) -> None:
    from kerascli.errors import Failure

    whole = save(tmp_path, **arrays()).read_bytes()
    rng = np.random.default_rng(1)
    damaged = [whole[:cut] for cut in range(0, len(whole), 23)]
    for place in rng.integers(len(whole), size=150):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    refused = 0
    for data in damaged:
        (tmp_path / "bad.npz").write_bytes(data)
        try:
            load(tmp_path, type="npz", path="bad.npz")
        except Failure as failure:
            refused += 1
            assert all(problem.code.startswith("E4") for problem in failure.problems)
    assert refused > len(whole) // 23


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 8)})
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("x_train.npy", head.getvalue() + b"\0" * 64)
    with fails("E402", "x_train"):
        source(type="npz", path="data.npz", y_train="x_train").peek(tmp_path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with fails("E401", "none.npz"):
        source(type="npz", path="none.npz").peek(tmp_path)


def test_sorted_classes_are_told_where_they_are_cut_and_stratify_mends_it(tmp_path: Path) -> None:
    save(tmp_path, x_train=np.arange(60.0)[:, None], y_train=np.repeat(np.arange(3), 20))
    (first, second) = load(tmp_path, type="npz", path="data.npz", validation_split=0.4).notes
    assert "train split has no sample of 1 of the classes of `y` (`2`)" in first and "stratify: true" in first
    assert "validation split has no sample of 1" in second
    found = load(tmp_path, type="npz", path="data.npz", validation_split=0.4, stratify=True)
    assert found.validation is not None and not found.notes
    assert np.bincount(found.validation.targets["y"][:]).tolist() == [8, 8, 8]
    assert found.train.inputs["x"][:4, 0].tolist() == [0, 20, 40, 1], "each class in its own order"
    save(tmp_path, x_train=np.zeros((9, 1)), y_train=np.linspace(0, 1, 9))
    with fails("E406", "class labels"):
        load(tmp_path, type="npz", path="data.npz", stratify=True)


def test_one_class_only_is_refused_where_classes_are_learnt(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=np.random.default_rng(0).random((20, 3)), y_train=np.ones(20, np.int64))
    text = "dataset: {type: npz, path: data.npz}\nlayers: [{type: Dense, units: 2}]\nloss: %s\n"
    (tmp_path / "spec.yaml").write_text(text % "sparse_categorical_crossentropy")
    with fails("E410", "has one class only, `1`", "stratify: true"):
        train(check(tmp_path / "spec.yaml"), tmp_path / "runs", threads=1)
    notes = load(tmp_path, {"y": "none"}, type="npz", path="data.npz").notes
    assert notes == ("warning: target `y` is 1 in every training sample: are they sorted?",)


def test_an_archive_without_its_end_is_told_from_no_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=np.zeros((20, 3)), y_train=np.arange(20))
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with fails("E402", "damaged", "its end is missing"):
        load(tmp_path, type="npz", path="data.npz")
