"""The hosts' connections to the first of them: by these they meet before they compute, and know if one is gone.

What they compute together is the business of Keras's backends, which wait for ever, or abort the process, where a host
never comes or dies. So hosts first meet here, where the backend's own coordinator listens afterwards, and
while they train a thread looks whether a connection breaks.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from kerascli.errors import Failure, Problem
from kerascli.trainer import Interrupted

HELLO, GO, BYE, LOST = "kerascli", "go", "bye", "lost"
"""The words of a line, each with its arguments: `kerascli 1 <what is trained>`, `go`, `lost 2`, `bye`."""
AGAIN = 0.2
"""Seconds between two tries to reach the first host."""
TOLD = 3.0
"""Seconds in which it may come out that it was a lost host that a step failed for."""
GRACE = 10.0
"""Seconds that a step may need to fail by itself once a host is lost; then the process ends."""
HEARD = 10.0
"""Seconds that who comes has for his first words."""
SILENT = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A host that is switched off, and says nothing any more, is lost after half a minute, where the system can tell."""


class Meeting:
    """All hosts of one training, from before the first step until after the last."""

    def __init__(
        self, hosts: tuple[str, ...], host: int, subject: str, wait: float, say: Callable[[str], None]
    ) -> None:
        self.hosts, self.host, self.subject, self.wait, self._say = hosts, host, subject, wait, say
        self._lines: dict[int, _Line] = {}
        """To each other host at the first one; at the others to the first."""
        self._lost: int | None = None
        self._is_lost, self._ended = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        self.until = time.monotonic() + self.wait
        try:
            self._gather() if self.host == 0 else self._come()
        except BaseException:
            self._close()
            raise
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the others that this host is done; without that word they know that it failed."""
        computing = isinstance(error, Failure) and any(problem.code == "E518" for problem in error.problems)
        lost = computing and self._is_lost.wait(TOLD)
        self._ended.set()
        self._watcher.join()
        if in_step(error):
            self._tell(BYE)
        self._close()
        if lost:
            raise Failure(self._problem()) from error

    # ---- coming together

    def _gather(self) -> None:
        """The first host waits until all others have come."""
        port = int(self.hosts[0].rpartition(":")[2])
        try:
            if socket.has_dualstack_ipv6():
                server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            else:
                server = socket.create_server(("", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            message = f"port {port} {'is taken by another program' if taken else f'cannot be used: {error.strerror}'}"
            help = "type another port for the first of the hosts, in `--hosts` on each of them"
            raise _apart(message, help) from error
        with server:
            while missing := [k for k in range(1, len(self.hosts)) if k not in self._lines]:
                self._say(f"waiting for {self._named(missing)}")
                if self._left <= 0:
                    raise self._absent(missing)
                server.settimeout(self._left)
                with suppress(TimeoutError):
                    self._welcome(_Line(server.accept()[0]))
        self._tell(GO)

    def _welcome(self, line: _Line) -> None:
        word, *rest = line.read(HEARD) or [""]
        if word != HELLO or len(rest) != 2 or not rest[0].isdecimal():
            line.close()  # not one of us
            return
        number = int(rest[0])
        if number in self._lines or not 0 < number < len(self.hosts):
            line.close()
            message = f"two hosts were started with `--host {number}`"
            raise _apart(message, "give each host its own number")
        self._lines[number] = line
        if rest[1] != self.subject:
            message = f"{self._named([number])} is about to train something else"
            raise _apart(message, "type the same command, with the same spec and backend, on each host")

    def _absent(self, missing: list[int]) -> Failure:
        message = f"{self._named(missing)} did not come within {self.wait:g} s"
        numbers = " and ".join(f"`--host {k}`" for k in missing)
        return _apart(message, f"start the same command there with {numbers}; it must reach `{self.hosts[0]}`")

    def _come(self) -> None:
        """Every other host asks the first one until it answers."""
        line = self._lines[0] = self._connected()
        line.send(f"{HELLO} {self.host} {self.subject}")
        if line.read(max(self._left, 0) + HEARD) != [GO]:
            why = f"see what it says, or whether `{self.hosts[0]}` is another program"
            raise _apart(f"{self._named([0])} ended before all hosts were there: {why}", "start all of them again")

    def _connected(self) -> _Line:
        address, _, port = self.hosts[0].rpartition(":")
        while True:
            try:
                return _Line(socket.create_connection((address.strip("[]"), int(port)), timeout=max(self._left, AGAIN)))
            except socket.gaierror as error:
                message = f"`{address}`, the address of the first host, is not known here: {error.strerror}"
                raise _apart(message, "look at `--hosts`; an address by its numbers is always known") from error
            except OSError as error:
                if self._left <= 0:
                    message = f"{self._named([0])} did not answer within {self.wait:g} s: {error.strerror or error}"
                    help = "start it with `--host 0`, and look whether its address can be reached from here"
                    raise _apart(message, help) from error
                time.sleep(AGAIN)

    @property
    def _left(self) -> float:
        """Seconds that may still be waited."""
        return self.until - time.monotonic()

    def _named(self, numbers: list[int]) -> str:
        named = [f"{k} (`{self.hosts[k]}`)" if self.hosts[k] else str(k) for k in numbers]
        return f"host{'s' if len(named) > 1 else ''} {', '.join(named)}"

    # ---- staying together

    def _watch(self) -> None:
        """Until all have said that they are done, or one is gone."""
        with selectors.DefaultSelector() as selector:
            for number, line in self._lines.items():
                selector.register(line.socket, selectors.EVENT_READ, number)
            while selector.get_map() and not self._ended.is_set():
                for key, _ in selector.select(AGAIN):
                    word, *rest = self._lines[key.data].read() or [LOST, str(key.data)]
                    if word == BYE:
                        selector.unregister(key.fileobj)
                    elif not self._ended.is_set():
                        self._give_up(int(rest[0]))
                        return

    def _give_up(self, number: int) -> None:
        self._lost = number
        self._is_lost.set()
        self._tell(f"{LOST} {number}")
        if not self._ended.wait(GRACE):  # the step waits for what never comes
            print(f"error[E518]: {self._problem().message}", file=sys.stderr)
            leave(1)

    def _problem(self) -> Problem:
        assert self._lost is not None
        message = f"{self._named([self._lost])} is gone, and the others cannot go on without it"
        return Problem("E518", message, help="see what it says; then go on with `--resume` on all hosts")

    def _tell(self, words: str) -> None:
        for line in self._lines.values():
            line.send(words)

    def _close(self) -> None:
        for line in self._lines.values():
            line.close()


class _Line:
    """One connection, that carries lines of words."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket, self._read = connection, b""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in SILENT.items():
            if option := getattr(socket, name, None):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, words: str) -> None:
        with suppress(OSError):
            self.socket.sendall(words.encode() + b"\n")

    def read(self, seconds: float | None = None) -> list[str]:
        """The words of the next line; none where the connection is at its end."""
        with suppress(OSError):
            self.socket.settimeout(seconds)
            while b"\n" not in self._read and len(self._read) < 1 << 10:
                piece = self.socket.recv(1 << 10)
                if not piece:
                    return []
                self._read += piece
            line, _, self._read = self._read.partition(b"\n")
            return line.decode("utf-8", "replace").split()
        return []

    def close(self) -> None:
        self.socket.close()


def _apart(message: str, help: str) -> Failure:
    return Failure(Problem("E518", message, help=help))


def in_step(error: BaseException | None) -> bool:
    """Whether all hosts end as this one does: at the end, or where they agreed to stop."""
    return error is None or (isinstance(error, Interrupted) and not isinstance(error.__context__, KeyboardInterrupt))


def leave(code: int) -> None:
    """End the process at once: at its usual end a backend may wait for hosts that are gone, or abort it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
