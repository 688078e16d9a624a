"""Checkpoints: everything that a training needs to go on to the last bit, each a file that is whole or not there.

A state is plain data with arrays anywhere in it. Its file is an uncompressed `.npz`: the arrays, and `state.json`,
where each array is replaced by its name. The zip format keeps a CRC-32 of every member, which reading checks.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerascli import files
from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array

FORMAT = 1
"""Number of the format and of the meaning of what is in it. A version that reads another number refuses this one."""
INTERVAL = 60.0
"""Seconds of a long epoch after which there is a checkpoint before its end."""
SHARE = 20
"""Where epochs are short, the next checkpoint waits until so many times as long as the last one took have passed."""
KEPT = 2
STATE = "state.json"
ARRAY = "$array"
State = dict[str, Any]


class Damaged(Exception):
    """The file is not what was written."""


def write(path: Path, state: State) -> None:
    """The file of a state, in place of an older one. Arrays go to the disk from where they are."""
    arrays: dict[str, Array] = {}
    facts = json.dumps(_without_arrays({"format": FORMAT, **state}, "", arrays))
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(STATE, facts)
        for name, array in arrays.items():
            array = np.ascontiguousarray(array).reshape(array.shape)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
                member.write(array.reshape(-1).view(np.uint8).data)


def read(path: Path) -> State:
    """The state of a file; Damaged where it cannot be read, and a Problem where another version's format is its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(_member(archive, STATE))
            if not isinstance(facts, dict):
                raise ValueError(f"its `{STATE}` is no mapping")
            if facts.get("format") != FORMAT:
                raise Failure(_foreign(path, facts.get("format")))
            found: State = _with_arrays(facts, archive)
            return found
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise Damaged(str(error) or type(error).__name__) from error


def _foreign(path: Path, number: Any) -> Problem:
    message = f"`{path.name}` has the checkpoint format {number}; this version of kerascli reads the format {FORMAT}"
    return Problem("E513", message, path, help="resume with the version that `versions` in `run.json` names")


def _without_arrays(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The value with the name of each array in its place; `arrays` takes them in."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _without_arrays(part, f"{name}/{key}".lstrip("/"), arrays) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(part, f"{name}/{number}", arrays) for number, part in enumerate(value)]
    return value


def _with_arrays(value: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            return _array(_member(archive, f"{value[ARRAY]}.npy"))
        return {key: _with_arrays(part, archive) for key, part in value.items()}
    return [_with_arrays(part, archive) for part in value] if isinstance(value, list) else value


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes; it is no longer than the file, for nothing is packed."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"`{name}` is packed")
    return archive.read(name)


def _array(data: bytes) -> Array:
    """The array of an `.npy`, whose header may promise no more than there is."""
    stream = io.BytesIO(data)
    np.lib.format.read_magic(stream)
    shape, by_column, kind = np.lib.format.read_array_header_1_0(stream)
    rest = data[stream.tell() :]
    if by_column or kind.kind not in "biuf" or math.prod(shape) * kind.itemsize != len(rest):
        raise ValueError("the header of an array does not fit it")
    return np.frombuffer(rest, kind).reshape(shape).copy()


class Checkpoints:
    """The checkpoints of one run: when there is to be one, and which of them is to be read.

    Without `batches`, at the end of epochs, and every `seconds` within a long one; with it, every so many batches, or
    never where it is 0. The last `kept` of them stay.
    """

    def __init__(self, folder: Path, seconds: float = INTERVAL, batches: int | None = None, kept: int = KEPT) -> None:
        self.folder, self.seconds, self.batches, self.kept = folder, seconds, batches, kept
        self._cost = 0.0
        self._last = time.monotonic()

    def due(self, iteration: int, epoch_ended: bool) -> bool:
        """Whether to save now, after so many batches in all."""
        if self.batches is not None:
            return not epoch_ended and self.batches > 0 and iteration % self.batches == 0
        passed = time.monotonic() - self._last
        return passed >= (min(self.seconds, SHARE * self._cost) if epoch_ended else self.seconds)

    def save(self, iteration: int, state: State) -> None:
        """Write a checkpoint; then older ones go, and damaged ones that were of a later step."""
        began = time.monotonic()
        with files.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{iteration:010d}.npz"
        write(path, state)
        stay = [p for p in self.paths() if p <= path][: self.kept]
        for other in set(self.paths()) - set(stay):
            with contextlib.suppress(OSError):
                other.unlink()
        self._last = time.monotonic()
        self._cost = self._last - began

    def paths(self) -> list[Path]:
        """All there are, the newest first."""
        return sorted(self.folder.glob("step-*.npz"), reverse=True)

    def newest(self, say: Callable[[str], None]) -> State | None:
        """The newest that can be read, None where there is none at all; a damaged one is told of and passed over."""
        reasons: list[str] = []
        for path in self.paths():
            try:
                state = read(path)
            except Damaged as damage:
                reasons.append(f"the checkpoint `{path.name}` is damaged ({damage})")
                continue
            if reasons:
                say(f"warning: {'; '.join(reasons)}; training goes on from the one before, `{path.name}`")
            return state
        if reasons:
            help = f"nothing is left to go on from; train it anew: `kerascli train {self.folder.parent}/resolved.yaml`"
            raise Failure([Problem("E514", reason, self.folder, help=help) for reason in reasons])
        return None

    def clear(self) -> None:
        """Remove them all."""
        for path in self.paths():
            with files.writing(path):
                path.unlink()
