"""Image files as they are, before they are brought to one size: only their headers are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from kerascli.images import header
from kerascli.inspection.facts import PictureFacts
from kerascli.sources.base import Source
from kerascli.sources.folders import Files
from kerascli.sources.image_folder import ImageFolder

DISTORTED = 1.25
"""How many times wider or narrower than it was a picture becomes before that counts."""


def pictures(source: Source, base: Path) -> dict[str, PictureFacts]:
    """Of each folder that the dataset names; nothing where the data are no image files."""
    if not isinstance(source, ImageFolder):
        return {}
    return {split: facts(listing.files, source) for split, listing in source.listings(base).items()}


def facts(files: Files, source: ImageFolder) -> PictureFacts:
    """What the headers say; files that cannot be read are left out."""
    sizes, formats, modes = np.zeros((len(files), 2), np.int64), Counter[str](), Counter[str]()
    for number in range(len(files)):
        if found := header(files[number]):
            sizes[number] = found.size
            formats[found.format] += 1
            modes[found.mode] += 1
    sizes = sizes[sizes[:, 0] > 0]
    if not len(sizes):
        return PictureFacts(0, (0, 0), (0, 0), (0, 0), 0, {}, {}, 0, 0)
    wanted = np.array(source.image_size)
    ratio = sizes[:, 1] / sizes[:, 0] * (wanted[0] / wanted[1])
    kept = source.crop_to_aspect_ratio or source.pad_to_aspect_ratio
    distorted = 0 if kept else int((np.maximum(ratio, 1 / ratio) > DISTORTED).sum())
    middle = np.median(sizes, axis=0)
    return PictureFacts(
        len(sizes),
        (int(sizes[:, 0].min()), int(sizes[:, 1].min())),
        (int(middle[0]), int(middle[1])),
        (int(sizes[:, 0].max()), int(sizes[:, 1].max())),
        len(np.unique(sizes, axis=0)),
        dict(formats.most_common()),
        dict(modes.most_common()),
        int((sizes < wanted).any(axis=1).sum()),
        distorted,
    )
