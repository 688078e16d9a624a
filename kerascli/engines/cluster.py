"""Many devices and many hosts, as `--devices` and `--hosts` say it: each step's batch is dealt out to all of them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kerascli.errors import Failure, Problem
from kerascli.keras_backend import backend
from kerascli.spec import Loaded

FLAGS = "XLA_FLAGS"
VIRTUAL = "--xla_force_host_platform_device_count"
ADDRESSES, COUNT, NUMBER = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
"""What Keras reads where it is not told."""


@dataclass(frozen=True)
class Cluster:
    """Where a training computes: by default on one device of one host."""

    devices: int | None = None
    """Of this host; by default one, and all there are where there are several hosts."""
    hosts: tuple[str, ...] = ()
    """`address:port` of each, that of the first alone is asked by all; empty for one host."""
    host: int = 0
    """Which of them this is; the first writes the run."""

    @property
    def single(self) -> bool:
        """One device: nothing has to be dealt out."""
        return self.devices in (None, 1) and not self.hosts

    @property
    def writes(self) -> bool:
        """Whether this host writes the run."""
        return self.host == 0

    @contextmanager
    def place(self, runs: Path) -> Iterator[Path]:
        """The folder that the run goes to; what another host than the first writes is thrown away."""
        if self.writes:
            yield runs
            return
        with tempfile.TemporaryDirectory(prefix="kerascli-") as folder:
            yield Path(folder)

    def prepare(self) -> None:
        """Say what has to be said before Keras and JAX are loaded: the backend, and that the CPU is so many devices."""
        os.environ.setdefault("KERAS_BACKEND", backend())
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if self.hosts:
            _keep_output()
        flags = os.environ.get(FLAGS, "")
        if self.devices and self.devices > 1 and VIRTUAL not in flags:
            os.environ[FLAGS] = f"{flags} {VIRTUAL}={self.devices}".strip()


def _keep_output() -> None:
    """What JAX's libraries print of the hosts' connections goes to standard error: results alone go to the other."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)


def cluster(loaded: Loaded, devices: int | None = None, hosts: str | None = None, host: int | None = None) -> Cluster:
    """What was typed, and for the engine `keras` what its variables of the environment say of the hosts."""
    told = os.environ.get(ADDRESSES, "") if loaded.spec.training.engine == "keras" else ""
    listed = told if hosts is None else hosts
    found = tuple(part.strip() for part in listed.split(",") if part.strip())
    if not found:
        if host is not None:
            raise _wrong("`--host` says which of the hosts this is, and there is no `--hosts`", "add `--hosts`")
        return Cluster(devices)
    if wrong := next((part for part in found if not part.rpartition(":")[2].isdecimal() or ":" not in part), None):
        raise _wrong(f"`--hosts` has `{wrong}`, and each host is an `address:port`", "write `--hosts 10.0.0.1:9911,…`")
    count = int(os.environ.get(COUNT, "0") or 0) if hosts is None else 0
    if count > len(found) == 1:
        found = (*found, *("",) * (count - 1))  # Keras lets all be named by the first
    number = host if host is not None else os.environ.get(NUMBER)
    if number is None or not str(number).isdecimal() or not int(number) < len(found):
        message = f"which of the {len(found)} hosts is this? `--host` must be a number from 0 to {len(found) - 1}"
        raise _wrong(message, f"type `--host 0` at the first, or set {NUMBER}")
    return Cluster(devices, found, int(number))


def require(loaded: Loaded, wanted: Cluster) -> None:
    """Raise the Problem of an engine or a backend that works on one device alone."""
    if wanted.single:
        return
    if loaded.spec.training.engine != "keras":
        message = "`--devices` and `--hosts` are for the engine `keras`; `numpy` uses the cores of one machine"
        raise _wrong(message, "add `--engine keras`, or use `--threads`")
    if backend() != "jax":
        message = f"several devices are used on JAX alone, and Keras's backend is {backend()}"
        raise _wrong(message, "set `KERAS_BACKEND=jax`")
    require_even(loaded, (wanted.devices or 1) * max(1, len(wanted.hosts)))


def require_even(loaded: Loaded, parts: int) -> None:
    """Raise the Problem of batches that cannot be cut into so many equal parts."""
    batch = loaded.spec.training.batch_size
    if batch % parts:
        where = loaded.document.span(("training", "batch_size"))
        message = f"batches of {batch} cannot be dealt out evenly to {parts} devices"
        help = f"write `batch_size: {-(-batch // parts) * parts}`"
        raise Failure(Problem("E518", message, where, help=help), exit_code=2)


def _wrong(message: str, help: str) -> Failure:
    return Failure(Problem("E518", message, help=help), exit_code=2)
