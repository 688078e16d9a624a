"""Atomic files: whoever reads a file sees the whole old one or the whole new one, whenever the process dies."""

from __future__ import annotations

import contextlib
import difflib
import errno
import itertools
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerascli.errors import Failure, Problem

MOST_NAMES = 10_000
"""Names of a folder that are looked through for one that was meant."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` once it is safely on the disk.

    What is no ordinary file, such as /dev/null or a pipe, is not replaced but written to, and so is what a link means.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with writing(path):
            yield path
        return
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        with writing(path):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # a disk that became read-only says so once
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses becomes a Problem that names `path`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Strict JSON: what is not a number stays out, because other readers refuse `NaN`."""
    write_text(path, json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """The same value with NaN and infinities written as the strings `nan`, `inf` and `-inf`."""
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left behind, in subfolders too."""
    for leftover in folder.rglob(".*.tmp"):
        with writing(leftover):
            leftover.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> Failure:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    help = "make room on that disk" if full else ""
    return Failure(Problem("E501", f"cannot write `{path}`: {error.strerror or error}", path, help=help))


def cannot_read(path: Path, error: OSError | None = None, what: str = "") -> Failure:
    """A file of data that is not there, with the nearest names that are, or that the system refuses."""
    if error is None or isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Failure(Problem("E401", f"there is no file `{path}`{what}", path, help=_nearest(path)))
    help = "it is a folder, and a file is wanted" if path.is_dir() else ""
    return Failure(Problem("E401", f"cannot read `{path}`{what}: {error.strerror or error}", path, help=help))


def _nearest(path: Path) -> str:
    """What may have been meant by a path that does not exist: names beside the first part of it that is absent."""
    absent = path
    while not absent.parent.is_dir():
        absent = absent.parent
    begin = f"there is no folder `{absent}`" if absent != path else ""
    try:
        names = sorted(entry.name for entry in itertools.islice(os.scandir(absent.parent), MOST_NAMES))
    except OSError:
        return begin
    lower = {name.lower(): name for name in names}
    near = [lower[name] for name in difflib.get_close_matches(absent.name.lower(), lower, 3, 0.7)]
    if near:
        end = f"did you mean {' or '.join(f'`{absent.with_name(name)}`' for name in near)}?"
    else:
        folders = not path.suffix or absent != path
        alike = [n for n in names if (absent.with_name(n).is_dir() if folders else n.endswith(path.suffix))]
        end = f"beside it are {', '.join(f'`{name}`' for name in alike[:5])}" if alike else ""
    return "; ".join(part for part in (begin, end) if part)


def _sync(path: Path) -> None:
    """Wait until the disk has it. Windows cannot open directories, and needs no such help."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
