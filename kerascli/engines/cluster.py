"""Many devices and many hosts, as `--devices` and `--hosts` say it: each step's batch is dealt out to all of them."""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from kerascli import yamltext
from kerascli.component import plain
from kerascli.engines.meeting import Meeting, in_step, leave
from kerascli.errors import Failure, Problem
from kerascli.keras_backend import backend
from kerascli.spec import Loaded, Spec
from kerascli.trainer import Interrupted

FLAGS = "XLA_FLAGS"
VIRTUAL = "--xla_force_host_platform_device_count"
ADDRESSES, COUNT, NUMBER = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
"""What Keras reads where it is not told."""
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each of the processes that it starts."""
WAIT = 120.0
"""Seconds in which all hosts must have come."""


@dataclass(frozen=True)
class Cluster:
    """Where a training computes: by default on one device of one host."""

    devices: int | None = None
    """Of this host; by default one, and all there are where there are several hosts."""
    hosts: tuple[str, ...] = ()
    """`address:port` of each, that of the first alone is asked by all; empty for one host."""
    host: int = 0
    """Which of them this is; the first writes the run."""
    launched: bool = False
    """Whether `torchrun` started them, and brings them together."""
    wait: float = WAIT

    @property
    def neighbours(self) -> tuple[int, int]:
        """How many of the hosts before this one, and after it, are processes of the same machine."""
        machines = [address.rpartition(":")[0] for address in self.hosts]
        mine = machines[self.host]
        return machines[: self.host].count(mine), machines[self.host + 1 :].count(mine)

    @property
    def single(self) -> bool:
        """One device: nothing has to be dealt out."""
        return self.devices in (None, 1) and not self.hosts

    @property
    def writes(self) -> bool:
        """Whether this host writes the run."""
        return self.host == 0

    @contextmanager
    def place(self, runs: Path, loaded: Loaded, say: Callable[[str], None]) -> Iterator[Path]:
        """Be together with all other hosts. Gives the folder of the run; what others than the first write is no run."""
        with ExitStack() as stack:
            if self.hosts and not self.launched:
                stack.push(_leave_others)
                stack.enter_context(Meeting(self.hosts, self.host, _subject(loaded), self.wait, say))
            yield runs if self.writes else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerascli-")))

    def apart(self, error: Exception) -> Failure:
        """What a backend says where it does not bring the hosts together."""
        said = " ".join(str(error).split())[:300]
        message = f"the {len(self.hosts)} hosts did not come together at {self.hosts[0]}: {said}"
        help = "start the same command on each, with its own `--host`, and let the first one's port be free"
        return Failure(Problem("E518", message, help=help))

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


def _leave_others(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Where this host ends and the others do not, they are not waited for when the process ends."""
    if not in_step(error):
        stopped = isinstance(error, (KeyboardInterrupt, Interrupted))
        atexit.register(leave, error.exit_code if isinstance(error, Failure) else 130 if stopped else 1)


def _subject(loaded: Loaded) -> str:
    """What is trained, so that hosts can compare it; their data may lie in other places."""
    spec = {key: plain(getattr(loaded.spec, key)) for key in Spec.model_fields if key not in ("name", "dataset")}
    return hashlib.sha256(f"{backend()} {yamltext.dump(spec)}".encode()).hexdigest()[:16]


def cluster(loaded: Loaded, devices: int | None = None, hosts: str | None = None, host: int | None = None) -> Cluster:
    """What was typed, and for the engine `keras` what variables of the environment say of the hosts."""
    told = os.environ.get(ADDRESSES, "")
    if hosts is None and loaded.spec.training.engine == "keras":
        if launched := _launched(devices, host):
            return launched
    elif hosts is None:
        told = ""
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


def _launched(devices: int | None, host: int | None) -> Cluster | None:
    """What `torchrun` says, where it started this process."""
    told = [os.environ.get(name, "") for name in TORCHRUN]
    if backend() != "torch" or not all(told) or not told[0].isdecimal() or not told[1].isdecimal():
        return None
    if host is not None:
        raise _wrong("`torchrun` says which of the processes this is", "leave out `--host`")
    number, count = int(told[0]), int(told[1])
    return Cluster(devices, (f"{told[2]}:{told[3]}", *("",) * (count - 1)), number, launched=True)


def require(loaded: Loaded, wanted: Cluster) -> None:
    """Raise the Problem of an engine or a backend that works on one device alone."""
    if wanted.single:
        return
    if loaded.spec.training.engine != "keras":
        message = "`--devices` and `--hosts` are for the engine `keras`; `numpy` uses the cores of one machine"
        raise _wrong(message, "add `--engine keras`, or use `--threads`")
    if backend() == "torch" and wanted.devices not in (None, 1):
        message = "on PyTorch each process computes on one device, so there is no `--devices`"
        raise _wrong(message, f"`torchrun --nproc-per-node {wanted.devices} -m kerascli train …`, or `--hosts`")
    if backend() == "tensorflow" and wanted.hosts:
        message = "Keras does not train over several hosts on TensorFlow: it fails with MultiWorkerMirroredStrategy"
        raise _wrong(message, "set `KERAS_BACKEND` to `jax` or `torch`, or use `--devices` on one host")
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
