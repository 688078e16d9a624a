"""What `data` finds: every trap is set on purpose once, and no finished config falls into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli.inspection import Inspection, inspect
from kerascli.inspection.look import BLOCK_BYTES, Look, Seen
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import Split
from kerascli.sources.rows import Samples, Streamed

ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("configs/bench/*.yaml")])
CLASSIFIER = "layers: [{type: Dense, units: %d, activation: softmax}]\nloss: sparse_categorical_crossentropy\n"
REGRESSION = "layers: [{type: Dense, units: 1}]\nloss: mse\n"


def look(folder: Path, dataset: str, net: str, **arrays: Any) -> Inspection:
    """What is found in arrays of `data.npz`."""
    if arrays:
        np.savez(folder / "data.npz", **arrays)
    (folder / "spec.yaml").write_text(f"dataset: {dataset}\n{net}")
    return inspect(folder / "spec.yaml")


def found(inspection: Inspection) -> dict[str, str]:
    """Kind and severity of the findings; notes of samples that repeat others or are not held back left out."""
    usual = ("copies_within_split", "nothing_held_back")
    return {f.kind: f.severity for f in inspection.findings if f.kind not in usual}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_no_config_raises_an_alarm(config: Path) -> None:
    small = inspect(config, ["dataset.limit=2000"]) if "mnist" in config.stem else inspect(config)
    assert [f.message for f in small.findings if f.severity != "note"] == []
    assert not small.problems


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "penguins", "digits"])
def test_no_bundled_set_raises_an_alarm(tmp_path: Path, name: str) -> None:
    layers = "[{type: Rescaling, scale: 0.0625}, Flatten, {type: Dense, units: 10, activation: softmax}]"
    net = f"layers: {layers}\nloss: sparse_categorical_crossentropy\n"
    seen = look(tmp_path, f"{{type: {name}, validation_split: 0.2, test_split: 0.2}}", net)
    assert [f.message for f in seen.findings if f.severity != "note"] == []


def test_samples_in_two_splits_are_counted_and_shown(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(100, 4)).astype("f4"), rng.integers(2, size=100)
    test = np.concatenate([rng.normal(size=(17, 4)).astype("f4"), x[40:43]])
    seen = look(
        tmp_path, "{type: npz, path: data.npz}", CLASSIFIER % 2, x_train=x, y_train=y, x_test=test, y_test=y[:20]
    )
    assert seen.copies.across == {"test in train": 3}
    assert [(p.index, p.first_index) for p in seen.copies.examples] == [(17, 40), (18, 41), (19, 42)]
    assert found(seen)["copies_across_splits"] == "warning"


def test_copies_are_found_across_blocks_and_inputs(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(9000, 2)).astype("f4")
    x[8999] = x[1]
    seen = look(tmp_path, "{type: npz, path: data.npz}", REGRESSION, x_train=x, y_train=x[:, 0] * 1.0)
    assert seen.copies.within == {"train": 1}
    assert seen.copies.contradicting == 0
    y = x[:, 0].copy()
    y[1] += 1
    again = look(tmp_path, "{type: npz, path: data.npz}", REGRESSION, x_train=x, y_train=y)
    assert again.copies.contradicting == 2


def test_figures_are_those_of_numpy(tmp_path: Path, rng: np.random.Generator) -> None:
    x = (rng.normal(size=(9001, 7)) * 3 + 5).astype("f4")
    x[:, 3] = 0
    seen = look(tmp_path, "{type: npz, path: data.npz}", REGRESSION, x_train=x, y_train=x[:, 0])
    n = seen.inputs["input_layer"].numbers["train"]
    assert (n.minimum, n.maximum, n.count) == (x.min(), x.max(), x.size)
    assert n.mean == pytest.approx(x.mean(dtype="f8"), rel=1e-9)
    assert n.deviation == pytest.approx(x.std(dtype="f8"), rel=1e-9)
    assert n.zeros == pytest.approx(1 / 7)
    assert seen.inputs["input_layer"].constant == 1


def test_figures_of_bytes_are_exact_and_large_means_lose_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.integers(3, 200, size=(50, 6, 6, 1), dtype=np.uint8)
    y = (1e9 + rng.normal(size=50)).astype("f8")
    layers = "layers: [{type: Rescaling, scale: 0.004}, Flatten, {type: Dense, units: 1}]\nloss: mse\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", layers, x_train=x, y_train=y)
    n = seen.inputs["input_layer"].numbers["train"]
    assert n.mean == pytest.approx(x.mean())
    assert n.deviation == pytest.approx(x.std())
    assert sum(n.histogram) == x.size
    assert seen.inputs["input_layer"].kind == "images"


def test_classes_that_are_sorted_missing_or_rare_are_said(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1000, 3)).astype("f4")
    y = np.repeat(np.arange(4), 250)
    seen = look(tmp_path, "{type: npz, path: data.npz, validation_split: 0.2}", CLASSIFIER % 4, x_train=x, y_train=y)
    assert found(seen) == {"sorted_by_class": "error"}
    where = next(f.where for f in seen.findings if f.kind == "sorted_by_class")
    assert where is not None and (where.line, where.column) == (1, 38)
    mixed = "{type: npz, path: data.npz, validation_split: 0.2, stratify: true}"
    seen = look(tmp_path, mixed, CLASSIFIER % 4)
    assert found(seen) == {}
    assert seen.targets["dense"].counts == {"train": (200,) * 4, "validation": (50,) * 4}
    y = np.where(rng.random(1000) < 0.02, 1, 0)
    seen = look(tmp_path, "{type: npz, path: data.npz}", CLASSIFIER % 2, x_train=x, y_train=y)
    assert found(seen) == {"imbalance": "warning"}
    weighted = f"{CLASSIFIER % 2}training: {{class_weight: balanced}}\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", weighted)
    assert found(seen) == {}
    counts, weights = seen.targets["dense"].counts["train"], seen.targets["dense"].weights
    assert weights == pytest.approx([1000 / (2 * count) for count in counts])


def test_a_class_that_only_some_splits_have_is_said(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(90, 3)).astype("f4"), np.tile([0, 1, 3], 30)
    held = {"x_test": rng.normal(size=(60, 3)).astype("f4"), "y_test": np.tile([0, 1, 2], 20)}
    seen = look(tmp_path, "{type: npz, path: data.npz}", CLASSIFIER % 4, x_train=x, y_train=y, **held)
    messages = [(f.severity, f.message) for f in seen.findings if f.kind == "class_missing"]
    assert messages[0] == ("error", "no training sample is of class `2`, 20 elsewhere are")
    assert messages[1] == ("warning", "the test split has no sample of class `3`")
    one = look(tmp_path, "{type: npz, path: data.npz}", CLASSIFIER % 2, x_train=x, y_train=y * 0)
    assert found(one) == {"one_class": "error"}


def test_values_that_want_scaling_are_said_where_a_layer_reads_them(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.integers(256, size=(60, 6, 6, 1), dtype=np.uint8), rng.integers(2, size=60)
    dense = "{type: Dense, units: 2, activation: softmax}"
    loss = "loss: sparse_categorical_crossentropy\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", f"layers: [Flatten, {dense}]\n{loss}", x_train=x, y_train=y)
    (finding,) = [f for f in seen.findings if f.kind == "unscaled"]
    assert finding.where is not None and (finding.where.line, finding.where.column) == (2, 26)
    assert "Rescaling" in finding.help
    for first in ("{type: Rescaling, scale: 0.004}", "Normalization", "BatchNormalization"):
        scaled = look(tmp_path, "{type: npz, path: data.npz}", f"layers: [{first}, Flatten, {dense}]\n{loss}")
        assert found(scaled) == {}, first
    rescaled = f"layers: [{{type: Rescaling, scale: 0.00392156862745098}}, Flatten, {dense}]\n{loss}"
    seen = look(tmp_path, "{type: npz, path: data.npz}", rescaled, x_train=x / 255, y_train=y)
    assert found(seen) == {"scaled_twice": "warning"}


def test_ids_and_texts_are_measured(tmp_path: Path) -> None:
    x = np.array([[0, 0, 3, 9], [0, 1, 1, 1], [5, 5, 5, 5]] * 20, "i4")
    net = "layers: [{type: Embedding, input_dim: %d, output_dim: 2}, {type: LSTM, units: 2}, {type: Dense, units: 1}]\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", net % 9 + "loss: mse\n", x_train=x, y_train=np.arange(60.0))
    tokens = seen.inputs["input_layer"].tokens["train"]
    assert (tokens.largest, tokens.padding) == (9, 0.25)
    assert tokens.full == pytest.approx(1 / 3)
    assert (tokens.lengths.minimum, tokens.lengths.mean, tokens.lengths.maximum) == (2, 3, 4)
    assert found(seen)["id_without_row"] == "error"
    fits = look(tmp_path, "{type: npz, path: data.npz}", net % 10 + "loss: mse\n")
    assert "id_without_row" not in found(fits)


def test_numbers_that_are_not_finite_are_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3)).astype("f4")
    x[3, 1], x[5, 2] = np.nan, np.inf
    allowed = "{type: npz, path: data.npz, allow_nan: true}"
    seen = look(tmp_path, allowed, REGRESSION, x_train=x, y_train=rng.normal(size=40))
    assert seen.inputs["input_layer"].numbers["train"].not_finite == 2
    assert found(seen) == {"not_finite": "warning"}
    seen = look(tmp_path, allowed, REGRESSION, x_train=x[10:], y_train=np.full(30, 2.5))
    assert found(seen) == {"one_value": "error"}


def test_labels_of_several_at_once_are_counted_each(tmp_path: Path, rng: np.random.Generator) -> None:
    y = (rng.random((80, 3)) < [0.5, 0, 0.2]).astype("f4")
    net = "layers: [{type: Dense, units: 3, activation: sigmoid}]\nloss: binary_crossentropy\n"
    x = rng.normal(size=(80, 4)).astype("f4")
    seen = look(tmp_path, "{type: npz, path: data.npz}", net, x_train=x, y_train=y)
    assert seen.targets["dense"].kind == "labels"
    assert seen.targets["dense"].counts["train"] == tuple(int(n) for n in y.sum(axis=0))
    assert found(seen) == {"one_value": "warning"}


def test_one_hot_rows_are_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    x, ids = rng.normal(size=(90, 4)).astype("f4"), rng.integers(3, size=90)
    net = "layers: [{type: Dense, units: 3, activation: softmax}]\nloss: categorical_crossentropy\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", net, x_train=x, y_train=np.eye(3)[ids])
    target = seen.targets["dense"]
    assert (target.kind, target.encoding) == ("classes", "one_hot")
    assert target.counts["train"] == tuple(np.bincount(ids).tolist())
    assert target.runs == 1 + np.count_nonzero(np.diff(ids))


def test_streamed_samples_are_read_in_small_blocks_and_give_the_same(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(3000, 64, 8)).astype("f4"), rng.normal(size=3000).astype("f4")
    x[2999] = x[7]
    asked: list[int] = []

    def read(rows: Array) -> Array:
        asked.append(len(rows))
        found: Array = x[rows]
        return found

    def seen(inputs: Samples) -> Seen:
        look = Look(Preprocessing(), None, None, lambda done, total: None, 3000)
        look.at("train", Split({"x": inputs}, {"y": y}))
        return look.found(None)

    streamed = seen(Streamed(x.shape, x.dtype, read))
    assert sum(asked) == 3000
    assert max(asked) * x[0].nbytes <= BLOCK_BYTES
    assert streamed == seen(x)
    assert streamed.copies.within == {"train": 1}


FAULTY: dict[str, Callable[[int, bool], object]] = {
    "id": lambda i, churn: i,
    "age": lambda i, churn: "" if i % 9 == 0 else 20 + (i * 7) % 50,
    "income": lambda i, churn: 9_999_999 if i in (3, 77) else 2000 + (i * 37) % 900,
    "sex": lambda i, churn: ("male", "Male", "female")[i % 3],
    "country": lambda i, churn: "NL",
    "email": lambda i, churn: f"u{i}@example.org",
    "code": lambda i, churn: "A" if i % 4 == 0 else "",
    "place": lambda i, churn: ("here", "there")[i // 5 % 2] if i < 320 else "elsewhere",
    "leak": lambda i, churn: churn * 2.5,
}
EXPECTED = {
    "id": "like_an_id",
    "income": "far_values",
    "sex": "spellings",
    "country": "one_value",
    "email": "like_an_id",
    "code": "mostly_missing",
    "place": "unseen_values",
    "leak": "tells_the_target",
}


def test_every_fault_of_a_table_is_said_once_with_its_column(tmp_path: Path) -> None:
    rows = [(i, (i * 11) % 7 < 2) for i in range(400)]
    lines = [",".join([*FAULTY, "churn"])]
    lines += [",".join([*(str(make(i, churn)) for make in FAULTY.values()), ["no", "yes"][churn]]) for i, churn in rows]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    net = "layers: [{type: Dense, units: 1, activation: sigmoid}]\nloss: binary_crossentropy\n"
    seen = look(tmp_path, "{type: csv, path: table.csv, target: churn, validation_split: 0.2}", net)
    said = {f.message.split("`")[1]: f.kind for f in seen.findings if f.message.startswith("column")}
    assert said == EXPECTED
    assert seen.columns["age"].missing == {"train": 36, "validation": 9}
    ages = [20 + (i * 7) % 50 for i in range(320) if i % 9]
    assert float(seen.columns["age"].filled) == pytest.approx(np.mean(ages), rel=1e-5)
    assert seen.columns["sex"].frequent[0][1] == 107
    assert seen.columns["place"].unseen == {"validation": 80}
    assert seen.columns["age"].tells is not None and seen.columns["age"].tells < 0.5


def test_a_column_that_the_number_follows_from_gives_it_away(tmp_path: Path, rng: np.random.Generator) -> None:
    price, noise = rng.normal(size=200), rng.normal(size=200)
    rows = [f"{p * 1.8 + 32:.6f},{n:.6f},{p:.6f}" for p, n in zip(price, noise, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["other_unit,noise,price", *rows]))
    seen = look(tmp_path, "{type: csv, path: table.csv, target: price}", REGRESSION)
    assert seen.columns["other_unit"].tells == pytest.approx(1)
    assert found(seen) == {"tells_the_target": "warning"}


def test_few_rows_of_numbers_do_not_give_the_target_away_by_chance(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [f"{value:.4f},{i % 2}" for i, value in enumerate(rng.normal(size=40))]
    (tmp_path / "table.csv").write_text("\n".join(["value,kind", *rows]))
    seen = look(tmp_path, "{type: csv, path: table.csv, target: kind}", CLASSIFIER % 2)
    assert found(seen) == {}


def test_a_stratified_table_is_measured_in_its_new_order(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = [f"{i}.5,{'xyz'[i // 100]}" for i in range(300)]
    (tmp_path / "table.csv").write_text("\n".join(["value,kind", *rows]))
    table = "{type: csv, path: table.csv, target: kind, validation_split: 0.2%s}"
    seen = look(tmp_path, table % "", CLASSIFIER % 3)
    assert found(seen) == {"sorted_by_class": "error", "tells_the_target": "warning"}
    assert seen.columns["value"].numbers["train"].maximum == 239.5
    seen = look(tmp_path, table % ", stratify: true", CLASSIFIER % 3)
    assert seen.targets["dense"].counts == {"train": (80,) * 3, "validation": (20,) * 3}
    assert found(seen) == {"tells_the_target": "warning"}
    assert seen.columns["value"].numbers["train"].maximum == 279.5


def test_dates_texts_and_labels_of_a_table_are_measured(tmp_path: Path) -> None:
    words = ["one", "one two", "", "one two three"]
    rows = [f"2020-01-{i % 28 + 1:02},{words[i % 4]},{('red;blue', 'red', '')[i % 3]}" for i in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["day,review,tags", *rows]))
    dataset = "{type: csv, path: table.csv, target: tags, label_separator: ';', features: "
    dataset += "{day: date, review: {kind: text, vocabulary: 9, sequence_length: 4}}}"
    net = """layers:
  - {type: Input, name: day}
  - {type: Input, name: review}
  - {type: Embedding, input_dim: 9, output_dim: 2, inputs: review}
  - {type: Flatten, name: flat}
  - {type: Concatenate, inputs: [day, flat]}
  - {type: Dense, units: 2, activation: sigmoid}
