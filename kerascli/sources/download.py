"""Files of public data sets in Keras's own cache: fetched once, resumed where cut off, checked, put in place whole."""

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kerascli import files
from kerascli.downloads import OFFLINE, PROGRESS
from kerascli.errors import Failure, Problem

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
ATTEMPTS = 3
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Remote:
    """A file of a data set: where Keras keeps it below `datasets/`, where it comes from, and its digest."""

    name: str
    url: str
    size: int
    """About how many bytes it has: a server that sends twice as many is not trusted."""
    digest: str | None = None
    """`sha256:…`; None where Keras has none either, and the file's own check sums must do."""

    @property
    def path(self) -> Path:
        return cache() / self.name


def cache() -> Path:
    """Keras's folder of data sets: below `$KERAS_HOME`, else `~/.keras`, else the temporary folder."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home).expanduser() / "datasets"
    user = Path.home()
    base = user if os.access(user, os.W_OK) else Path(tempfile.gettempdir())
    return base / ".keras" / "datasets"


def fetch(remote: Remote) -> Path:
    """The file's path, after it was downloaded if it was not there or is not what it should be."""
    path = remote.path
    try:
        if path.is_file() and is_whole(remote, path):
            return path
        if OFFLINE.get():
            found = "is damaged" if path.is_file() else "is not there"
            help = f"run `kerascli datasets fetch` with a network, or put {remote.url} there"
            raise Failure(Problem("E411", f"`{path}` {found}, and `--offline` forbids to fetch it", path, help=help))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        _download(remote, part)
        if not is_whole(remote, part):
            part.unlink()
            message = f"`{remote.url}` gave other bytes than the data set's: its {remote.digest} does not fit"
            raise Failure(Problem("E411", message, path, help="try again; if it stays so, the file was changed there"))
        with files.writing(path):
            os.replace(part, path)
    except OSError as error:
        raise Failure(Problem("E401", f"cannot keep `{path}`: {error.strerror or error}", path)) from None
    return path


def is_whole(remote: Remote, path: Path) -> bool:
    """Whether the file has the digest that it should have."""
    if remote.digest is None:
        return True
    kind, _, wanted = remote.digest.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == wanted


def _download(remote: Remote, part: Path) -> None:
    """Fill `part`, going on from what is there; a cut connection is tried again."""
    for attempt in range(ATTEMPTS):
        try:
            if _stream(remote, part):
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and part.exists():  # what is there is no beginning of what the server has
                part.unlink()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code in (401, 403, 404, 410):
                raise _failed(remote, part, reason) from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error) or type(error).__name__)
        if attempt == ATTEMPTS - 1:
            raise _failed(remote, part, reason)


def _failed(remote: Remote, part: Path, reason: str) -> Failure:
    there = part.stat().st_size if part.exists() else 0
    kept = f"{there:,} bytes are kept, and the next try goes on from there" if there else "nothing was kept"
    message = f"cannot fetch `{remote.url}`: {reason}"
    return Failure(Problem("E411", message, label=kept, help=f"or put the file at {remote.path}"))


def _stream(remote: Remote, part: Path) -> bool:
    """Add what the server sends to `part`; whether that is all there is."""
    there = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "kerascli"} | ({"Range": f"bytes={there}-"} if there else {})
    request = urllib.request.Request(remote.url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206
        there = there if goes_on else 0
        length = answer.headers.get("Content-Length")
        whole = there + int(length) if length and length.isdecimal() else None
        with part.open("ab" if goes_on else "wb") as file:
            while block := answer.read(_BLOCK):
                there += len(block)
                if there > 2 * remote.size + _BLOCK:
                    raise _failed(remote, part, f"it sends more than the {remote.size:,} bytes of the data set")
                file.write(block)
                if show := PROGRESS.get():
                    show(remote.path.name, there, whole)
            file.flush()
            os.fsync(file.fileno())
    return whole is None or there == whole
