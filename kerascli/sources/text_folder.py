"""Texts in a folder for each class, a file for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.preprocessing import InputLayout
from kerascli.sources.base import Dataset, InputInfo, Split
from kerascli.sources.folders import Files, _Folder, bytes_of, marks
from kerascli.sources.packed import numbered
from kerascli.sources.rows import TEXT, Samples, Streamed
from kerascli.sources.textfile import Encoding
from kerascli.text import Output, Side, TextEncoder, TextOptions

TEXT_SUFFIXES = (".txt",)
KEPT = 1 << 26
"""Bytes of texts up to which they are kept in memory."""
_AT_ONCE = 1 << 10
"""Files that are read at a time for the vocabulary, and for the numbers of their words."""
MOST_BYTES = 1 << 24
"""Larger files are no samples."""


def read_text(path: Path, encoding: str | None = None) -> str:
    """A whole file; a problem where it is not text of this encoding, which is UTF-8 unless said otherwise."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise cannot_read(path, error) from None
    if len(raw) > MOST_BYTES:
        message = f"`{path}` has more than {MOST_BYTES:,} bytes, and a file is one sample"
        raise Failure(Problem("E402", message, path, help="a text for each line is read by `type: csv`"))
    try:
        text = raw.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"`{path}` is not {encoding or 'UTF-8'} text: byte {raw[error.start]:#04x} in line {line}"
        help = "save it as UTF-8, or say what all files are, such as `dataset: {encoding: latin-1}`"
        raise Failure(Problem("E402", message, path, help=help)) from None
    if "\0" in text:
        raise Failure(Problem("E402", f"`{path}` is no text: it has a byte of zero", path, help="remove it"))
    return text


@dataclass(frozen=True)
class Texts:
    """Reads the texts of a list of files: (n, 1)."""

    files: Files
    encoding: str | None = None

    def __call__(self, rows: Array) -> Array:
        texts = [[read_text(self.files[int(row)], self.encoding)] for row in rows]
        return np.array(texts, TEXT).reshape(-1, 1)

    def streamed(self) -> Streamed:
        return Streamed((len(self.files), 1), np.dtype(TEXT), self, partial(marks, self.files), self.files.name)


class TextFolder(_Folder):
    """Texts in a folder for each class, a .txt file for each.

    Served as they are, one text a sample, to a network that begins with TextVectorization; with `vocabulary` or
    `sequence_length` as numbers of words. Texts of more than 64 MiB are read batch by batch while the network trains.
    """

    examples = (
        Example({"path": "reviews", "validation_split": 0.2, "stratify": True}),
        Example({"path": "reviews", "vocabulary": 1000, "sequence_length": 50}),
        Example({"path": "reviews", "vocabulary": 1000, "output": "multi_hot"}),
    )
    suffixes: ClassVar[tuple[str, ...]] = TEXT_SUFFIXES
    what: ClassVar[str] = "text"

    vocabulary: int | None = Field(None, ge=3)
    """Numbers that there are: one for padding, one for unknown words, the others for the most frequent words of the
    training texts; 5000 where only `sequence_length` is given."""
    sequence_length: int | None = Field(None, ge=1)
    """Numbers of a text with `output: int`; 100 where only `vocabulary` is given."""
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
    encoding: Encoding | None = None
    """How characters are stored, such as `latin-1` or `cp1252`; by default UTF-8."""

    @model_validator(mode="after")
    def _numbers_have_a_vocabulary(self) -> Self:
        if self.output != "int" and self.vocabulary is None:
            raise PydanticCustomError("text_output", "`output: {output}` needs `vocabulary`", {"output": self.output})
        if self.output != "int" and self.sequence_length is not None:
            raise PydanticCustomError("text_length", "`sequence_length` is for `output: int`")
        return self

    @property
    def options(self) -> TextOptions | None:
        """How texts become numbers; None where they stay texts."""
        if self.vocabulary is None and self.sequence_length is None:
            return None
        given = {name: getattr(self, name) for name in TextOptions.model_fields}
        return TextOptions(**{name: value for name, value in given.items() if value is not None})

    def info(self) -> InputInfo:
        options = self.options
        return InputInfo((options.width,), options.dtype) if options else InputInfo((1,), "string")

    def samples(self, files: Files) -> Samples:
        texts = Texts(files, self.encoding).streamed()
        return texts[:] if bytes_of(files) <= KEPT else texts

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        data = super().load(base, seed, encoding, inputs, outputs, raw)
        (name,) = data.train.inputs
        if (options := self.options) is None:
            found = data.preprocessing.model_copy(update={"text_files": True, "encoding": self.encoding})
            return replace(data, preprocessing=found)
        encoder = TextEncoder.fit(chain.from_iterable(_each(data.train.inputs[name])), options)
        layout = InputLayout(shape=(encoder.width,), dtype=encoder.dtype)
        known = {"text_files": True, "encoding": self.encoding, "text": encoder, "inputs": {name: layout}}
        found = data.preprocessing.model_copy(update=known)
        train = encoded(data.train, encoder)
        validation, test = (split and encoded(split, encoder) for split in (data.validation, data.test))
        return replace(data, train=train, validation=validation, test=test, preprocessing=found)


def _each(texts: Samples) -> Iterator[list[str]]:
    """The texts, some at a time."""
    for start in range(0, len(texts), _AT_ONCE):
        yield [str(text) for text in texts[start : start + _AT_ONCE][:, 0].tolist()]


def as_numbers(texts: Samples, encoder: TextEncoder) -> Samples:
    """Texts (n, 1) as numbers."""
    return numbered(_each(texts), encoder)


def encoded(split: Split, encoder: TextEncoder) -> Split:
    """A split whose texts are numbers."""
    return replace(split, inputs={name: as_numbers(texts, encoder) for name, texts in split.inputs.items()})