loss: binary_crossentropy
"""
    seen = look(tmp_path, dataset, net)
    review, target = seen.columns["review"], seen.targets["dense"]
    assert (review.kind, review.distinct, review.missing) == ("text", 3, {"train": 15})
    assert review.lengths is not None
    assert (review.lengths.minimum, review.lengths.mean, review.lengths.maximum) == (1, 2, 3)
    assert seen.columns["day"].kind == "date"
    assert seen.columns["day"].numbers["train"].minimum == 1577836800
    assert (target.kind, target.names, target.counts) == ("labels", ("blue", "red"), {"train": (20, 40)})
    assert seen.inputs["review"].tokens["train"].unknown == 0


def test_data_are_shown_though_the_network_does_not_fit_them(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(30, 4)).astype("f4"), rng.integers(3, size=30)
    net = "layers: [{type: Conv2D, filters: 2, kernel_size: 3}, {type: Dense, units: 3}]\nloss: mse\n"
    seen = look(tmp_path, "{type: npz, path: data.npz}", net, x_train=x, y_train=y)
    assert [p.code for p in seen.problems] == ["E301"]
    assert sum(seen.targets["y"].counts["train"]) == 30


def test_image_files_are_measured_as_they_are_stored(tmp_path: Path, rng: np.random.Generator) -> None:
    Image = pytest.importorskip("PIL.Image")
    for number in range(20):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.{'jpg' if number < 5 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (9, 30 + number, 3) if number < 4 else (20, 20)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    net = "layers: [{type: Rescaling, scale: 0.004}, Flatten, {type: Dense, units: 2, activation: softmax}]\n"
    net += "loss: sparse_categorical_crossentropy\n"
    folder = "{type: image_folder, path: data, image_size: 24%s}"
    seen = look(tmp_path, folder % "", net)
    train = seen.pictures["train"]
    assert (train.files, train.smallest, train.median, train.largest) == (20, (9, 20), (20, 20), (20, 33))
    assert train.sizes == 5 and train.formats == {"PNG": 15, "JPEG": 5} and train.modes == {"L": 16, "RGB": 4}
    assert found(seen) == {"enlarged_images": "note", "distorted_images": "note"}
    assert [f.message for f in seen.findings if f.kind == "distorted_images"] == [
        "4 of 20 images are squeezed or stretched by more than a quarter"
    ]
    (tmp_path / "more" / "b").mkdir(parents=True)
    (tmp_path / "more" / "b" / "copy.png").write_bytes((tmp_path / "data" / "b" / "9.png").read_bytes())
    both = folder.replace("path: data", "path: {train: data, test: more}")
    seen = look(tmp_path, both % ", validation_split: 0.5, stratify: true, crop_to_aspect_ratio: true", net)
    assert "distorted_images" not in found(seen)
    assert "such as test `b/copy.png` = validation `b/9.png`" in next(
        f.message for f in seen.findings if f.kind == "copies_across_splits"
    )
