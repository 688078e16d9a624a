"""`.keras` archives: one member at a time is read into memory, and nothing is ever unpacked to the disk.

An archive is refused as a whole where a member's name leads out of it, stands twice, is encrypted, or would grow beyond
what weights can: whoever made it so did not make it with Keras.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kerascli.errors import Failure, Problem

START = b"PK\x03\x04"
MOST_MEMBERS = 20_000
MOST_GROWTH, FREE = 200, 1 << 20
"""A member may unpack to so many times its packed size, and to this many bytes in any case."""


def read_member(path: Path, name: str, limit: int) -> bytes:
    """One member, refused where it is larger than `limit` once unpacked."""
    with opened(path) as archive:
        return _member(archive, path, name, limit)


def members(path: Path) -> list[str]:
    """The names of all members."""
    with opened(path) as archive:
        return archive.namelist()


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its directory checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            if fault := _fault(archive):
                raise ValueError(fault)
            yield archive
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        said = str(error) or type(error).__name__
        raise Failure(Problem("E506", f"cannot read the archive `{path}`: {said}", path)) from error


def _fault(archive: zipfile.ZipFile) -> str:
    """What is wrong with the archive's directory; empty where nothing is."""
    infos = archive.infolist()
    names = {info.filename for info in infos}
    if len(infos) > MOST_MEMBERS:
        return f"it has more than {MOST_MEMBERS:,} members"
    if len(names) < len(infos):
        return "two of its members have one name"
    for info in infos:
        name = PurePosixPath(info.filename)
        shown = repr(info.filename[:80])
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in info.filename:
            return f"the member {shown} leads out of it"
        if info.flag_bits & 0x1:
            return f"the member {shown} is encrypted"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"the member {shown} is packed in a way that Keras does not use"
        if info.file_size > MOST_GROWTH * info.compress_size + FREE:
            sizes = f"{info.file_size:,} bytes, larger than {info.compress_size:,} packed ones can be"
            return f"the member {shown} unpacks to {sizes}"
    return ""


def _member(archive: zipfile.ZipFile, path: Path, name: str, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise Failure(Problem("E506", f"`{path.name}` has no `{name}`: it is no Keras model", path)) from error
    if info.file_size > limit:
        raise Failure(Problem("E506", f"`{name}` in `{path.name}` is larger than the model can need", path))
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise ValueError(f"`{name}` is not as long as its directory says")
    return data
