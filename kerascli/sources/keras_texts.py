"""Keras's downloadable data sets of texts, already turned into word numbers: the most frequent word is 1."""

import zipfile
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.sources import restricted_pickle
from kerascli.sources.arrays import Part
from kerascli.sources.base import InputInfo, TargetInfo
from kerascli.sources.bundled import About
from kerascli.sources.download import Remote, fetch
from kerascli.sources.keras_sets import GOOGLE, _KerasSet, reading, shuffled


@dataclass(frozen=True)
class Texts:
    """Sequences of word numbers, one after the other, and the label of each."""

    words: Array
    lengths: Array
    labels: Array

    @classmethod
    def of(cls, sequences: Array, labels: Array, rng: np.random.RandomState) -> "Texts":
        """From an array of lists, in Keras's order."""
        order = shuffled(len(sequences), rng)
        chosen = [sequences[k] for k in order]
        lengths = np.array([len(words) for words in chosen])
        flat = np.fromiter(chain.from_iterable(chosen), np.int64, int(lengths.sum()))
        return cls(flat, lengths, np.asarray(labels, np.int32)[order])

    def __len__(self) -> int:
        return len(self.lengths)

    def keep(self, words: Array) -> "Texts":
        """Without the words where `words` is false."""
        owner = np.repeat(np.arange(len(self)), self.lengths)
        return replace(self, words=self.words[words], lengths=np.bincount(owner[words], minlength=len(self)))

    def only(self, samples: Array) -> "Texts":
        """Without the samples where `samples` is false."""
        words = self.words[np.repeat(samples, self.lengths)]
        return Texts(words, self.lengths[samples], self.labels[samples])

    def begun_with(self, number: int) -> "Texts":
        """Every sequence with one more number at its beginning."""
        starts = np.cumsum(self.lengths) - self.lengths
        return replace(self, words=np.insert(self.words, starts, number), lengths=self.lengths + 1)

    def padded(self, length: int, padding: str, truncating: str) -> Array:
        """(samples, length): zeros before or after short sequences, long ones cut at their beginning or end."""
        found = np.zeros((len(self), length), np.int32)
        ends = np.cumsum(self.lengths)
        for row, (start, end) in enumerate(zip(ends - self.lengths, ends, strict=True)):
            first = max(start, end - length) if truncating == "pre" else start
            words = self.words[first : min(end, first + length)]
            if padding == "pre":
                found[row, length - len(words) :] = words
            else:
                found[row, : len(words)] = words
        return found


