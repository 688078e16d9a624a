"""The workers of a sweep on this machine: started, watched, replaced when they die, and stopped."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kerascli.downloads import OFFLINE
from kerascli.engine.team import cores
from kerascli.errors import Failure, Problem
from kerascli.sweep.folder import Sweep
from kerascli.sweep.ledger import Entry, Ledger
from kerascli.sweep.worker import CANNOT_GO_ON

PAUSE = 0.2
"""Seconds between two looks."""
GRACE = 60.0
"""Seconds that workers have to save their trials where another cannot go on."""
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""Lets several workers on the engine keras share a GPU, of which JAX or TensorFlow would take nearly all at once."""
TAIL = 2000
"""Characters of a worker's last words that are told."""

Show = Callable[[list[Entry]], None]
Say = Callable[[str], None]


@dataclass
class _Member:
    name: str
    process: subprocess.Popen[bytes]
    words: IO[bytes]


class Crew:
    """So many workers, and one who looks after them."""

    def __init__(
        self, sweep: Sweep, ledger: Ledger, size: int, threads: int | None, seconds: float | None, say: Say
    ) -> None:
        self.sweep, self.ledger, self.say = sweep, ledger, say
        self.size = size
        self.threads = max(1, (threads or cores()) // size)
        self.until = time.time() + seconds if seconds else math.inf
        self.stopping = 0
        """How often the user has asked for the end."""
        self.members: list[_Member] = []
        self._started = sum(1 for _ in sweep.workers.iterdir())  # a number is an own stream of random values

    def run(self, show: Show) -> bool:
        """Until all trials are done, the time is over, or the user stops it; whether the user did not."""
        self._told(self.ledger.make_good())
        self.ledger.begin()
        with self._interruptible():
            try:
                self._fill()
                while self.members:
                    show(self.ledger.current())
                    self._look()
                    time.sleep(PAUSE)
            finally:
                self._end()
        show(self.ledger.current())
        return not self.stopping

    def _fill(self) -> None:
        """Start as many workers as there is work for."""
        wanted = min(self.size, self.ledger.left())
        while len(self.members) < wanted and not self.stopping and time.time() < self.until:
            self.members.append(self._start())

    def _start(self) -> _Member:
        self._started += 1
        host = re.sub(r"\W", "-", platform.node()) or "machine"
        name = f"{host}-{os.getpid()}-{self._started}-{secrets.token_hex(2)}"
        folder = self.sweep.workers / name
        folder.mkdir()
        words = (folder / "output.txt").open("wb")
        values = (
            str(self.sweep.folder),
            str(self._started),
            name,
            str(self.threads),
            str(self.until),
            str(os.getpid()),
        )
        # A group of its own: Ctrl-C comes to this process alone, which passes it on.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        process = subprocess.Popen(
            [sys.executable, "-m", "kerascli.sweep.worker", *values],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            env=_environment(),
            **group,
        )
        return _Member(name, process, words)

    def _look(self) -> None:
        """Notice which workers have ended, and how."""
        for member in [m for m in self.members if m.process.poll() is not None]:
            self.members.remove(member)
            member.words.close()
            code = member.process.returncode
            if code == CANNOT_GO_ON:
                raise self._failure(member)
            if code == 0:
                continue
            marked = self.ledger.make_good([member.name])
            if self.stopping:
                continue
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            if not marked and not any(e.notes.get("worker") == member.name for e in self.ledger.entries()):
                raise Failure(Problem("E508", f"a worker {how} before its first trial", help=self._words(member)))
            self.say(f"a worker {how}")
            self._told(marked)
            self._fill()

    def _end(self) -> None:
        """Let whoever still works save what it trains, but not for ever."""
        for member in self.members:
            if os.name == "nt":
                member.process.kill()
            member.process.send_signal(signal.SIGINT)
        for member in self.members:
            try:
                member.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
            member.words.close()

    def _told(self, marked: list[Entry]) -> None:
        """Say what becomes of trials whose worker died."""
        for entry in marked:
            again = "it is begun once more" if entry.tries == 1 else "it is not begun a third time"
            self.say(f"trial {entry.leader} was lost with its worker: {again}")

    def _failure(self, member: _Member) -> Failure:
        file = self.sweep.workers / member.name / "failure.json"
        found = json.loads(file.read_text("utf-8"))
        return Failure([Problem(p["code"], p["message"], help=p["help"]) for p in found])

    def _words(self, member: _Member) -> str:
        """The end of what a worker wrote."""
        with suppress(OSError):
            path = self.sweep.workers / member.name / "output.txt"
            if tail := path.read_text("utf-8", "replace")[-TAIL:].strip():
                return f"its last words: {tail}"
        return "if memory ran out, use fewer `--workers`"

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C lets workers save what they train; the second ends them at once."""

        def ask(number: int, frame: object) -> None:
            self.stopping += 1
            for member in self.members:
                with suppress(OSError):
                    if self.stopping > 1 or os.name == "nt":
                        member.process.kill()
                    else:
                        member.process.send_signal(signal.SIGINT)
            if self.stopping == 1:
                self.say("stopping: trials are being saved; once more ends them at once")

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # another thread than the main one: whoever called stops it
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _environment() -> dict[str, str]:
    """With this very kerascli, and what was asked for in this process."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    offline = {"KERASCLI_OFFLINE": "1"} if OFFLINE.get() else {}
    return {**SHARED, **os.environ, "PYTHONPATH": os.pathsep.join(paths), **offline}
