"""Processes that read samples ahead into shared memory while the engine computes; threads where nothing can fork.

A *task* fills some rows of arrays that everybody shares. Work is dealt out by the caller, so that what each reader
does follows from its place in the order alone, and comes back in that order. Readers end with their parent.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from kerascli.engine.team import die_with_parent, forks
from kerascli.errors import Failure, Problem

Task = Callable[[int, int], None]
"""Fills the first so many rows of a slot: `task(slot, rows)`."""
_ORDER = struct.Struct("<qqq")
"""Task, slot, rows."""
_LENGTH = struct.Struct("<q")
"""Of the report that follows, as JSON; 0 where all went well."""


class Readers(Protocol):
    size: int

    def ask(self, reader: int, task: int, slot: int, rows: int) -> int:
        """Let a reader do a task when it has done what it was asked before. Returns the number to wait for."""

    def wait(self, number: int) -> None:
        """Until it is done. Raises what went wrong. To be called once for each number."""

    def close(self) -> None:
        """End them. Nothing happens the second time."""


def start_readers(size: int, tasks: Sequence[Task], processes: bool | None = None) -> Readers:
    """As many readers, who know these tasks by their numbers."""
    return Processes(size, tasks) if (forks() if processes is None else processes) else Threads(size, tasks)


class Threads:
    """Reading threads: they wait for files and unpack while the engine computes, as far as Python lets them."""

    def __init__(self, size: int, tasks: Sequence[Task]) -> None:
        self.size = size
        self._tasks = tasks
        self._pools = [ThreadPoolExecutor(1) for _ in range(size)]
        self._asked: dict[int, Future[None]] = {}
        self._number = 0

    def ask(self, reader: int, task: int, slot: int, rows: int) -> int:
        self._number += 1
        self._asked[self._number] = self._pools[reader].submit(self._tasks[task], slot, rows)
        return self._number

    def wait(self, number: int) -> None:
        self._asked.pop(number).result()

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)


class Processes:
    """Forked readers, each with a pipe for what it is asked and one for its reports."""

    def __init__(self, size: int, tasks: Sequence[Task]) -> None:
        self.size = size
        self._asks: list[int] = []
        self._reports: list[int] = []
        self._pids: list[int] = []
        self._asked: list[deque[int]] = [deque() for _ in range(size)]
        self._done: dict[int, bytes] = {}
        self._number = 0
        parent = os.getpid()
        for _ in range(size):
            ask, asks = os.pipe()
            reports, report = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other threads do not survive, nor need they
                pid = os.fork()
            if pid == 0:
                for other in (asks, reports, *self._asks, *self._reports):
                    os.close(other)
                _serve(tasks, ask, report, parent)
            os.close(ask)
            os.close(report)
            self._asks.append(asks)
            self._reports.append(reports)
            self._pids.append(pid)

    def ask(self, reader: int, task: int, slot: int, rows: int) -> int:
        self._number += 1
        self._asked[reader].append(self._number)
        with suppress(BrokenPipeError):  # that it is gone is said by `wait`
            os.write(self._asks[reader], _ORDER.pack(task, slot, rows))
        return self._number

    def wait(self, number: int) -> None:
        while number not in self._done:
            reader = next(k for k, asked in enumerate(self._asked) if number in asked)
            (length,) = _LENGTH.unpack(self._read(reader, _LENGTH.size))
            self._done[self._asked[reader].popleft()] = self._read(reader, length)
        if words := self._done.pop(number):
            raise _failure(json.loads(words))

    def _read(self, reader: int, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = os.read(self._reports[reader], size - len(found))
            if not part:
                raise self._ended(reader)
            found += part
        return found

    def _ended(self, reader: int) -> Failure:
        number = os.waitstatus_to_exitcode(os.waitpid(self._pids[reader], 0)[1])
        self._pids[reader] = 0
        how = f"was ended by signal {-number}" if number < 0 else f"ended with code {number}"
        help = "if memory ran out, use fewer `--threads` or a smaller `batch_size`"
        return Failure(Problem("E508", f"a process that reads data {how}", help=help))

    def close(self) -> None:
        for number in (*self._asks, *self._reports):
            os.close(number)
        for pid in filter(None, self._pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._asks, self._reports, self._pids = [], [], []


def _serve(tasks: Sequence[Task], ask: int, report: int, parent: int) -> None:
    """Do what is asked, until nobody asks any more. Never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # the parent finishes the step, and ends this process
            signal.signal(number, signal.SIG_IGN)
        die_with_parent(parent)
        while len(order := os.read(ask, _ORDER.size)) == _ORDER.size:
            task, slot, rows = _ORDER.unpack(order)
            words = _done(tasks[task], slot, rows)
            os.write(report, _LENGTH.pack(len(words)))
            while words:
                words = words[os.write(report, words) :]
    finally:
        os._exit(0)


def _done(task: Task, slot: int, rows: int) -> bytes:
    """Nothing, or what went wrong, as JSON."""
    try:
        task(slot, rows)
    except Failure as failure:
        problems = [[p.code, p.message, str(p.where) if p.where else None, p.label, p.help] for p in failure.problems]
        return json.dumps(problems).encode()
    except BaseException:
        return json.dumps(traceback.format_exc()[-60000:]).encode()
    return b""


def _failure(said: Any) -> Exception:
    """The Failure that a reader met; the traceback of anything else."""
    if isinstance(said, str):
        return RuntimeError(f"a process that reads data failed\n{said}")
    return Failure(
        Problem(code, message, Path(where) if where else None, label, help)
        for code, message, where, label, help in said
    )
