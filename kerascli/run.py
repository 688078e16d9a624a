"""The run directory: its layout, its atomic files, its status, and how a run is found by what the user types."""

from __future__ import annotations

import contextlib
import csv
import difflib
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from kerascli import __version__, files
from kerascli.errors import Failure, Problem

STATUSES = ("running", "completed", "interrupted", "failed")
Cell = float | None
OUTCOME = ("error", "stopped", "expect", "epochs", "best_epoch", "seconds", "data_wait", "unread")
"""Facts of `run.json` that say how a run ended; one that goes on has none of them."""
LIBRARIES = ("numpy", "h5py", "pydantic", "threadpoolctl", "pillow", "pyarrow")
"""Packages that read data or compute: those that are installed are noted with the run."""
LOCK_TRIES, LOCK_WAIT = 20, 0.05
"""The workers of a killed process hold its lock until they are dead too, which takes some milliseconds."""
_NO_RUNS = "there are none yet: `kerascli train SPEC` makes one, `--runs-dir` says where they are"


class Run:
    """One run directory. `facts` is the content of `run.json`; `update` is the only way to change it."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts
        self.spec = path / "spec.yaml"
        self.resolved = path / "resolved.yaml"
        self.history = path / "history.csv"
        self.metrics = path / "metrics.json"
        self.model = path / "model.json"
        self.weights = path / "model.weights.h5"
        self.preprocessing = path / "preprocessing.json"
        self.checkpoints = path / "checkpoints"
        self.best_weights = self.checkpoints / "best.weights.h5"
        self.log = path / "train.log"
        self.curves = path / "curves.svg"
        self._lock: int | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def status(self) -> str:
        return str(self.facts["status"])

    @property
    def standing(self) -> str:
        """The status as it is now: a run that nobody trains any more was interrupted, though it could not say so."""
        if self.status == "running" and self._lock is None:
            with contextlib.suppress(OSError):  # held, or not to be looked at: it runs
                handle = locked(self.path)
                if handle is not None:
                    os.close(handle)
                    return "interrupted"
        return self.status

    @classmethod
    def create(
        cls, runs: Path, name: str, spec_text: bytes, resolved: str, path: Path | None = None, **facts: Any
    ) -> Self:
        """Make `runs/<name>-<time>/`, or `path`, with its spec, locked for this process and `running`."""
        now, own = datetime.now().astimezone(), path is None
        if path is None:
            path = claim(runs, f"{name}-{now:%Y%m%d-%H%M%S}")
        else:
            with files.writing(path):
                path.mkdir(parents=True, exist_ok=True)
        run = cls(
            path, {"name": name, "status": "running", "started": now.isoformat(timespec="seconds"), "ended": None}
        )
        run.lock()
        try:
            with files.writing(run.checkpoints):
                run.checkpoints.mkdir()
            files.write_bytes(run.spec, spec_text)
            run.write_resolved(resolved)
            run.update(**facts, versions=versions(), machine=machine())
        except BaseException:
            run.unlock()
            if own:
                shutil.rmtree(path, ignore_errors=True)  # without a `run.json` nobody would find it
            raise
        return run

    def write_resolved(self, text: str) -> None:
        """Write `resolved.yaml`, and note its digest: what was edited by hand is not what was trained."""
        files.write_text(self.resolved, text)
        self.facts["resolved"] = _digest(text.encode())

    def was_edited(self) -> bool:
        """Whether `resolved.yaml` is another text than the run has written."""
        return "resolved" in self.facts and _digest(self.resolved.read_bytes()) != self.facts["resolved"]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a run directory; what is missing or broken in `run.json` is a Problem."""
        file = path / "run.json"
        try:
            facts = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Failure(Problem("E503", f"`{path}` is not a readable run directory: {error}", file)) from error
        if not isinstance(facts, dict) or facts.get("status") not in STATUSES:
            raise Failure(
                Problem("E503", f"`{file}` has no known `status`", file, help=f"one of {', '.join(STATUSES)}")
            )
        return cls(path, facts)

    def update(self, **facts: Any) -> None:
        """Change facts of `run.json`; the file is replaced as a whole."""
        self.facts.update(facts)
        files.write_json(self.path / "run.json", self.facts)

    def resume(self) -> None:
        """Take the run up again: whatever its status was, this process trains it now."""
        self.lock()
        files.sweep(self.path)
        for name in OUTCOME:
            self.facts.pop(name, None)
        self.update(status="running", ended=None, resumed=[*self.facts.get("resumed", ()), _now()])
        with files.writing(self.metrics):
            self.metrics.unlink(missing_ok=True)  # it would tell of fewer epochs than `history.csv`

    def end(self, status: str, **facts: Any) -> None:
        """From `running` to one of the other statuses, once."""
        if self.status != "running" or status not in STATUSES[1:]:
            raise ValueError(f"a run cannot go from {self.status} to {status}")
        self.update(status=status, ended=_now(), **facts)
        self.unlock()

    def lock(self) -> None:
        """Only one process trains a run. The lock is the system's, so it dies with the process."""
        if self._lock is not None:
            return
        for tries in range(LOCK_TRIES):
            try:
                self._lock = locked(self.path)
                return
            except BlockingIOError:
                if tries + 1 < LOCK_TRIES:
                    time.sleep(LOCK_WAIT)
            except OSError as error:
                raise files.cannot_write(self.path, error) from error
        help = "wait for it, or stop it with Ctrl-C; `--resume` then goes on"
        raise Failure(Problem("E504", f"another process is training `{self.path}`", self.path, help=help))

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def say(self, text: str) -> None:
        """Append one message to `train.log`."""
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now():%H:%M:%S} {text}\n")


