"""The child process of one contestant: `python -m kerascli.bench.contestant NAME FOLDER THREADS`.

It builds the model and trains one epoch, says `{"event": "ready", …}`, and then trains one more epoch for every line on
standard input, answering `{"event": "round", "seconds": …}`. Everything is JSON, one line each.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol


class Contestant(Protocol):
    """What a module of this package makes of a job: `make(folder, threads) -> Contestant`."""

    def epoch(self) -> float:
        """Train one epoch; returns its loss."""

    def facts(self) -> dict[str, str]:
        """Versions and what else a reader of the figures should know."""


def main() -> None:
    module, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answers = _answers()
    _end_with_parent()
    _limit(threads)
    from kerascli.bench.job import NotTranslated

    try:
        contestant: Contestant = import_module(f"kerascli.bench.{module}").make(folder, threads)
    except NotTranslated as reason:
        _say(answers, event="declined", reason=str(reason))
        return
    loss = contestant.epoch()
    _say(answers, event="ready", loss=loss, facts=contestant.facts())
    for _ in sys.stdin:
        began = time.perf_counter()
        loss = contestant.epoch()
        seconds = time.perf_counter() - began
        _say(answers, event="round", seconds=seconds, loss=loss, peak_bytes=peak())


def _answers() -> IO[str]:
    """Standard output for answers alone: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: IO[str], **facts: Any) -> None:
    answers.write(json.dumps(facts) + "\n")
    answers.flush()


def _end_with_parent() -> None:
    """Ask Linux to end this process with the one that started it, which may well happen while it is suspended."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _limit(threads: int) -> None:
    """Keep to the first cores; every library then counts them as all there are. Where that cannot be, they are told."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def peak() -> int | None:
    """The most memory that this process has held, and what its workers hold for themselves.

    Linux's own count of this program is taken, because `ru_maxrss` still holds that of the process which started it.
    """
    try:
        held = _figure(Path("/proc/self/status"), "VmHWM:")
        workers = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
        tables = [Path(f"/proc/{pid}/smaps_rollup") for pid in workers]
        return 1024 * (held + sum(_figure(t, "Private_Clean:") + _figure(t, "Private_Dirty:") for t in tables))
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _figure(file: Path, name: str) -> int:
    """A figure of one of Linux's tables."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name))


if __name__ == "__main__":
    main()
