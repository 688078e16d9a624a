"""Reading a file that may be hostile in a child process that may die of it.

The HDF5 library walks in circles, or falls, over files that were damaged on purpose, and nothing in the same process
can stop it. So a child opens the file, with little time and memory, and hands the arrays over; its death is a Problem.
Where processes cannot be forked safely (Windows, macOS) the file is read here.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.ops.ir import Array

Answer = tuple[Any, Mapping[str, Array]]
"""JSON, and arrays by name."""

SECONDS, BYTES_A_SECOND = 3, 20_000_000
"""Processor time that a file may take: so much, and a second for so many of its bytes."""
MEMORY, GROWTH = 1 << 30, 16
"""Memory that it may take: so much, and so many times its size."""


def confined(path: Path, work: Callable[[], Answer]) -> Answer:
    """What `work` makes of the file, or the Failure that it raises."""
    if sys.platform != "linux":
        return work()
    size = path.stat().st_size if path.exists() else 0
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other threads (BLAS's, JAX's) do not survive, nor need they
        child = os.fork()
    if not child:
        os.close(reader)
        _serve(writer, work, size)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            found = _received(pipe)
    finally:
        os.waitpid(child, 0)
    if found is None:
        message = f"`{path}` is damaged in a way that its library does not survive, or takes too much time or memory"
        raise Failure(Problem("E506", message, path))
    return found


def _serve(writer: int, work: Callable[[], Answer], size: int) -> NoReturn:
    """The child: do the work, send what it gives, and leave without tidying up what is the parent's."""
    code = 1
    try:
        _limit(size)
        with os.fdopen(writer, "wb") as pipe:
            try:
                said, arrays = work()
            except Failure as failure:
                _send(pipe, {"problems": [_written(p) for p in failure.problems], "exit_code": failure.exit_code}, {})
            else:
                _send(pipe, {"said": said}, arrays)
        code = 0
    finally:
        os._exit(code)


def _limit(size: int) -> None:
    if sys.platform == "linux":
        import resource

        seconds = SECONDS + size // BYTES_A_SECOND
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = now + MEMORY + GROWTH * size
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard in (resource.RLIM_INFINITY, -1) or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _send(pipe: IO[bytes], head: Any, arrays: Mapping[str, Array]) -> None:
    kinds = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    pipe.write(json.dumps({**head, "arrays": kinds}).encode() + b"\n")
    for array in arrays.values():
        pipe.write(np.ascontiguousarray(array).tobytes())


def _received(pipe: IO[bytes]) -> Answer | None:
    """What the child sent; None where it died before it was done."""
    try:
        head = json.loads(pipe.readline())
        if "problems" in head:
            raise Failure([_problem(*parts) for parts in head["problems"]], head["exit_code"])
        arrays = {name: _array(pipe, np.dtype(kind), tuple(shape)) for name, (kind, shape) in head["arrays"].items()}
        return head["said"], arrays
    except (ValueError, EOFError):
        return None


def _array(pipe: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(shape, dtype)
    data = array.reshape(-1).view(np.uint8)
    if pipe.readinto(data.data) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return array


def _written(problem: Problem) -> list[Any]:
    return [problem.code, problem.message, str(problem.where or ""), problem.label, problem.help]


def _problem(code: str, message: str, where: str, label: str, help: str) -> Problem:
    return Problem(code, message, Path(where) if where else None, label, help)