@dataclass
class History:
    """`history.csv`: `epoch` from 0, Keras's log names sorted as CSVLogger does, `learning_rate`, `seconds`."""

    path: Path
    rows: list[dict[str, Cell]] = field(default_factory=list)

    LAST = ("learning_rate", "seconds")

    @property
    def columns(self) -> list[str]:
        """In the file's order. A name that only some epochs log (`validation_freq`) leaves empty cells in others."""
        names = {name for row in self.rows for name in row}
        return ["epoch", *sorted(names - {"epoch", *self.LAST}), *self.LAST]

    def add(self, epoch: int, logs: Mapping[str, float], learning_rate: float, seconds: float) -> None:
        self.rows.append({"epoch": epoch, **logs, "learning_rate": learning_rate, "seconds": seconds})

    def save(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in self.rows)
        files.write_text(self.path, text.getvalue())

    def cut(self, epochs: int) -> None:
        """Forget the epochs after the first `epochs`: the checkpoint that is resumed does not know them."""
        self.rows = [row for row in self.rows if int(row["epoch"] or 0) < epochs]

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]
        except FileNotFoundError:
            rows = []
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise Failure(Problem("E503", f"cannot read `{path}`: {error}", path)) from error
        return cls(path, [{**row, "epoch": int(row["epoch"] or 0)} for row in rows])


def find(word: str, runs: Path = Path("runs")) -> Path:
    """The run directory or exported `.keras` file that `word` means: a path, `latest`, or a unique prefix of a name."""
    path = Path(word)
    if path.is_file() and path.suffix == ".keras":
        return path
    if (path / "run.json").is_file():
        return path
    if path.exists() and os.sep in word:
        raise Failure(Problem("E502", f"`{word}` is neither a run directory nor a .keras file", path))
    found = [p for p in _directories(runs) if word == "latest" or p.name.startswith(word)]
    if word == "latest" and found:
        return max(found, key=_age)
    exact = [p for p in found if p.name == word]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        near = difflib.get_close_matches(word, ["latest", *(p.name for p in _directories(runs))], 1)
        meant = f"did you mean `{near[0]}`?" if near and near[0] != word else ""
        help = "`kerascli runs list` shows them" if any(_directories(runs)) else _NO_RUNS
        raise Failure(Problem("E502", f"no run `{word}` in `{runs}`", runs, meant, help))
    names = ", ".join(p.name for p in found[:5]) + (", …" if len(found) > 5 else "")
    raise Failure(Problem("E502", f"`{word}` begins {len(found)} run names: {names}", runs, help="type more of it"))


