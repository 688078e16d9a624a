"""Samples that are seldom meant so: inputs far from 1 that nothing scales, samples of one split that stand in another.

Of streamed data a few samples are read for this, and of files no more than tells them apart; of long splits only the
first samples are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from kerascli.diagnosis.finding import Finding, place
from kerascli.graph import Graph, Node
from kerascli.layers.structure import PSEUDO
from kerascli.model import Model
from kerascli.ops.ir import Array
from kerascli.outline import span_of
from kerascli.sources.base import Dataset, Split
from kerascli.sources.rows import Samples, Streamed

LARGE = 20.0
"""Root mean square of an input from which it is worth scaling: pixels to 255 have about 80, digits to 16 have 8."""
LOOKED_AT, READ = 128, 8
"""Samples whose size is measured, and as many of those that are streamed."""
NEUTRAL = {"Reshape", "Flatten", "Permute", "Cropping1D", "Cropping2D", "Cropping3D", "ZeroPadding1D", "ZeroPadding2D"}
NEUTRAL |= {"ZeroPadding3D", "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D", "RepeatVector"}
NEUTRAL |= {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "RandomFlip", "RandomRotation", "RandomTranslation"}
NEUTRAL |= {"RandomZoom", "RandomCrop", "CenterCrop", "Resizing", "Concatenate", "UpSampling2D", "Masking"}
"""Layers that leave numbers about as large as they are."""
PRODUCTS = {"Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "SeparableConv1D", "SeparableConv2D"}
PRODUCTS |= {"DepthwiseConv1D", "DepthwiseConv2D", "Conv2DTranspose", "SimpleRNN", "LSTM", "GRU", "ConvLSTM2D"}
"""Layers whose first weights suit inputs of about 1."""

HASHED = 1 << 28
"""Bytes of a split that are compared with those of others, at most."""
MARKED = 1 << 16
"""Files of a split that are compared, at most."""
SHARED = 0.05
"""Share of the samples held back that training sees from which it is no chance."""
SCATTER = np.uint64(0x9E3779B97F4A7C15)
"""The golden ratio's bits: multiples of it lie far from each other."""
PIECE, PROBED = 32, 256
"""Bytes of a piece of a sample, and samples of a split, that are looked at before all of them are."""
REPEATED = 4
"""How many times as often as in the training split itself: few values that a sample can have repeat everywhere."""


def unscaled(model: Model, train: Split) -> Iterator[Finding]:
    """Large inputs that reach products without anything that scales them."""
    for name, samples in train.inputs.items():
        if samples.dtype.kind not in "iuf":
            continue
        node = _first_product(model.graph, name)
        if node is None:
            continue
        values = samples[: READ if isinstance(samples, Streamed) else LOOKED_AT].astype(np.float64)
        if not values.size or math.sqrt(float(np.mean(np.square(values)))) < LARGE:
            continue
        low, high = float(values.min()), float(values.max())
        pixels = samples.dtype == np.uint8 or (low >= 0 and 200 < high <= 255)
        scale = "`{type: Rescaling, scale: 0.00392156862745098}`" if pixels else "`Normalization`"
        message = f"the input `{name}` goes from {low:g} to {high:g}, and nothing scales it before {node.title}"
        yield Finding("unscaled_inputs", message, f"put {scale} before it", span_of(model.loaded, node.path))


def _first_product(graph: Graph, name: str) -> Node | None:
    """The first layer of products that an input reaches as it is."""
    reached = {name}
    for node in graph.nodes:
        if reached.isdisjoint(node.inputs):
            continue
        kind = type(node.layer).__name__
        if kind in PRODUCTS and node.trainable:
            return node
        if kind in NEUTRAL or isinstance(node.layer, PSEUDO):
            reached.add(node.name)
    return None


