"""Images and texts that are files of their own, given to `predict` and `evaluate`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from kerascli import api, predictions
from kerascli.check import check
from kerascli.outcome import Outcome
from kerascli.preprocessing import InputLayout, Preprocessing, TargetLayout
from kerascli.sources.base import InputInfo
from kerascli.sources.raw import read_inputs, read_split
from kerascli.stored import Stored
from tests.sources.helpers import fails

HEAD = "loss: sparse_categorical_crossentropy\nmetrics: [accuracy]\ntraining: {epochs: 2, batch_size: 4}\n"
IMAGES = (
    "dataset: {type: image_folder, path: data, image_size: [4, 5], interpolation: nearest}\n"
    "layers: [Flatten, {type: Dense, units: 2, activation: softmax}]\n" + HEAD
)
NUMBERS = (
    "dataset: {type: text_folder, path: data, vocabulary: 9, output: count}\n"
    "layers: [{type: Dense, units: 2, activation: softmax}]\n" + HEAD
)
TEXTS = (
    "dataset: {type: text_folder, path: data}\n"
    "layers: [{type: TextVectorization, output_mode: multi_hot}, {type: Dense, units: 2, activation: softmax}]\n" + HEAD
)


def trained(folder: Path, text: str) -> Outcome:
    for name, value in (("cats", 40), ("dogs", 200)):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        for k in range(4):
            pixels = np.random.default_rng(value + k).integers(value - 30, value + 30, (6, 7 + k, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{k}.png")
            sound = ("barks", "meows", "purrs", "sleeps")[k]
            (folder / "data" / name / f"{k}.txt").write_text(f"a {name[:-1]} {sound}")
    (folder / "spec.yaml").write_text(text)
    return api.train(check(folder / "spec.yaml"), folder / "runs", threads=1)


@pytest.mark.parametrize(
    ("text", "suffix"), [(IMAGES, "png"), (NUMBERS, "txt"), (TEXTS, "txt")], ids=["images", "numbers", "texts"]
)
def test_a_file_and_a_folder_are_predicted_and_named(tmp_path: Path, text: str, suffix: str) -> None:
    stored = Stored(trained(tmp_path, text).run)
    one, places = str(tmp_path / "data" / "dogs" / f"1.{suffix}"), list[str]()
    model, outputs = api.predict(stored, [str(tmp_path / "data"), one], threads=1, places=places)
    expected = [str(tmp_path / "data" / name / f"{k}.{suffix}") for name in ("cats", "dogs") for k in range(4)]
    assert places == [*expected, one]
    name = model.graph.outputs[0]
    np.testing.assert_allclose(outputs[name][5], outputs[name][8], atol=1e-6)
    rows = list(csv.DictReader(io.StringIO(predictions.as_text(model, outputs, "csv", None, places))))
    assert rows[0]["file"] == expected[0] and rows[0]["class"] in ("cats", "dogs") and len(rows) == 9


@pytest.mark.parametrize("text", [IMAGES, NUMBERS, TEXTS], ids=["images", "numbers", "texts"])
def test_a_folder_of_classes_is_evaluated_as_training_was(tmp_path: Path, text: str) -> None:
    outcome = trained(tmp_path, text)
    stored, expected = Stored(outcome.run), outcome.metrics["train"]
    for data in (tmp_path / "data", tmp_path / "spec.yaml"):
        assert api.evaluate(stored, data=data, threads=1)[1] == pytest.approx(expected, rel=1e-5)
    (tmp_path / "data" / "dogs").rename(tmp_path / "data" / "wolves")
    with fails("E405", "`wolves`", "no class that training had"):
        api.evaluate(stored, data=tmp_path / "data")


def test_lines_are_texts_too(tmp_path: Path) -> None:
    preprocessing = Stored(trained(tmp_path, NUMBERS).run).preprocessing
    assert preprocessing.text is not None
    (block,) = read_inputs(["-"], preprocessing, {"x": InputInfo((9,), "float32")}, stdin=io.StringIO("a dog\na cat\n"))
    np.testing.assert_array_equal(*block.values(), preprocessing.text.encode(["a dog", "a cat"]))


PIXELS = Preprocessing(
    inputs={"x": InputLayout(shape=(3, 4, 1), dtype="uint8")},
    targets={"y": TargetLayout(encoding="integer", classes=10)},
)


def test_images_serve_a_network_of_arrays(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    (tmp_path / "7").mkdir()
    Image.fromarray(pixels).save(tmp_path / "7" / "a.png")
    specs = {"x": InputInfo((3, 4, 1), "uint8")}
    (block,) = read_inputs([str(tmp_path / "7" / "a.png")], PIXELS, specs)
    np.testing.assert_array_equal(block["x"][0, :, :, 0], pixels)
    flat = PIXELS.model_copy(update={"inputs": {"x": InputLayout(shape=(3, 4), dtype="uint8")}})
    (block,) = read_inputs([str(tmp_path / "7" / "a.png")], flat, {"x": InputInfo((3, 4), "uint8")})
    np.testing.assert_array_equal(block["x"][0], pixels)
    split, _ = read_split(tmp_path, PIXELS, specs)
    assert split.targets["y"][:].tolist() == [7], "the folder's name is the class's number"


def test_what_cannot_be_an_image_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path, specs = str(tmp_path / "a.png"), {"x": InputInfo((3, 4, 1), "uint8")}
    with fails("E402", "a.png", "no image that can be read"):
        list(read_inputs([path], PIXELS, specs))
    with fails("E401", "b.png", "did you mean"):
        list(read_inputs([str(tmp_path / "b.png")], PIXELS, specs))
    floats = PIXELS.model_copy(update={"inputs": {"x": InputLayout(shape=(3,), dtype="float32")}})
    with fails("E402", "is an image", "shape (3,) and dtype float32"):
        list(read_inputs([path], floats, {"x": InputInfo((3,), "float32")}))
    (tmp_path / "empty").mkdir()
    with fails("E403", "`", "has no images", ".png"):
        list(read_inputs([str(tmp_path / "empty")], PIXELS, specs))


def test_arrays_of_hdf5_are_read_as_those_of_npz(tmp_path: Path) -> None:
    x, y = np.arange(60, dtype=np.uint8).reshape(5, 3, 4), np.arange(5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = x, y
    specs = {"x": InputInfo((3, 4, 1), "uint8")}
    (block,) = read_inputs([str(tmp_path / "a.h5")], PIXELS, specs)
    np.testing.assert_array_equal(block["x"][..., 0], x)
    split, _ = read_split(tmp_path / "a.h5", PIXELS, specs)
    assert split.targets["y"][:].tolist() == y.tolist()