def find_run(word: str, runs: Path = Path("runs")) -> Run:
    """The run that `word` means, where an exported file would not do."""
    path = find(word, runs)
    if path.is_file():
        raise Failure(Problem("E502", f"`{word}` is a model file; a run directory is needed", path))
    return Run.open(path)


def listing(runs: Path) -> list[Run]:
    """Every run, the newest first. Broken directories are left out."""
    found: list[Run] = []
    for path in _directories(runs):
        with contextlib.suppress(Failure):
            found.append(Run.open(path))
    return sorted(found, key=lambda run: (str(run.facts.get("started", "")), run.name), reverse=True)


def require_removable(run: Run, runs: Path) -> None:
    """Raise E501 for a run directory that lies elsewhere, where it may hold other things, or is only linked to."""
    if run.path.is_symlink():
        message = f"`{run.path}` is a link, and is not deleted"
        raise Failure(Problem("E501", message, run.path, help="delete it by hand"))
    if run.path.resolve().parent != runs.resolve():
        message = f"`{run.path}` does not lie in `{runs}`, and is not deleted"
        help = f"say where its folder is: `--runs-dir {shlex.quote(str(run.path.resolve().parent))}`"
        raise Failure(Problem("E501", message, run.path, help=help), exit_code=2)


def remove(run: Run) -> None:
    """Delete a run directory; one that is being trained is not touched."""
    run.lock()
    try:
        if sys.platform == "win32":
            run.unlock()  # there, what is open cannot be deleted, and the lock is a file
        shutil.rmtree(run.path)
    except OSError as error:
        raise files.cannot_write(run.path, error) from error
    finally:
        run.unlock()


def resume_command(run: Path) -> str:
    """What to type to go on with a run."""
    return f"kerascli train --resume {shlex.quote(str(run))}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kerascli": __version__}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    from kerascli.engine.team import blas  # lists of runs need no NumPy

    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "blas": blas(),
    }


def differing(facts: Mapping[str, Any]) -> list[str]:
    """What of this process may round otherwise than the one that wrote the facts of a run: `numpy 2.3.0, was 2.2.1`."""
    found = []
    here = {**versions(), **{name: value for name, value in machine().items() if name in ("processor", "blas")}}
    there = {**(facts.get("versions") or {}), **(facts.get("machine") or {})}
    for name, value in here.items():
        if name in there and there[name] != value:
            found.append(f"{name} {value}, was {there[name]}")
    return found


def trained_by(facts: Mapping[str, Any]) -> str:
    """The engine that the facts of a run name, and those before it: `numpy then keras on jax, 2 devices`."""
    engine, devices = facts.get("engine"), facts.get("devices") or 1
    if not engine:
        return ""
    words = engine if engine == "numpy" else f"{engine} on {facts.get('backend')}"
    words += f", {devices} devices" if devices > 1 else ""
    return " then ".join([*facts.get("engines_before", ()), words])


def git_commit(folder: Path) -> str | None:
    """The commit that `folder` is checked out at, if it is in a git work tree."""
    try:
        words = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def locked(path: Path) -> int | None:
    """A handle that holds a run's lock; BlockingIOError where another does, None on a file system without locks."""
    windows = sys.platform == "win32"
    handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT) if windows else os.open(path, os.O_RDONLY)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    except (BlockingIOError, PermissionError) as error:
        os.close(handle)
        raise BlockingIOError(*error.args) from error
    except OSError:
        os.close(handle)
        return None


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def claim(runs: Path, name: str) -> Path:
    """A new directory of that name, or of that name and a number where it is taken."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = runs / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except OSError as error:
        raise files.cannot_write(runs, error) from error
    raise Failure(Problem("E501", f"`{runs}` has no free name for `{name}`", runs))


def _directories(runs: Path) -> Iterable[Path]:
    return sorted(p.parent for p in runs.glob("*/run.json"))


def _age(path: Path) -> tuple[str, float]:
    try:
        return str(Run.open(path).facts.get("started", "")), path.stat().st_mtime
    except Failure:
        return "", 0.0


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _cell(name: str, value: Cell) -> str:
    if value is None:
        return ""
    return str(int(value)) if name == "epoch" else f"{value:.3f}" if name == "seconds" else repr(float(value))