class _Texts(_KerasSet):
    """Texts as word numbers: 0 pads, `start_char` begins each, `oov_char` stands for words left out."""

    num_words: int | None = Field(None, ge=1)
    """Only words below this number stay; by default all but the rarest."""
    skip_top: int = Field(0, ge=0)
    """Words below this number, the most frequent ones, are left out."""
    maxlen: int | None = Field(None, ge=2)
    """Longer texts are left out, as Keras does; to cut them instead say `sequence_length`."""
    seed: int = 113
    """Of Keras's shuffling."""
    start_char: int | None = 1
    """Number at the beginning of every text."""
    oov_char: int | None = 2
    """Number for words left out; null drops them."""
    index_from: int = Field(3, ge=0)
    """What is added to every word's number."""
    sequence_length: int | None = Field(None, ge=1)
    """Numbers of every sample; by default those of the longest text."""
    padding: Literal["pre", "post"] = "pre"
    """Where zeros fill up a short text."""
    truncating: Literal["pre", "post"] = "pre"
    """Where a long text is cut."""

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        rows, length = dict(self.about.rows), self.sequence_length
        if self.maxlen is not None or length is None:
            found = self._texts()
            rows = {split: len(texts) for split, texts in found.items()}
            length = length or max(int(texts.lengths.max()) for texts in found.values())
        names = self._class_names()
        return {"x": InputInfo((length,), "int32")}, {"y": TargetInfo((), "int32", len(names), names)}, rows

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        found = self._texts()
        length = self.sequence_length or max(int(texts.lengths.max()) for texts in found.values())
        return {
            split: Part({"x": texts.padded(length, self.padding, self.truncating)}, {"y": texts.labels})
            for split, texts in found.items()
        }

    def _class_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _arrays(self) -> dict[str, tuple[str, str]]:
        """The arrays of sequences and labels of each split."""
        raise NotImplementedError

    def _texts(self) -> dict[str, Texts]:
        """The texts of each split, prepared as `load_data` does."""
        path = fetch(self.remotes[0])
        found: dict[str, Texts] = {}
        rng = np.random.RandomState(self.seed)  # one for both splits, as Keras has it
        with reading(path), zipfile.ZipFile(path) as archive:
            for split, names in self._arrays().items():
                arrays = []
                for name in names:
                    with archive.open(f"{name}.npy") as stream:
                        arrays.append(restricted_pickle.read_array(stream))
                found[split] = self._prepared(Texts.of(arrays[0], arrays[1], rng), path)
        most = self.num_words or max(int(texts.words.max()) for texts in found.values())
        for split, texts in found.items():
            kept = (texts.words >= self.skip_top) & (texts.words < most)
            if self.oov_char is None:
                found[split] = texts.keep(kept)
            else:
                found[split] = replace(texts, words=np.where(kept, texts.words, self.oov_char))
        return found

    def _prepared(self, texts: Texts, path: Path) -> Texts:
        if self.start_char is not None or self.index_from:
            texts = replace(texts, words=texts.words + self.index_from)
        if self.start_char is not None:
            texts = texts.begun_with(self.start_char)
        if self.maxlen is not None:
            texts = texts.only(texts.lengths < self.maxlen)
        if not len(texts):
            help = "cut long texts instead: `sequence_length: …`"
            raise Failure(Problem("E406", f"no text is shorter than `maxlen: {self.maxlen}`", path, help=help))
        return texts


class Imdb(_Texts):
    """Film reviews, good or bad, as word numbers: 25,000 to train, 25,000 to test (Keras's `imdb`)."""

    examples = (Example({"num_words": 5000, "sequence_length": 100}),)
    about = About(
        "film reviews, good or bad, as word numbers",
        {"train": 25_000, "test": 25_000},
        "imdb.npz",
        "not stated by its authors",
        "Maas et al., Learning Word Vectors for Sentiment Analysis, 2011",
        "fetched on first use: 17 MB",
    )
    remotes = (
        Remote(
            "imdb.npz",
            GOOGLE + "imdb.npz",
            17_464_789,
            "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
        ),
    )

    def _class_names(self) -> tuple[str, ...]:
        return "negative", "positive"

    def _arrays(self) -> dict[str, tuple[str, str]]:
        return {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


class Reuters(_Texts):
    """Newswires of 46 topics as word numbers: 11,228 in one piece (Keras's `reuters`)."""

    examples = (Example({"num_words": 1000, "sequence_length": 80}),)
    own = ("train",)
    about = About(
        "newswires of 46 topics, as word numbers",
        {"train": 11_228},
        "reuters.npz",
        "not stated by its authors",
        "Reuters-21578; Chollet's selection",
        "fetched on first use: 2 MB",
    )
    remotes = (
        Remote(
            "reuters.npz",
            GOOGLE + "reuters.npz",
            2_110_848,
            "sha256:d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
        ),
    )

    test_split: float = Field(0.2, ge=0, lt=1)
    """Fraction of the samples that tests, cut from the end after Keras's own shuffling."""

    def _class_names(self) -> tuple[str, ...]:
        return tuple(TOPICS.split())

    def _arrays(self) -> dict[str, tuple[str, str]]:
        return {"train": ("x", "y")}


TOPICS = """
cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass
crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi iron-steel
rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"""