def shared(model: Model, data: Dataset) -> Iterator[Finding]:
    """Samples held back whose inputs are, byte for byte, those of training samples; files by their size and parts."""
    held = {name: split for name, split in (("validation", data.validation), ("test", data.test)) if split}
    if not held or not _may_share(data.train, held.values()) or (seen := digests(data.train)) is None:
        return
    known = np.unique(seen)
    repeated = 1 - len(known) / len(seen)
    for name, split in held.items():
        found = digests(split)
        if found is None:
            continue
        count = _common(found, known)
        share = count / len(found)
        if count >= 5 and share >= SHARED and share > REPEATED * repeated:
            message = f"{count:,} of {len(found):,} {name} samples are training samples too"
            help = "its figures are too good: take what is repeated out of one of the two"
            yield Finding("shared_samples", message, help, place(model.loaded, ("dataset", "type"), ("dataset",)))


def _may_share(train: Split, held: Iterable[Split]) -> bool:
    """Whether pieces of samples held back are found in training: a cheap look, that says no of nearly all data."""
    if not all(_is_plain(x) for x in train.inputs.values()):
        return True  # of files and texts there is no look that is cheaper
    seen = digests(_pieces(train))
    assert seen is not None
    seen.sort()
    found = [digests(_pieces(split, max(len(split) // PROBED, 1))) for split in held]
    return any(each is not None and _common(each, seen) >= SHARED / 2 * len(each) for each in found)


def _common(found: Array, known: Array) -> int:
    """How many of the digests are among known ones, which are sorted."""
    at = np.minimum(np.searchsorted(known, found), len(known) - 1)
    return int(np.count_nonzero(known[at] == found))


def _pieces(split: Split, every: int = 1) -> Split:
    """The first, the middle and the last bytes of the samples."""
    found: dict[str, Array | Samples] = {}
    for name, x in split.inputs.items():
        if isinstance(x, np.ndarray):
            flat = x[::every].reshape(-1, math.prod(x.shape[1:]))
            width, size = flat.shape[1], max(PIECE // x.dtype.itemsize, 1)
            starts = (0, (width - size) // 2, width - size)
            x = flat if width <= 3 * size else np.concatenate([flat[:, s : s + size] for s in starts], axis=1)
        found[name] = x
    return Split(found, {})


def _is_plain(samples: Samples) -> bool:
    """Whether they are numbers in memory."""
    return isinstance(samples, np.ndarray) and samples.dtype.kind in "biuf"


def digests(split: Split) -> Array | None:
    """64 bits that tell samples apart by their inputs, in order: (samples,). None where they would have to be read."""
    arrays = list(split.inputs.values())
    size = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in arrays if _is_plain(x))
    rows = min(len(split), max(HASHED // max(size, 1), 1))
    found = np.zeros(rows, np.uint64)
    step = max((1 << 17) // max(size, 1), 1)  # what is worked on stays in the cache
    for x in arrays:
        if not _is_plain(x):
            marks = _marks(x, rows)
            if marks is None:
                return None
            found = found * SCATTER + marks
            continue
        words = -(-math.prod(x.shape[1:]) * x.dtype.itemsize // 8)
        factors = np.arange(1, words + 1, dtype=np.uint64) * SCATTER | np.uint64(1)
        for start in range(0, rows, step):
            block = _words(x[start : min(start + step, rows)], words) * factors
            block ^= block >> np.uint64(32)
            block *= factors[::-1]
            found[start : start + step] = found[start : start + step] * SCATTER + block.sum(1)
    return found


def _marks(samples: Samples, rows: int) -> Array | None:
    """Of texts in memory, or of files."""
    if not isinstance(samples, Streamed):
        return np.array([hash(tuple(row)) for row in samples[:rows].reshape(rows, -1).tolist()], np.int64).view(
            np.uint64
        )
    return samples.marks(np.arange(rows)) if samples.marks and len(samples) <= MARKED else None


def _words(block: Array, words: int) -> Array:
    """The samples' bytes as (samples, words), the last word filled up with zeros."""
    own = np.ascontiguousarray(block).reshape(len(block), -1).view(np.uint8)
    if own.shape[1] == words * 8:
        return own.view(np.uint64)
    padded = np.zeros((len(block), words * 8), np.uint8)
    padded[:, : own.shape[1]] = own
    return padded.view(np.uint64)
