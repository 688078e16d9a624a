"""Texts as numbers: words are found, counted in the training texts, and numbered from the most frequent on.

0 fills up short texts and 1 stands for every word that is not in the vocabulary, as in Keras's TextVectorization; texts
are filled up and cut at their beginning, as Keras's pad_sequences does.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kerascli.ops.ir import Array

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
FIRST = 2
"""The number of the most frequent word."""
Output = Literal["int", "multi_hot", "count"]
Side = Literal["pre", "post"]


class TextOptions(BaseModel):
    """How texts become numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    vocabulary: int = Field(5000, ge=3)
    """Numbers that there are: one for padding, one for unknown words, the others for the most frequent words."""
    sequence_length: int = Field(100, ge=1)
    """Numbers of a text with `output: int`."""
    output: Output = "int"
    """`int`: the number of each word, in order; `multi_hot`: which words there are; `count`: how often each one is."""
    lower: bool = True
    """Whether capital letters are taken for small ones."""
    strip_html: bool = True
    """Whether tags such as `<br />` are left out, and `&amp;` is read as `&`."""
    padding: Side = "pre"
    """Where zeros fill up a short text."""
    truncating: Side = "pre"
    """Where a long text is cut."""

    @property
    def width(self) -> int:
        """Numbers of an encoded text."""
        return self.sequence_length if self.output == "int" else self.vocabulary

    @property
    def dtype(self) -> str:
        return "int32" if self.output == "int" else "float32"


class TextEncoder(TextOptions):
    """Options, and the words that the training texts have: the most frequent first, equals in sorted order."""

    words: tuple[str, ...]

    @classmethod
    def fit(cls, texts: Iterable[str], options: TextOptions) -> Self:
        """The texts are read once, one by one."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(tokens(text, options))
        found = sorted(counts, key=lambda word: (-counts[word], word))[: options.vocabulary - FIRST]
        return cls(**{name: getattr(options, name) for name in TextOptions.model_fields}, words=tuple(found))

    def encode(self, texts: Sequence[str]) -> Array:
        """Shapes: n texts → (n, sequence_length) int32, or (n, vocabulary) float32."""
        return self.placed(self.numbers(texts))

    def numbers(self, texts: Sequence[str]) -> list[Array]:
        """Of each text the numbers of those of its words that count, int32."""
        places = {word: number for number, word in enumerate(self.words, FIRST)}
        found = []
        for text in texts:
            words = [places.get(word, 1) for word in tokens(text, self)]
            numbers: Collection[int] = words
            if self.output == "int":
                numbers = self._cut(words)
            elif self.output == "multi_hot":
                numbers = set(words)
            found.append(np.fromiter(numbers, np.int32, len(numbers)))
        return found

    def placed(self, numbers: Sequence[Array]) -> Array:
        """Shapes: the numbers of n texts → (n, sequence_length) int32, or (n, vocabulary) float32."""
        encoded = np.zeros((len(numbers), self.width), self.dtype)
        for row, own in zip(encoded, numbers, strict=True):
            if self.output == "multi_hot":
                row[own] = 1
            elif self.output == "count":
                np.add.at(row, own, 1)
            elif self.padding == "pre":
                row[len(row) - len(own) :] = own
            else:
                row[: len(own)] = own
        return encoded

    def decode(self, row: Array) -> str:
        """The words of an encoded text, as far as the numbers tell; `[?]` for those that training never showed."""
        numbers = row[row > 0] if self.output == "int" else np.repeat(np.arange(len(row)), row.astype(int))
        return " ".join(self.words[n - FIRST] if n >= FIRST else "[?]" for n in numbers.tolist())

    def _cut(self, numbers: list[int]) -> list[int]:
        return numbers[-self.width :] if self.truncating == "pre" else numbers[: self.width]


def tokens(text: str, options: TextOptions) -> list[str]:
    """The words of a text: letters and digits, with apostrophes inside."""
    if options.strip_html:
        text = html.unescape(_TAG.sub(" ", text))
    return _WORD.findall(text.lower() if options.lower else text)
