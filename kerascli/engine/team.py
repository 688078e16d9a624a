"""The workers that run the lanes: forked processes over shared memory on Linux, threads elsewhere.

Every worker runs the same commands in the same order and meets the others at barriers. Processes do not hand an
interpreter lock to and fro, which makes them up to 1.75 times as fast as threads; results do not depend on the kind
or the number of workers, because the number of lanes is fixed and sums are taken in the lanes' order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import threadpoolctl

from kerascli.engine.memory import SharedMemory
from kerascli.errors import Failure, Problem

SPINS = 4000
"""Tries with a yield before a waiting worker begins to sleep."""


class Team(Protocol):
    size: int

    def run(self) -> None:
        """Run the work on every worker; returns when all are done."""

    def barrier(self, worker: int) -> None:
        """Wait until every worker has come here."""

    def close(self) -> None:
        """End the workers. Nothing happens the second time."""


Work = Callable[[Team, int], None]
"""Runs the command that the main worker has set, as one worker of the team."""


def cores() -> int:
    """Cores that this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas() -> str:
    """The library of matrix products and its kernels for this processor: both decide the last digits."""
    found = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    words = (" ".join(str(i[k]) for k in ("internal_api", "version", "architecture") if i.get(k)) for i in found)
    return ", ".join(sorted(set(words))) or "none"


def forks() -> bool:
    """Whether lanes can be forked processes here: shared flags need x86's order of writes, and a fork that is safe."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")


def start_team(size: int, work: Work, memory: SharedMemory, processes: bool | None = None) -> Team:
    """A team whose worker 0 is the caller. BLAS is held to one thread while the process lives."""
    threadpoolctl.threadpool_limits(1, "blas")
    if size == 1:
        return Alone(work)
    if forks() if processes is None else processes:
        return Processes(size, work, memory)
    return Threads(size, work)


class Alone:
    """One worker: the caller."""

    size = 1

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self) -> None:
        self._work(self, 0)

    def barrier(self, worker: int) -> None:
        pass

    def close(self) -> None:
        pass


class Threads:
    """Worker threads. NumPy releases the interpreter lock inside its kernels."""

    def __init__(self, size: int, work: Work) -> None:
        self.size = size
        self._work = work
        self._meet = threading.Barrier(size)
        self._go = threading.Barrier(size)
        self._error: BaseException | None = None
        self._open = True
        sys.setswitchinterval(1e-5)
        for worker in range(1, size):
            threading.Thread(target=self._loop, args=(worker,), daemon=True).start()

    def _loop(self, worker: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                self._go.wait()
                if not self._open:
                    return
                try:
                    self._work(self, worker)
                except threading.BrokenBarrierError:
                    return
                except BaseException as error:
                    self._error = error
                    self._meet.abort()
                    return
                self._meet.wait()

    def run(self) -> None:
        self._go.wait()
        try:
            self._work(self, 0)
            self._meet.wait()
        except BaseException as error:
            self._open = False
            self._meet.abort()
            self._go.abort()
            if isinstance(error, threading.BrokenBarrierError) and self._error:
                raise self._error from None
            raise

    def barrier(self, worker: int) -> None:
        self._meet.wait()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._go.wait()


class Processes:
    """Forked workers that meet at counters in shared memory. They end with their parent."""

    def __init__(self, size: int, work: Work, memory: SharedMemory) -> None:
        self.size = size
        self._work = work
        self._flags = [memory.zeros((1,), np.int64) for _ in range(size)]
        self._closing = memory.zeros((1,), np.int64)
        self._count = 0
        self._pids: dict[int, int] = {}
        self._report, write = os.pipe()
        parent = os.getpid()
        for worker in range(1, size):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other threads (BLAS's, JAX's) do not survive, nor need they
                pid = os.fork()
            if pid == 0:
                self._child(worker, parent, write)
            self._pids[worker] = pid
        os.close(write)

    def _child(self, worker: int, parent: int, write: int) -> None:
        """Serve until told to close. Never returns."""
        code = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # the parent finishes the step, and ends this process
                signal.signal(number, signal.SIG_IGN)
            die_with_parent(parent)
            self._pids = {}
            while True:
                self._meet(worker, parent)
                if self._closing[0]:
                    code = 0
                    break
                self._work(self, worker)
                self._meet(worker, parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.write(write, traceback.format_exc().encode()[-60000:])
        finally:
            os._exit(code)

    def run(self) -> None:
        self._meet(0)
        self._work(self, 0)
        self._meet(0)

    def barrier(self, worker: int) -> None:
        self._meet(worker)

    def _meet(self, worker: int, parent: int = 0) -> None:
        self._count += 1
        count, flags = self._count, self._flags
        flags[worker][0] = count
        for other in range(self.size):
            if other == worker:
                continue
            flag, tries = flags[other], 0
            while flag[0] < count:
                tries += 1
                if tries < SPINS:
                    os.sched_yield()
                else:
                    time.sleep(2e-5 if tries < 20 * SPINS else 1e-3)
                    if tries % 64 == 0:
                        self._look(worker, other, parent)

    def _look(self, worker: int, other: int, parent: int) -> None:
        """Notice that the worker waited for is dead."""
        if worker == 0:
            pid, status = os.waitpid(self._pids[other], os.WNOHANG)
            if pid:
                del self._pids[other]
                raise self._ended(status)
        elif self._closing[0] or (parent and os.getppid() != parent):
            os._exit(1)

    def _ended(self, status: int) -> Exception:
        """Why a worker is gone: its own traceback, or the signal that ended it."""
        os.set_blocking(self._report, False)
        with contextlib.suppress(BlockingIOError):
            if message := os.read(self._report, 65536):
                return RuntimeError(f"a worker failed\n{message.decode(errors='replace')}")
        number = os.waitstatus_to_exitcode(status)
        how = f"was ended by signal {-number}" if number < 0 else f"ended with code {number}"
        help = "if memory ran out, use fewer `--threads` or a smaller `batch_size`"
        return Failure(Problem("E508", f"a worker process {how}", help=help))

    def close(self) -> None:
        if not self._closing[0]:
            self._closing[0] = 1
            self._flags[0][0] = np.iinfo(np.int64).max  # nobody waits for this process any more
            deadline = time.monotonic() + 2
            for pid in self._pids.values():
                while os.waitpid(pid, os.WNOHANG)[0] == 0:
                    if time.monotonic() > deadline:
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)
                        break
                    time.sleep(1e-3)
            os.close(self._report)


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its parent (prctl PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
