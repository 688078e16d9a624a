"""Keras's downloadable data sets of images and tables, read from Keras's own cache."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.sources import restricted_pickle
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import InputInfo, TargetInfo, digest_of_files
from kerascli.sources.bundled import About
from kerascli.sources.download import Remote, fetch
from kerascli.sources.idx import read_idx

GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
TORONTO = "https://www.cs.toronto.edu/~kriz/"


class _KerasSet(_ArraySource):
    """A data set that Keras has, under Keras's name, in the file where Keras keeps it."""

    own: ClassVar[tuple[str, ...]] = ("train", "test")
    about: ClassVar[About]
    remotes: ClassVar[tuple[Remote, ...]]

    def fingerprint(self, base: Path, seed: int) -> str:
        return digest_of_files([fetch(remote) for remote in self.remotes])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a damaged file raises becomes a Problem that says how to mend it."""
    try:
        yield
    except OSError as error:
        raise Failure(Problem("E401", f"cannot read `{path}`: {error.strerror or error}", path)) from None
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        EOFError,
        restricted_pickle.Refused,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        help = "delete it: it is fetched again"
        raise Failure(Problem("E402", f"`{path}` is not the data set: {error}", path, help=help)) from None


class FashionMnist(_KerasSet):
    """Articles of clothing, 28×28×1 uint8: 60,000 to train, 10,000 to test (Keras's `fashion_mnist`)."""

    examples = (Example({"limit": 100}),)
    about = About(
        "articles of clothing, 28×28 grey",
        {"train": 60_000, "test": 10_000},
        "fashion-mnist/",
        "MIT",
        "Xiao, Rasul and Vollgraf, Fashion-MNIST (Zalando Research)",
        "fetched on first use: 31 MB",
    )
    remotes = tuple(
        Remote(f"fashion-mnist/{name}", GOOGLE + name, size)
        for name, size in (
            ("train-images-idx3-ubyte.gz", 26_421_880),
            ("train-labels-idx1-ubyte.gz", 29_515),
            ("t10k-images-idx3-ubyte.gz", 4_422_102),
            ("t10k-labels-idx1-ubyte.gz", 5_148),
        )
    )

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        names = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag")
        target = TargetInfo((), "int32", 10, (*names, "Ankle boot"))
        return {"x": InputInfo((28, 28, 1), "uint8")}, {"y": target}, dict(self.about.rows)

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        paths = [fetch(remote) for remote in self.remotes]
        found = {}
        for split, (images, labels) in {"train": paths[:2], "test": paths[2:]}.items():
            x, y, rows = read_idx(images), read_idx(labels), self.about.rows[split]
            if x.shape != (rows, 28, 28) or y.shape != (rows,):
                raise Failure(Problem("E402", f"`{images}` is not the data set: its images are {x.shape}", images))
            found[split] = Part({"x": x[..., None]}, {"y": y})
        return found


class _Cifar(_KerasSet):
    """Colour images of 32×32, in Python pickles within an archive that is never unpacked."""

    def _image_parts(self, train: tuple[str, ...], test: str, labels: bytes) -> dict[str, Part]:
        path = fetch(self.remotes[0])
        with reading(path), tarfile.open(path, "r:gz") as archive:
            batches: dict[str, Any] = {}
            for member in archive:  # one pass: the archive is compressed as a whole
                name = Path(member.name).name
                if name in (*train, test) and (stream := archive.extractfile(member)):
                    batches[name] = restricted_pickle.load(stream)
            chosen = {"train": train, "test": (test,)}
            return {split: _images([batches[n] for n in names], labels) for split, names in chosen.items()}


def _images(batches: list[Any], labels: bytes) -> Part:
    x = np.concatenate([np.asarray(batch[b"data"], np.uint8) for batch in batches])
    y = np.concatenate([np.asarray(batch[labels], np.int32) for batch in batches])
    return Part({"x": np.ascontiguousarray(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))}, {"y": y})


