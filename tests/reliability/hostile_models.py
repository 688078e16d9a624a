"""Model files with faults: each import must end, in time and memory, with a model or a Failure."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import h5py

from kerascli import importer
from kerascli.errors import Failure

MODELS = Path(__file__).parents[1] / "parity" / "keras_models"
SECONDS = 20
"""That one file may take, on a machine that does other things as well."""
MEMORY = 2 << 30
"""More than the process has at its start."""
BATCH = 200
"""Files that one child process reads: its death is told, and does not end the others."""

NUMBERS = [0, 1, -1, 2, 255, 10**6, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e300, -1e-300]
WORDS = [
    "",
    "x",
    "../../x",
    "/etc/passwd",
    "Lambda",
    "Dense",
    "__lambda__",
    "Custom>X",
    "relu",
    "\x00",
    "é" * 300,
    "{}",
]
VALUES: list[Any] = [None, True, False, [], {}, [[]], [None], {"class_name": "Dense"}, *NUMBERS, *WORDS]


@dataclass
class Result:
    """What came of many files."""

    read: int = 0
    """How many there were."""
    accepted: int = 0
    faults: list[str] = field(default_factory=list)
    """Crashes, hangs and whatever else is no Failure."""


Files = dict[str, bytes]
"""By name; the first is the one that is imported."""


def keras_file(rng: random.Random) -> Files:
    """A `.keras` archive, spoilt in its bytes, its JSON, its HDF5 or its directory."""
    source = _some(rng, "keras")
    way = rng.random()
    if way < 0.3:
        return {"m.keras": spoilt(source, rng)}
    members = {}
    with zipfile.ZipFile(io.BytesIO(source)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    if way < 0.7:
        config = json.loads(members["config.json"])
        members["config.json"] = _encoded(twisted(config, rng), rng)
    elif way < 0.9:
        members["model.weights.h5"] = spoilt(members["model.weights.h5"], rng)
    else:
        name = rng.choice(list(members))
        members[rng.choice([*WORDS[1:], name + "x"])] = members.pop(name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("\x00", "0"), data)
    return {"m.keras": packed.getvalue()}


def h5_file(rng: random.Random) -> Files:
    """A legacy whole-model file, spoilt in its bytes or in its JSON."""
    source = _some(rng, "h5")
    if rng.random() < 0.6:
        return {"m.h5": spoilt(source, rng)}
    memory = io.BytesIO(source)
    with h5py.File(memory, "a") as file:
        name = rng.choice(["model_config", "model_config", "training_config"])
        data = _encoded(twisted(json.loads(file.attrs[name]), rng), rng)
        file.attrs[name] = data[:60_000].replace(b"\0", b"0")  # more does not fit in an attribute
    return {"m.h5": memory.getvalue()}


def json_file(rng: random.Random) -> Files:
    """`model.json` with its weights beside it, the one or the other spoilt."""
    with zipfile.ZipFile(io.BytesIO(_some(rng, "keras"))) as archive:
        config, weights = archive.read("config.json"), archive.read("model.weights.h5")
    if rng.random() < 0.5:
        weights = spoilt(weights, rng)
    else:
        config = _encoded(twisted(json.loads(config), rng), rng)
    return {"model.json": config, "model.weights.h5": weights}


KINDS: dict[str, Callable[[random.Random], Files]] = {"keras": keras_file, "h5": h5_file, "json": json_file}


def _some(rng: random.Random, form: str) -> bytes:
    """The smallest of the models mostly: it is read soonest."""
    names = {"keras": ["bare_stack", "bare_stack", "bare_stack", "two_inputs", "twins"], "h5": ["stack", "twins"]}
    return (MODELS / f"{rng.choice(names[form])}.{form}").read_bytes()


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some changed, cut out, put in or copied; those that are not zero mostly."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place = _place(found, rng)
        way = rng.random()
        if way < 0.35:
            found[place] = rng.randrange(256)
        elif way < 0.55:
            found[place] ^= 1 << rng.randrange(8)
        elif way < 0.7:
            size = rng.choice([2, 4, 8])
            number = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, len(found)])
            found[place : place + size] = (number % 256**size).to_bytes(size, "little")
        elif way < 0.8:
            del found[place : place + rng.randrange(1, 64)]
        elif way < 0.9:
            start = rng.randrange(len(found))
            found[place:place] = found[start : start + rng.randrange(1, 64)]
        else:
            start, size = rng.randrange(len(found)), rng.randrange(1, 64)
            found[place : place + size] = found[start : start + size]
        if len(found) < 8:
            break
    return bytes(found)


def _place(data: bytearray, rng: random.Random) -> int:
    for _ in range(20):
        place = rng.randrange(len(data))
        if data[place] or rng.random() < 0.1:
            return place
    return place


def twisted(value: Any, rng: random.Random) -> Any:
    """JSON with a few of its values replaced, moved, doubled, renamed or nested."""
    found = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        holders = list(_holders(found))
        if not holders:
            break
        holder = rng.choice(holders)
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        way = rng.random()
        if way < 0.5:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif way < 0.6:
            other = rng.choice(holders)
            holder[key] = _copied(other)
        elif way < 0.7:
            del holder[key]
        elif way < 0.8 and isinstance(holder, dict):
            holder[rng.choice(["class_name", "config", "module", "name", "x"])] = holder.pop(key)
        elif way < 0.9 and isinstance(holder, list):
            holder.insert(key, _copied(holder[key]))
        else:
            deep: Any = holder[key]
            for _ in range(rng.choice([1, 3, 50, 500])):
                deep = [deep] if rng.random() < 0.5 else {"config": deep}
            holder[key] = deep
    return found


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except RecursionError:  # it was nested deeply before
        return []


def _holders(value: Any) -> Any:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (dict, list)) and item:
            yield item
            waiting += item.values() if isinstance(item, dict) else item


def _encoded(value: Any, rng: random.Random) -> bytes:
    try:
        data = json.dumps(value).encode()
    except (RecursionError, ValueError):
        data = b"[" * 5000
    return spoilt(data, rng) if rng.random() < 0.05 and len(data) > 8 else data


# ── reading them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def trial(kind: str, count: int, seed: int) -> Result:
    """Import `count` files in child processes of bounded memory."""
    result = Result()
    for first in range(0, count, BATCH):
        with tempfile.TemporaryDirectory() as folder:
            _batch(kind, range(first, min(first + BATCH, count)), seed, Path(folder), result)
    return result


def _batch(kind: str, numbers: range, seed: int, folder: Path, result: Result) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            found = _child(kind, numbers, seed, folder)
            os.write(writer, json.dumps(found).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if not said:
        number = (folder / "number").read_text()
        result.faults.append(f"{kind} {number} of seed {seed}: the process died, status {status}")
        return
    read, accepted, faults = json.loads(said)
    result.read, result.accepted = result.read + read, result.accepted + accepted
    result.faults += faults


def _child(kind: str, numbers: range, seed: int, folder: Path) -> tuple[int, int, list[str]]:
    most = MEMORY + int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, _late)
    read, accepted, faults = 0, 0, []
    for number in numbers:
        (folder / "number").write_text(str(number))
        files = KINDS[kind](random.Random(f"{seed} {kind} {number}"))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        read += 1
        signal.alarm(SECONDS)
        try:
            importer.read(folder / next(iter(files)))
            accepted += 1
        except Failure:
            pass
        except BaseException:
            faults.append(f"{kind} {number} of seed {seed}: {traceback.format_exc()[-1500:]}")
        signal.alarm(0)
        if {each.name for each in folder.iterdir()} != {*files, "number"}:
            faults.append(f"{kind} {number} of seed {seed}: a file was written")
    return read, accepted, faults[:20]


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


if __name__ == "__main__":  # a small process, which is forked soon: pytest's, with JAX in it, is not
    print(json.dumps(dataclasses.asdict(trial(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
