from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascli import images
from kerascli.errors import Failure
from kerascli.images import ImageReading, Interpolation
from kerascli.sources.base import Dataset
from kerascli.sources.rows import Streamed
from tests.sources.helpers import fails, load, source

RNG = np.random.default_rng(0)
TO_RED = (255, 0, 0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of five images of several sizes."""
    for name in ("cats", "dogs"):
        for k in range(5):
            save(tmp_path / "data" / name / f"{k}.png", noise(6 + k, 9 - k, 3))
    return tmp_path


def opened(folder: Path, **more: object) -> Dataset:
    return load(folder, **{"type": "image_folder", "path": "data", "image_size": [4, 5], **more})


# ── what is read ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_classes_and_files_come_in_sorted_order_and_are_streamed(folder: Path) -> None:
    save(folder / "data" / "cats" / "deeper" / "0.BMP", noise(4, 5, 3))
    (folder / "data" / "dogs" / ".hidden.png").write_bytes(b"")
    (folder / "data" / ".git").mkdir()
    found = opened(folder)
    x, y = found.train.inputs["x"], found.train.targets["y"]
    assert isinstance(x, Streamed) and x.shape == (11, 4, 5, 3) and x.dtype == np.uint8
    assert y[:].tolist() == [0] * 6 + [1] * 5
    assert found.preprocessing.targets["y"].class_names == ("cats", "dogs")
    with Image.open(folder / "data" / "cats" / "deeper" / "0.BMP") as image:
        np.testing.assert_array_equal(x[np.array([7, 5])][1], np.asarray(image))
    signature = source(type="image_folder", path="data", image_size=7, color_mode="grayscale").peek(folder)
    assert signature.inputs["x"].shape == (7, 7, 1) and signature.sizes == {"train": 11}


@pytest.mark.parametrize("kind", ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("crop", [False, True])
def test_sizes_are_made_alike_as_keras_does(kind: Interpolation, crop: bool) -> None:
    keras = pytest.importorskip("keras")
    for shape in ((31, 44, 3), (57, 20, 1), (16, 24, 4), (20, 28, 3)):
        pixels = noise(*shape)
        reading = ImageReading(size=(20, 28), color_mode="rgb", interpolation=kind, crop_to_aspect_ratio=crop)
        expected = keras.ops.image.resize(
            pixels.astype(np.float32), (20, 28), interpolation=kind, crop_to_aspect_ratio=crop
        )
        found = reading.fitted(pixels)
        assert found.dtype == np.uint8
        assert np.abs(found - np.clip(np.asarray(expected), 0, 255)).max() <= 0.5 + 1e-3


def test_bars_stand_where_tensorflow_puts_them() -> None:
    """As tf.image.resize_with_pad, which Keras's `pad_to_aspect_ratio` is: noted from it, odd rows go below."""
    reading = ImageReading(size=(4, 6), color_mode="grayscale", pad_to_aspect_ratio=True)
    wide = reading.fitted(np.full((3, 8, 1), 200, np.uint8))[..., 0]
    assert wide.tolist() == [[200] * 6, [200] * 6, [0] * 6, [0] * 6]
    tall = reading.fitted(np.full((9, 5, 1), 200, np.uint8))[..., 0]
    assert tall.tolist() == [[0, 200, 200, 0, 0, 0]] * 4


def test_area_takes_the_mean_of_what_a_pixel_covers() -> None:
    pixels = noise(6, 9, 2)
    reading = ImageReading(size=(2, 3), color_mode="rgb", interpolation="area")
    expected = pixels.reshape(2, 3, 3, 3, 2).mean(axis=(1, 3))
    assert np.abs(reading.fitted(pixels) - expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif"])
def test_every_format_is_read_in_every_colour_mode(tmp_path: Path, suffix: str) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:] = TO_RED
    path = save(tmp_path / f"red.{suffix}", red)
    for mode, expected in (("rgb", [255, 0, 0]), ("rgba", [255, 0, 0, 255]), ("grayscale", [76])):
        pixels = ImageReading(size=(3, 3), color_mode=mode).read(path)  # type: ignore[arg-type]
        assert np.abs(pixels[1, 1].astype(int) - expected).max() <= 1


def test_sixteen_bits_become_eight_and_an_animation_its_first_picture(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    save(tmp_path / "deep.png", values)
    pixels = images.decoded(tmp_path / "deep.png", "rgb")
    np.testing.assert_array_equal(pixels[..., 1], values >> 8)
    pictures = [Image.fromarray(np.full((4, 4, 3), k, np.uint8)) for k in (40, 200)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    assert images.decoded(tmp_path / "a.gif", "grayscale").max() == 40


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cut_that_leaves_nothing_of_a_class_is_refused_and_stratify_mends_it(folder: Path) -> None:
    with fails("E406", "nothing of class `dogs`", "stratify: true"):
        source(type="image_folder", path="data", validation_split=0.5).peek(folder)
    found = opened(folder, validation_split=0.4, stratify=True)
    assert found.validation is not None
    assert sorted(found.train.targets["y"].tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(found.validation.targets["y"].tolist()) == [0, 0, 1, 1]
    order = opened(folder, stratify=True).train
    assert order.targets["y"].tolist() == [0, 1] * 5, "spread evenly, so that `limit` has all classes too"
    np.testing.assert_array_equal(order.inputs["x"][2:3], opened(folder).train.inputs["x"][1:2])


def test_a_folder_for_each_split_numbers_classes_as_training_does(folder: Path) -> None:
    save(folder / "more" / "dogs" / "1.png", noise(4, 4, 3))
    found = opened(folder, path={"train": "data", "test": "more"})
    assert found.test is not None and found.test.targets["y"].tolist() == [1]
    save(folder / "more" / "dogz" / "1.png", noise(4, 4, 3))
    with fails("E405", "`dogz`", "did you mean `dogs`?"):
        opened(folder, path={"train": "data", "test": "more"})
    with fails("E406", "no folder for the train split"):
        opened(folder, path={"test": "more"})


def test_class_names_choose_and_order(folder: Path) -> None:
    save(folder / "data" / "birds" / "1.png", noise(4, 4, 3))
    found = opened(folder, class_names=["dogs", "birds"])
    assert found.train.targets["y"].tolist() == [0] * 5 + [1]
    with fails("E409", "no folder `dog`", "did you mean `dogs`?"):
        opened(folder, class_names=["dog", "cats"])


# ── what people get wrong ────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_that_are_none_of_classes_are_explained(folder: Path) -> None:
    with fails("E401", "there is no file", "did you mean"):
        opened(folder, path="dat")
    with fails("E401", "is a file, not a folder"):
        opened(folder, path="data/cats/0.png")
    with fails("E403", "5 images but no folders", "a folder of its own"):
        opened(folder, path="data/cats")
    (folder / "nothing").mkdir()
    with fails("E403", "nothing in it"):
        opened(folder, path="nothing")
    save(folder / "one" / "cats" / "1.png", noise(4, 4, 3))
    with fails("E403", "one class only, `cats`"):
        opened(folder, path="one")
    (folder / "one" / "dogs").mkdir()
    (folder / "one" / "dogs" / "notes.txt").write_text("none")
    with fails("E403", "folder `dogs`", "no images", "1 other files"):
        opened(folder, path="one")
    for split in ("train", "test"):
        save(folder / "split" / split / "cats" / "1.png", noise(4, 4, 3))
    with fails("E403", "no classes but splits", "path: {", "train: "):
        opened(folder, path="split")


def test_other_files_are_left_out_and_told(folder: Path) -> None:
    (folder / "data" / "dogs" / "a.webp").write_bytes(b"RIFF")
    (folder / "data" / "README.md").write_text("beside the classes")
    found = opened(folder)
    assert len(found.train) == 10
    assert found.notes == ("1 files of the train split are no images and are left out: 1 .webp",)


def test_links_that_lead_back_are_walked_once(folder: Path) -> None:
    (folder / "data" / "cats" / "again").symlink_to(folder / "data" / "cats")
    assert len(opened(folder).train) == 10
    assert len(opened(folder, follow_links=True).train) == 10
    os.mkfifo(folder / "data" / "cats" / "pipe")
    assert len(opened(folder).train) == 10


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def page(path: Path) -> None:
    path.write_text("<html>404</html>")


def bomb(path: Path) -> None:
    """A PNG of 60,000 × 60,000 pixels in some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("spoil", "words", "at_once"),
    [
        (truncated, "truncated", False),
        (empty, "is empty", True),
        (page, "is no image", True),
        (bomb, "pixels", False),
    ],
)
def test_an_image_that_cannot_be_read_is_named_or_left_out(
    folder: Path, spoil: Callable[[Path], None], words: str, at_once: bool
) -> None:
    path = folder / "data" / "dogs" / "2.png"
    save(path, noise(40, 40, 3))
    spoil(path)
    with fails("E402", "2.png", words) as problems:
        found = opened(folder)
        assert not at_once
        found.train.inputs["x"][:]
    assert problems[0].where == path
    found = opened(folder, on_error="skip")
    assert len(found.train) == 9 and found.train.inputs["x"][:].shape[0] == 9
    (note,) = found.notes
    assert "1 of 10 (10 %) images of the train split are left out" in note and "2.png" in note


def test_no_image_that_can_be_read_is_a_problem_too(folder: Path) -> None:
    for path in (folder / "data").rglob("*.png"):
        path.write_bytes(b"")
    with fails("E406", "no image of the train split can be read"):
        opened(folder, on_error="skip")


def test_an_image_that_vanished_is_named(folder: Path) -> None:
    found = opened(folder)
    (folder / "data" / "dogs" / "4.png").unlink()
    with fails("E401", "4.png"):
        found.train.inputs["x"][9:]


def test_without_pillow_the_command_that_installs_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with fails("E516", "Pillow", 'pip install "kerascli[images]"'):
        source(type="image_folder", path="data").peek(folder)


def test_fuzzed_images_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for suffix in ("png", "jpg", "bmp", "gif"):
        whole = save(tmp_path / f"a.{suffix}", noise(20, 20, 3)).read_bytes()
        for _ in range(40):
            spoilt = bytearray(whole)
            for place in rng.integers(0, len(whole), 5):
                spoilt[place] = int(rng.integers(256))
            (tmp_path / "b").write_bytes(spoilt)
            try:
                assert ImageReading(size=(4, 4), color_mode="rgb").read(tmp_path / "b").shape == (4, 4, 3)
            except Failure as failure:
                assert failure.problems[0].code == "E402"


def test_the_fingerprint_tells_files_apart(folder: Path) -> None:
    first = opened(folder).fingerprint
    assert first == opened(folder).fingerprint
    save(folder / "data" / "dogs" / "2.png", noise(8, 8, 3))
    second = opened(folder).fingerprint
    (folder / "data" / "dogs" / "2.png").rename(folder / "data" / "dogs" / "9.png")
    assert len({first, second, opened(folder).fingerprint}) == 3
