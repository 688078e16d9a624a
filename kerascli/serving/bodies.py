"""Bodies of requests as samples: JSON, CSV and images, encoded as `kerascli predict` encodes files."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from kerascli.columns import Unseen
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.serving import json_rows
from kerascli.serving.predictor import AT_ONCE, GoOn, Predictor
from kerascli.serving.refusal import REQUEST, Limits, Refusal, too_many_rows
from kerascli.sources.encoded import describe_unseen
from kerascli.sources.raw import of_texts, table_blocks
from kerascli.sources.raw_arrays import Arrays
from kerascli.sources.raw_files import image_reading
from kerascli.sources.separated import Separated

JSON, CSV = "application/json", "text/csv"
IMAGES = ("image/png", "image/jpeg", "image/bmp", "image/gif")
FORM = "multipart/form-data"
ENCODINGS = {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "iso8859-1", "iso8859-15", "cp1252"}
"""Of text, as Python calls them: those that tables come in, and none that is a program of its own."""


@dataclass(frozen=True)
class File:
    """A file in a form, or a body that is one."""

    data: bytes
    name: str = ""

    @property
    def place(self) -> Path:
        """What problems call it: its name without folders."""
        return Path(PurePosixPath(self.name.replace("\\", "/")).name[:80]) if self.name else REQUEST


@dataclass(frozen=True)
class Body:
    """What a request sent."""

    media: str
    """Its content type, without parameters."""
    charset: str | None
    files: tuple[File, ...]
    """The body; the files of a form."""


@dataclass
class Samples:
    """What a body holds: blocks of rows, each with an array for every input."""

    blocks: Iterator[Arrays]
    top_k: int | None = None
    places: list[str] = field(default_factory=list)
    """The names of the files that the samples are."""
    unseen: Unseen = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the samples, once they were read."""
        return [*self.said, *describe_unseen(self.unseen)]


def media_types(predictor: Predictor) -> list[str]:
    """What this model reads."""
    images = [*IMAGES, FORM] if predictor.images else []
    return [JSON, *([CSV] if takes_csv(predictor) else []), *images]


def takes_csv(predictor: Predictor) -> bool:
    """A table; or rows of numbers, for a network of one input of arrays."""
    if predictor.preprocessing.features:
        return True
    return predictor.kind == "arrays" and [i.dtype == "string" for i in predictor.specs.values()] == [False]


def samples(body: Body, predictor: Predictor, limits: Limits, go_on: GoOn) -> Samples:
    """The body's samples; a Refusal (415) where it is of a type that this model does not read."""
    if body.media == JSON:
        return _of_json(body.files[0].data, predictor, limits)
    if body.media == CSV and takes_csv(predictor):
        return _of_csv(body, predictor, limits)
    if (body.media.startswith("image/") or body.media == FORM) and predictor.kind == "arrays":  # the bytes decide which
        return _of_images(body.files, predictor, limits, go_on)
    raise unknown_type(body.media, predictor)


def unknown_type(media: str, predictor: Predictor) -> Refusal:
    """415, with what would be read."""
    what = f"the content type `{media[:60]}`" if media else "a body without content type"
    help = f"this model reads {', '.join(media_types(predictor))}: say which by the header `Content-Type`"
    return Refusal(415, Problem("E702", f"{what} is not read by this model", REQUEST, help=help))


def _of_json(data: bytes, predictor: Predictor, limits: Limits) -> Samples:
    asked = json_rows.asked(data, predictor.allow_nan)
    if len(asked.rows) > limits.rows:
        raise too_many_rows(len(asked.rows), limits)
    preprocessing, specs = predictor.preprocessing, predictor.specs
    found = Samples(iter(()), asked.top_k)
    if predictor.kind == "text":
        texts = json_rows.texts(asked.rows, predictor.text_name)
        found.blocks = iter([of_texts(texts, preprocessing, specs, found.unseen)])
    elif predictor.kind == "table":
        features = list(preprocessing.kinds)
        table = json_rows.table(asked.rows, features, preprocessing.target_kinds)
        found.said += json_rows.absences(asked.rows, features)
        found.blocks = table_blocks(table, preprocessing, specs, found.unseen, found.said.append)
    else:
        found.blocks = iter([json_rows.arrays(asked.rows, specs, predictor.allow_nan)])
    return found


def _of_csv(body: Body, predictor: Predictor, limits: Limits) -> Samples:
    preprocessing = predictor.preprocessing
    text = _decoded(body, preprocessing)
    form = Separated(decimal=preprocessing.decimal, headed=bool(preprocessing.features))
    table = form.read(io.StringIO(text, newline=""), str(REQUEST))
    found = Samples(iter(()))
    blocks = table_blocks(table, preprocessing, predictor.specs, found.unseen, found.said.append)
    found.blocks = _counted(blocks, limits)
    return found


def _decoded(body: Body, preprocessing: Preprocessing) -> str:
    """The text of a table: as its charset says, else as training's files were."""
    try:
        encoding = codecs.lookup(body.charset or preprocessing.encoding or "utf-8").name
    except LookupError:
        encoding = ""
    if encoding not in ENCODINGS:
        message = f"the charset `{body.charset or preprocessing.encoding}` is not read"
        raise Refusal(415, Problem("E702", message, REQUEST, help="send the table as UTF-8"))
    data = body.files[0].data
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"the body is not {encoding} text: byte {data[error.start]:#04x} in line {line}"
        help = "save it as UTF-8, or say what it is: `Content-Type: text/csv; charset=latin-1`"
        raise Refusal(400, Problem("E701", message, REQUEST, help=help)) from None


def _counted(blocks: Iterator[Arrays], limits: Limits) -> Iterator[Arrays]:
    rows = 0
    for block in blocks:
        rows += len(next(iter(block.values())))
        if rows > limits.rows:
            raise too_many_rows(rows, limits)
        yield block


def _of_images(files: tuple[File, ...], predictor: Predictor, limits: Limits, go_on: GoOn) -> Samples:
    if len(files) > limits.rows:
        raise too_many_rows(len(files), limits)
    if not files:
        help = "`curl -F image=@picture.png …` makes a form with a file"
        raise Failure(Problem("E403", "the form has no file", REQUEST, help=help))
    reading = image_reading(REQUEST, predictor.preprocessing, predictor.specs)
    ((name, info),) = predictor.specs.items()

    def block(start: int) -> Array:
        read = []
        for file in files[start : start + AT_ONCE]:
            go_on()
            read.append(reading.read(file.place, file.data).reshape(info.shape))
        return np.stack(read)

    blocks = ({name: block(start)} for start in range(0, len(files), AT_ONCE))
    return Samples(blocks, places=[str(file.place) if file.name else "" for file in files])
