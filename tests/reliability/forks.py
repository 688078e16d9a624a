"""A process that has everything imported, and forks trainings from itself to kill them: a start takes milliseconds.

It reads one job from its standard input, and writes what came of it: `how` many were killed by `seconds`, after a
random time, or by `files`, at a random change of a file; each is resumed, with another number of workers, until done.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.truncate")


def killed_in_turn(folder: Path, how: str, kills: int, seed: int) -> dict[str, Any]:
    """Train `spec.yaml` in `folder`, killed so often, until a run is completed; from a process of its own."""
    job = json.dumps({"folder": str(folder), "how": how, "kills": kills, "seed": seed})
    program = "from tests.reliability.forks import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=job, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The process's work."""
    from kerascli.cli.main import main as program

    job = json.loads(sys.stdin.read())
    os.chdir(job["folder"])
    chance = random.Random(job["seed"])
    train = ["train", "spec.yaml", "--quiet", "--save-every", "0", "--threads", "1"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert program([*train, "--runs-dir", "warm"]) == 0  # forks find everything imported
    began = time.perf_counter()
    assert forked(lambda: program([*train, "--runs-dir", "whole"])) == 0
    whole = time.perf_counter() - began
    kills, tries, completed = 0, 0, []
    while kills < job["kills"] or not completed:
        tries += 1
        assert tries < 20 * job["kills"], f"{kills} kills, {completed} completed"
        runs = Path(f"runs-{len(completed)}")
        begun = any(runs.glob("*/run.json"))
        start = ["train", "--resume", "latest", "--quiet", "--save-every", "0"] if begun else train
        words = [*start, "--threads", str(chance.choice((1, 2))), "--runs-dir", str(runs)]
        let_live = kills >= job["kills"]
        code = forked(
            lambda words=words: program(words),  # type: ignore[misc]
            None if let_live or job["how"] != "seconds" else chance.uniform(0.2, 0.8) * whole,
            None if let_live or job["how"] != "files" else chance.randrange(1, 40),
        )
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL), (code, words)
        if code == 0:
            completed.append(str(runs))
    print(json.dumps({"kills": kills, "completed": completed}))


def forked(work: Callable[[], int], seconds: float | None = None, change: int | None = None) -> int:
    """The exit code of a fork that does the work; killed after so many seconds, or before so many changes of files."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if change is not None:
                sys.addaudithook(killer(change))
            code = work()
        finally:
            os._exit(code)
    deadline = time.monotonic() + (60 if seconds is None else seconds)
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killer(change: int) -> Callable[[str, Any], None]:
    """An audit hook that kills this process before its n-th change of a file."""
    own, left = os.getpid(), [change]

    def hook(event: str, arguments: Any) -> None:
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (written or event in CHANGES) and os.getpid() == own:
            left[0] -= 1
            if left[0] == 0:
                os.kill(own, signal.SIGKILL)

    return hook
