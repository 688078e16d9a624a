"""Files of text, plain or gzip: their encoding found out, every fault of theirs a problem that names the place."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TextIO

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from kerascli.errors import Failure, Problem, Span
from kerascli.files import cannot_read

LONGEST_LINE = 1 << 24
_GZIP = b"\x1f\x8b"
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SHOWN = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a byte order mark", "utf-16": "UTF-16"}
_NO_TEXT = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unpack it, or save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the table as CSV"),
    (b"PAR1", "a Parquet file", "its source is `type: parquet`"),
    (b"\x89HDF", "an HDF5 file", "its source is `type: hdf5`"),
    (b"\x93NUMPY", "a NumPy array", "put it into an .npz, whose source is `type: npz`"),
)


class Readable(Protocol):
    """What lines are read from."""

    def readline(self, size: int = -1, /) -> str: ...


@dataclass(frozen=True)
class Opened:
    """A file of text from its beginning."""

    path: Path
    stream: TextIO
    encoding: str

    @property
    def shown(self) -> str:
        """The encoding as people write it."""
        return _SHOWN.get(self.encoding, self.encoding)


@contextmanager
def open_text(path: Path, encoding: str | None = None) -> Iterator[Opened]:
    """Open a file; what goes wrong with it anywhere in the block becomes a problem.

    Without an `encoding` it is what the byte order mark says, or else UTF-8: others look alike and are not guessed.
    """
    try:
        with path.open("rb") as raw:
            stream = _unpacked(raw)
            head = stream.peek(8)[:8]
            for begin, what, help in _NO_TEXT:
                if head.startswith(begin):
                    raise Failure(Problem("E402", f"`{path}` is {what}, no text", path, help=help))
            found = next((name for mark, name in _MARKS if head.startswith(mark)), encoding or "utf-8")
            if encoding is None and found == "utf-8" and b"\0" in stream.peek(64)[:64]:
                help = "is it UTF-16? `dataset: {encoding: utf-16-le}`"
                raise Failure(Problem("E402", f"`{path}` has bytes of value 0 and is not UTF-8 text", path, help=help))
            with io.TextIOWrapper(stream, encoding=found, newline="") as text:
                yield Opened(path, text, found)
    except UnicodeDecodeError as error:
        raise Failure(_undecoded(path, found, error)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"`{path}` is a damaged gzip file: {error}"
        raise Failure(Problem("E402", message, path, help="copy or download it again")) from None
    except OSError as error:
        raise cannot_read(path, error) from None


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == _GZIP else raw


def _undecoded(path: Path, encoding: str, error: UnicodeDecodeError) -> Problem:
    """Where the first byte is that the encoding does not know: the file is read once more, line by line."""
    what = f"`{path}` is not {_SHOWN.get(encoding, encoding)} text: byte"
    help = "save it as UTF-8, or say what it is, such as `dataset: {encoding: latin-1}`"
    with path.open("rb") as raw:
        stream, number = _unpacked(raw), 1
        while encoding.startswith("utf-8") and (line := stream.readline(LONGEST_LINE)):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                before = line[: found.start].decode()
                message = f"{what} {line[found.start]:#04x} in line {number}, after `{before[-30:]}`"
                return Problem("E402", message, Span(str(path), number, len(before) + 1), help=help)
            number += 1
    return Problem("E402", f"{what} {error.object[error.start]:#04x}", path, help=help)


def lines(stream: Readable, name: str, most: int | None = None) -> Iterator[str]:
    """Lines of the stream, as many as `most` characters hold; a line may not be without end."""
    size = 0
    while most is None or size < most:
        line = stream.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE:
            message = f"`{name}` has a line of more than {LONGEST_LINE:,} characters"
            raise Failure(Problem("E407", message, Path(name), help="is this a text file?"))
        size += len(line)
        yield line


def _known(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise PydanticCustomError(
            "encoding", "must be an encoding of texts, such as `utf-8`, `latin-1`, `cp1252` or `utf-16-le`"
        ) from None
    return name


Encoding = Annotated[str, AfterValidator(_known)]
"""A name that Python has for an encoding of texts."""
