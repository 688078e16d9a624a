"""One pass over the samples of every split, block by block, whether they are in memory or in their files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from kerascli.graph import Graph
from kerascli.inspection.copies import Hashes, copies
from kerascli.inspection.facts import Copies, InputFacts, Numbers, Pair, TargetFacts
from kerascli.inspection.measure import Figures, Ids, Labels, Places, Words
from kerascli.inspection.net import embeddings
from kerascli.layers.text_vectorization import TextVectorization
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing, TargetLayout
from kerascli.sources.base import Split
from kerascli.sources.rows import Streamed

BLOCK_BYTES = 1 << 22
BLOCK_ROWS = 4096
Progress = Callable[[int, int], None]
"""Told the samples that have been looked at, and all."""


@dataclass
class _Input:
    """What is gathered of one input in one split."""

    figures: Figures | None = None
    ids: Ids | None = None
    words: Words | None = None
    places: Places | None = None

    def add(self, block: Array) -> None:
        for part in (self.figures, self.ids, self.words, self.places):
            if part is not None:
                part.add(block)


@dataclass
class _Target:
    """What is gathered of one target in one split."""

    layout: TargetLayout
    figures: Figures
    labels: Labels
    positives: Array | None = None
    """Of a vector of zeros and ones: how often each is 1; None once another number was met."""
    vector: bool = False
    """Whether it is several numbers a sample, as they are."""
    one_hot: bool = True
    """Whether each of these vectors has a single 1."""
    shape: tuple[int, ...] = ()

    @property
    def classified(self) -> bool:
        if self.vector:
            return self.positives is not None and self.one_hot
        return self.layout.encoding in ("integer", "one_hot") or bool(
            self.layout.classes and len(self.labels.counts) <= self.layout.classes
        )

    def add(self, block: Array) -> None:
        self.figures.add(block)
        if self.layout.encoding == "one_hot":
            self.labels.add(block.argmax(axis=-1))
        elif self.layout.encoding == "integer" or (self.layout.classes and not self.vector):
            self.labels.add(block.astype(np.int64))
        if self.positives is not None:
            binary = bool(((block == 0) | (block == 1)).all())
            self.positives = self.positives + (block == 1).sum(axis=0) if binary else None
            self.one_hot = self.one_hot and binary and bool((block.sum(axis=-1) == 1).all())
            if self.one_hot:
                self.labels.add(block.argmax(axis=-1))


@dataclass
class Seen:
    """What one pass over the splits finds."""

    inputs: dict[str, InputFacts] = field(default_factory=dict)
    targets: dict[str, TargetFacts] = field(default_factory=dict)
    sample_weight: dict[str, Numbers] = field(default_factory=dict)
    copies: Copies = field(default_factory=lambda: Copies({}, {}, 0))


class Look:
    """Goes over splits and keeps what it finds."""

    def __init__(
        self, preprocessing: Preprocessing, graph: Graph | None, unknown: int | None, progress: Progress, total: int
    ) -> None:
        self.preprocessing, self.graph, self.unknown = preprocessing, graph, unknown
        self._progress, self._done, self._total = progress, 0, total
        self.inputs: dict[str, dict[str, _Input]] = {}
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {}
        self.targets: dict[str, dict[str, _Target]] = {}
        self.weights: dict[str, Numbers] = {}
        self.hashes: dict[str, Array] = {}
        self.files: dict[str, Callable[[int], str]] = {}
        self.truths: Array = np.zeros(0, np.uint64)

    def at(self, name: str, split: Split) -> None:
        """Look at one split."""
        mine, truths = Hashes(), Hashes()
        for samples in split.inputs.values():
            if isinstance(samples, Streamed) and samples.name:
                self.files[name] = samples.name
        for rows in _blocks(split, self.graph):
            block = {key: np.asarray(x[rows]) for key, x in split.inputs.items()}
            targets = {key: np.asarray(y[rows]) for key, y in split.targets.items()}
            mine.add(list(block.values()))
            if name == "train":
                truths.add(list(targets.values()))
            for key, values in self._served(block).items():
                self._input(key, name, values, len(split)).add(values)
            for key, values in targets.items():
                self._target(key, name, values, len(split)).add(values)
            self._done += rows.stop - rows.start
            self._progress(self._done, self._total)
        self.hashes[name] = mine.found()
        if name == "train":
            self.truths = truths.found()
        if split.sample_weight is not None:
            figures = Figures(len(split))
            figures.add(split.sample_weight)
            self.weights[name] = figures.found()

    def _served(self, block: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs, and what layers that work on texts make of them for the net."""
        return {**block, **(self.graph.served(block) if self.graph else {})}

    def _input(self, key: str, split: str, values: Array, samples: int) -> _Input:
        found = self.inputs.setdefault(key, {})
        if split not in found:
            self.shapes[key] = values.shape[1:], "string" if values.dtype.kind in "TUSO" else str(values.dtype)
            total = samples * math.prod(values.shape[1:])
            match self.kind(key):
                case "texts":
                    found[split] = _Input(words=Words(samples))
                case "tokens":
                    found[split] = _Input(ids=Ids(samples, self._unknown_id(key)))
                case _:
                    found[split] = _Input(figures=Figures(total), places=Places())
        return found[split]

    def _unknown_id(self, key: str) -> int | None:
        """The id of words outside of the vocabulary."""
        made = self.graph and next((node for node in self.graph.nodes if node.name == key), None)
        layout = self.preprocessing.inputs.get(key)
        texts = {feature.name for feature in self.preprocessing.features if feature.kind == "text"}
        if (made and isinstance(made.layer, TextVectorization)) or (layout and texts.intersection(layout.features)):
            return 1
        return self.unknown

    def kind(self, key: str) -> str:
        shape, dtype = self.shapes[key]
        layout = self.preprocessing.inputs.get(key)
        if dtype == "string":
            return "texts"
        if self.graph and dtype != "uint8" and embeddings(self.graph.computed, key):
            return "tokens"
        if layout and layout.features:
            return "table"
        images = (len(shape) == 3 and shape[-1] in (1, 3, 4)) or (dtype == "uint8" and len(shape) in (2, 3))
        return "images" if images else "numbers"

    def _target(self, key: str, split: str, values: Array, samples: int) -> _Target:
        found = self.targets.setdefault(key, {})
        if split not in found:
            layout = self.preprocessing.targets.get(key) or TargetLayout()
            vector = layout.encoding == "none" and values.ndim == 2 and values.shape[1] > 1
            found[split] = _Target(
                layout,
                Figures(samples * math.prod(values.shape[1:])),
                Labels(layout.classes or 0),
                np.zeros(values.shape[1], np.int64) if vector else None,
                vector,
                shape=values.shape[1:],
            )
        return found[split]

    def found(self, class_weight: object) -> Seen:
        """Everything that was seen."""
        inputs = {key: self._input_facts(key, parts) for key, parts in self.inputs.items()}
        targets = {key: _target_facts(parts, class_weight) for key, parts in self.targets.items()}
        found = copies(self.hashes, self.truths)
        named = replace(found, examples=tuple(map(self._named, found.examples)))
        return Seen(inputs, targets, self.weights, named)

    def _named(self, pair: Pair) -> Pair:
        """With the files that the samples are."""
        first, second = (
            self.files[split](index) if split in self.files else ""
            for split, index in ((pair.split, pair.index), (pair.first_split, pair.first_index))
        )
        return replace(pair, file=first, first_file=second)

    def _input_facts(self, key: str, parts: Mapping[str, _Input]) -> InputFacts:
        shape, dtype = self.shapes[key]
        train = parts.get("train")
        return InputFacts(
            shape,
            dtype,
            self.kind(key),  # type: ignore[arg-type]
            {split: part.figures.found() for split, part in parts.items() if part.figures},
            {split: part.ids.found() for split, part in parts.items() if part.ids},
            {split: part.words.found() for split, part in parts.items() if part.words},
            train.places.constant if train and train.places else 0,
            {split: part.places.blank for split, part in parts.items() if part.places},
        )