class Cifar10(_Cifar):
    """Photographs of ten kinds of things, 32×32×3 uint8: 50,000 to train, 10,000 to test (Keras's `cifar10`)."""

    examples = (Example({"limit": 100}),)
    about = About(
        "photographs of ten kinds of things, 32×32 colour",
        {"train": 50_000, "test": 10_000},
        "cifar-10-batches-py-target_archive",
        "not stated by its authors",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        "fetched on first use: 170 MB",
    )
    remotes = (
        Remote(
            "cifar-10-batches-py-target_archive",
            TORONTO + "cifar-10-python.tar.gz",
            170_498_071,
            "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    )

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
        target = TargetInfo((), "int32", 10, tuple(names))
        return {"x": InputInfo((32, 32, 3), "uint8")}, {"y": target}, dict(self.about.rows)

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        return self._image_parts(tuple(f"data_batch_{k}" for k in range(1, 6)), "test_batch", b"labels")


class Cifar100(_Cifar):
    """Photographs of a hundred kinds of things, 32×32×3 uint8: 50,000 to train, 10,000 to test (Keras's `cifar100`)."""

    examples = (Example({"limit": 100}), Example({"label_mode": "coarse"}))
    about = About(
        "photographs of a hundred kinds of things, 32×32 colour",
        {"train": 50_000, "test": 10_000},
        "cifar-100-python-target_archive",
        "not stated by its authors",
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        "fetched on first use: 169 MB",
    )
    remotes = (
        Remote(
            "cifar-100-python-target_archive",
            TORONTO + "cifar-100-python.tar.gz",
            169_001_437,
            "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    )

    label_mode: Literal["fine", "coarse"] = "fine"
    """`fine`: the 100 classes; `coarse`: the 20 groups of five that they form."""

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        names = (FINE if self.label_mode == "fine" else COARSE).split()
        target = TargetInfo((), "int32", len(names), tuple(names))
        return {"x": InputInfo((32, 32, 3), "uint8")}, {"y": target}, dict(self.about.rows)

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        return self._image_parts(("train",), "test", f"{self.label_mode}_labels".encode())


class _Housing(_KerasSet):
    """A table of houses and their prices, in the order that Keras shuffles it to."""

    own = ("train",)
    columns: ClassVar[int]

    test_split: float = Field(0.2, ge=0, lt=1)
    """Fraction of the samples that tests, cut from the end after Keras's own shuffling."""

    @property
    def _rows(self) -> int:
        return self.about.rows["train"]

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        return {"x": InputInfo((self.columns,), "float32")}, {"y": TargetInfo((), "float32")}, {"train": self._rows}

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        path = fetch(self.remotes[0])
        with reading(path), np.load(path, allow_pickle=False) as archive:
            x, y = archive["x"][: self._rows], archive["y"][: self._rows]
        if x.shape != (self._rows, self.columns) or y.shape != (self._rows,):
            raise Failure(Problem("E402", f"`{path}` is not the data set: its arrays are {x.shape}, {y.shape}", path))
        order = shuffled(self._rows, np.random.RandomState(113))
        return {"train": Part({"x": x[order]}, {"y": y[order]})}


def shuffled(count: int, rng: np.random.RandomState) -> Array:
    """The order in which Keras shuffles its own data sets."""
    order = np.arange(count)
    rng.shuffle(order)
    return order


class CaliforniaHousing(_Housing):
    """Prices of houses in California's districts, 8 figures each (Keras's `california_housing`)."""

    examples = (Example({"version": "small"}),)
    columns = 8
    about = About(
        "prices of houses in California's districts",
        {"train": 20_640},
        "california_housing.npz",
        "public domain (US census of 1990)",
        "Pace and Barry, Sparse Spatial Autoregressions, 1997",
        "fetched on first use: 0.7 MB",
    )
    remotes = (
        Remote(
            "california_housing.npz",
            GOOGLE + "california_housing.npz",
            743_530,
            "sha256:1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
        ),
    )

    version: Literal["large", "small"] = "large"
    """`large`: all 20,640 districts; `small`: the first 600."""

    @property
    def _rows(self) -> int:
        return 600 if self.version == "small" else 20_640


class BostonHousing(_Housing):
    """Prices of houses in Boston, 13 figures each (Keras's `boston_housing`).

    One figure rates districts by the colour of those who live there: prefer `california_housing`.
    """

    examples = (Example(),)
    columns = 13
    about = About(
        "prices of houses in Boston; prefer california_housing",
        {"train": 506},
        "boston_housing.npz",
        "not stated by its authors",
        "Harrison and Rubinfeld, Hedonic prices and the demand for clean air, 1978",
        "fetched on first use: 57 kB; one column rates districts by the colour of those who live there",
    )
    remotes = (
        Remote(
            "boston_housing.npz",
            GOOGLE + "boston_housing.npz",
            57_026,
            "sha256:f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
        ),
    )


FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm"""
COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1
vehicles_2"""
