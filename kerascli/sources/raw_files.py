"""Raw samples that are files of their own, for prediction and evaluation: images, and texts of a network that was
trained on a folder of texts; alone, in a folder, or in a folder for each class."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.images import CHANNELS, SUFFIXES, ImageReading, require_pillow
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import InputInfo, Split
from kerascli.sources.folders import Files, folders_of_classes, listing, walk
from kerascli.sources.image_folder import Pictures
from kerascli.sources.raw_arrays import single
from kerascli.sources.rows import Samples, Streamed
from kerascli.sources.targets import encode_labels
from kerascli.sources.text_folder import TEXT_SUFFIXES, Texts, as_numbers

AT_ONCE = 1 << 26
"""Bytes of samples that are read at a time, at most."""
_MOST_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a file is to the network."""

    what: str
    suffixes: tuple[str, ...]
    samples: Callable[[Files], Samples]


def kind_of(path: str, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]) -> Kind | None:
    """How files are read that are a sample each; None for a path that is read in another way."""
    here, suffix = Path(path), Path(path).suffix.lower()
    if not (here.is_dir() or suffix in SUFFIXES or (suffix in TEXT_SUFFIXES and preprocessing.text_files)):
        return None
    if preprocessing.text_files and suffix not in SUFFIXES:
        return Kind("text", TEXT_SUFFIXES, lambda files: _texts(files, preprocessing))
    reading, (info,) = image_reading(here, preprocessing, specs), specs.values()
    return Kind("image", SUFFIXES, lambda files: _pictures(files, reading, info))


def image_reading(path: Path, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]) -> ImageReading:
    """How images become samples of the network, or the problem why they cannot."""
    name, info = single(specs, str(path))
    reading = preprocessing.images or _as_trained(path, name, info)
    if reading.shape != info.shape and (*info.shape, 1) != reading.shape:
        message = f"input `{name}` takes samples of shape {info.shape}, images are read as {reading.shape}"
        raise Failure(Problem("E403", message, path))
    require_pillow()
    return reading


def _as_trained(path: Path, name: str, info: InputInfo) -> ImageReading:
    """Images for a network that was trained on arrays of whole numbers."""
    shape = info.shape if len(info.shape) == 3 else (*info.shape, 1)
    modes = {count: mode for mode, count in CHANNELS.items()}
    if len(shape) != 3 or shape[2] not in modes or info.dtype != "uint8":
        message = f"input `{name}` takes samples of shape {info.shape} and dtype {info.dtype}, which no image file is"
        help = "images serve networks that were trained on images, or on arrays (height, width, channels) of uint8"
        what = f"`{path}` is a folder" if path.is_dir() else f"`{path}` is an image"
        raise Failure(Problem("E402", f"{what}: {message}", path, help=help))
    return ImageReading.model_validate({"size": shape[:2], "color_mode": modes[shape[2]]})


def _pictures(files: Files, reading: ImageReading, info: InputInfo) -> Streamed:
    read = Pictures(files, reading)
    return Streamed((len(files), *info.shape), np.dtype(np.uint8), lambda rows: read(rows).reshape(-1, *info.shape))


def _texts(files: Files, preprocessing: Preprocessing) -> Samples:
    texts = Texts(files, preprocessing.encoding).streamed()
    return as_numbers(texts, preprocessing.text) if preprocessing.text else texts


def files_of(path: str, kind: Kind) -> Files:
    """The file, or all of that kind that are in the folder and deeper, folder by folder in sorted order."""
    here = Path(path)
    if not here.is_dir():
        if not here.exists():
            raise cannot_read(here)
        return Files.of(here.parent, [here.name])
    others: Counter[str] = Counter()
    found = list(walk(here, ".", kind.suffixes, False, others))
    if not found:
        other = f", but {sum(others.values()):,} other files" if others else ""
        help = f"{kind.what}s end in {', '.join(kind.suffixes)}"
        raise Failure(Problem("E403", f"`{path}` has no {kind.what}s{other}", here, help=help))
    return Files.of(here, found)


def file_blocks(files: Files, kind: Kind, specs: Mapping[str, InputInfo]) -> Iterator[dict[str, Array]]:
    """The samples in order, some at a time."""
    (name,) = specs
    samples = kind.samples(files)
    size = math.prod(samples.shape[1:]) * samples.dtype.itemsize
    rows = max(1, min(_MOST_ROWS, AT_ONCE // size))
    for start in range(0, len(samples), rows):
        yield {name: samples[start : start + rows]}


def split_of_folder(
    path: Path, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]
) -> tuple[Split, list[str]]:
    """A folder that has a folder for each class, and what is to be said of it."""
    kind = kind_of(str(path), preprocessing, specs)
    assert kind is not None
    if len(preprocessing.targets) != 1 or next(iter(preprocessing.targets.values())).classes is None:
        message = f"`{path}` is a folder for each class, and the network was not trained on classes"
        raise Failure(Problem("E405", message, path, help="give an .npz with `x` and `y`"))
    ((target, layout),) = preprocessing.targets.items()
    names = layout.class_names or tuple(map(str, range(layout.classes or 0)))
    inside = folders_of_classes(path, kind.suffixes, kind.what)
    if other := [name for name in inside if name not in names]:
        message = f"`{path}` has a folder `{other[0]}`, which is no class that training had"
        raise Failure(Problem("E405", message, path, help=f"the classes are {', '.join(names[:20])}"))
    found = listing(path, names, inside, kind.suffixes, kind.what, split="given")
    labels = encode_labels(found.labels, layout.encoding, layout.classes, (), f"target `{target}`")
    (name,) = specs
    return Split({name: kind.samples(found.files)}, {target: labels}), list(found.notes)


def shown(files: Files) -> list[str]:
    """The files as they were given."""
    return [os.path.normpath(files[number]) for number in range(len(files))]