def _target_facts(parts: Mapping[str, _Target], class_weight: object) -> TargetFacts:
    first = next(iter(parts.values()))
    layout, shape = first.layout, first.shape
    if all(part.classified for part in parts.values()):
        size = max(len(part.labels.counts) for part in parts.values())
        counts = {split: _padded(part.labels.counts, size) for split, part in parts.items()}
        names = layout.class_names or tuple(map(str, range(size)))
        vectors = layout.encoding == "one_hot" or all(part.positives is not None for part in parts.values())
        single = math.prod(shape[:-1] if vectors else shape) == 1
        runs = parts["train"].labels.runs if "train" in parts and single else None
        weights = _weights(counts.get("train", ()), class_weight)
        encoding = "one_hot" if vectors else layout.encoding
        return TargetFacts(shape, encoding, "classes", names, layout.columns, counts, weights, runs=runs)
    if all(part.positives is not None for part in parts.values()):
        labels = {split: tuple(map(int, part.positives)) for split, part in parts.items() if part.positives is not None}
        names = layout.class_names or layout.columns or tuple(map(str, range(shape[0])))
        return TargetFacts(shape, layout.encoding, "labels", names, layout.columns, labels)
    numbers = {split: part.figures.found() for split, part in parts.items()}
    return TargetFacts(shape, layout.encoding, "numbers", (), layout.columns, numbers=numbers)


def _padded(counts: Array, size: int) -> tuple[int, ...]:
    return (*map(int, counts), *(0,) * (size - len(counts)))


def _weights(counts: tuple[int, ...], class_weight: object) -> tuple[float, ...]:
    """The weight of each class's samples in the loss."""
    if class_weight == "balanced":
        present = sum(count > 0 for count in counts)
        return tuple(sum(counts) / (present * count) if count else 1.0 for count in counts)
    if isinstance(class_weight, Mapping):
        return tuple(float(class_weight.get(number, 1.0)) for number in range(len(counts)))
    return ()


def _blocks(split: Split, graph: Graph | None) -> Iterator[slice]:
    """Ranges of samples that take a few megabytes, as they are or as the net reads them."""
    arrays = [*split.inputs.values(), *split.targets.values()]
    sample = sum(math.prod(x.shape[1:]) * max(x.dtype.itemsize, 1) for x in arrays)
    if graph:
        sample += sum(4 * math.prod(n.shape) for n in graph.computed.nodes if n.name in graph.computed.inputs)
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(sample, 1)))
    for start in range(0, len(split), rows):
        yield slice(start, min(start + rows, len(split)))
