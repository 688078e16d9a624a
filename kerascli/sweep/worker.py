"""One worker of a sweep: takes trials and trains them, one after the other, until none is left or it is told to stop.

`python -m kerascli.sweep.worker FOLDER NUMBER NAME THREADS UNTIL PARENT` is the process that `crew` starts.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerascli import files
from kerascli.api import Interrupted
from kerascli.check import checked
from kerascli.engine.team import die_with_parent
from kerascli.errors import Failure, Problem
from kerascli.launch import MENDABLE, resume, train
from kerascli.outcome import Outcome, figures
from kerascli.resume import checked_again
from kerascli.run import LOCK_TRIES, LOCK_WAIT, History, Run, locked
from kerascli.runner import Averages, Logs
from kerascli.sweep import storage
from kerascli.sweep.folder import Sweep, opened
from kerascli.sweep.ledger import Ledger
from kerascli.sweep.space import Space

if TYPE_CHECKING:
    from optuna.trial import Trial

WAIT = 0.3
"""Seconds between two looks for a trial that another worker may give back."""
WORD = 60.0
"""Seconds between two signs of life."""
OFTEN = 0.5
"""Seconds between two reports of an epoch, where nobody decides by them."""
ALIKE = 3
"""Trials that fail in the same way before any is completed, after which there is no more to hope for."""
CANNOT_GO_ON = 3
"""Exit code: `failure.json` in the worker's folder says why."""


class Worker:
    """Trains trials of a sweep in this process."""

    def __init__(self, sweep: Sweep, space: Space, number: int, name: str, threads: int | None, until: float) -> None:
        self.sweep, self.space, self.number, self.name = sweep, space, number, name
        self.threads, self.until = threads, until
        self.ledger = Ledger(sweep, space)
        self.stopping = False
        folder = sweep.workers / name
        folder.mkdir(exist_ok=True)
        self._lock = _held(folder)  # while it is, nobody takes the trials of this worker for lost

    def close(self) -> None:
        """Let go of the lock, as death does."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def work(self) -> None:
        """Until no trial is left, the time is over, or somebody stops it."""
        while not self.stopping and time.time() < self.until:
            trial = self.ledger.take(self.name, self.number)
            if trial is not None:
                self._train(trial)
                self._require_hope()
            elif self.ledger.is_busy():
                time.sleep(WAIT)  # a worker may die, and its trial have to be begun again
            else:
                return

    def _train(self, trial: Trial) -> None:
        """Train one trial, and tell the storage what it came to."""
        watcher = _Watcher(self, trial)
        try:
            outcome = self._outcome(trial, watcher)
        except (Interrupted, KeyboardInterrupt):
            self.ledger.put_back(trial)
            self.stopping = True
        except Failure as failure:
            codes = {problem.code for problem in failure.problems}
            if "E508" in codes:  # a process of the engine was killed: this one ends too, and the crew begins another
                raise
            if codes & {
                *MENDABLE,
                "E521",
            }:  # a full disk, a storage that does not answer: the trial can do nothing for it
                self.ledger.put_back(trial)
                raise
            error = "; ".join(problem.message for problem in failure.problems)
            self.ledger.end(trial, "diverged" if codes == {"E511"} else "failed", error=error)
        except Exception as error:
            traceback.print_exc()
            self.ledger.end(trial, "failed", error=f"a fault of kerascli: {type(error).__name__}: {error}")
        else:
            self._tell(trial, outcome, watcher)

    def _tell(self, trial: Trial, outcome: Outcome, watcher: _Watcher) -> None:
        history = History.load(Run.open(outcome.run).history)
        found = {name: value for name, value in figures(outcome, history).items() if math.isfinite(value)}
        value = found.get(self.ledger.goal.monitor)
        notes = {"figures": found, "seconds": round(outcome.seconds, 3), "trained": len(history.rows)}
        state = "pruned" if watcher.pruned else "completed" if value is not None else "diverged"
        self.ledger.end(trial, state, value, **notes)

    def _outcome(self, trial: Trial, watcher: _Watcher) -> Outcome:
        """Train the trial's spec; one that was begun before goes on."""
        name = trial.user_attrs.get("run")
        if name and (before := self._before(self.sweep.runs / name)):
            try:
                return resume(before, checked_again(before), self.threads, watcher)
            except Failure as failure:
                if not {problem.code for problem in failure.problems} & {"E503", "E504", "E513", "E514"}:
                    raise
        leader, replica = trial.user_attrs.get("leader", trial.number), trial.user_attrs.get("replica", 0)
        seed = self.space.seed + replica if self.ledger.goal.seeds > 1 else None
        spec = checked(self.space.spec(trial.params, seed))
        number = f"{leader:03}-{replica}" if self.ledger.goal.seeds > 1 else f"{leader:03}"
        return train(spec, self.sweep.runs, f"{spec.loaded.spec.name}-t{number}", self.threads, watcher)

    def _before(self, folder: Path) -> Run | None:
        """The run of the trial's first try, if it can be read."""
        try:
            found = Run.open(folder)
        except Failure:
            return None
        return found if found.resolved.is_file() else None

    def _require_hope(self) -> None:
        """Raise what all trials so far failed with, where the next will hardly do better."""
        entries = self.ledger.entries()
        if any(entry.state in ("completed", "pruned", "diverged") for entry in entries):
            return
        errors = [str(entry.notes.get("error")) for entry in entries if entry.state == "failed"]
        if len(errors) >= ALIKE and len(set(errors)) == 1:
            message = f"{len(errors)} trials failed, all in the same way, and none was completed: {errors[0]}"
            raise Failure(Problem("E522", message, help="mend it, and begin a new sweep"))


def _held(folder: Path) -> int | None:
    """The lock of a worker's folder; who looks whether the worker lives holds it for a moment."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            return locked(folder)
        time.sleep(LOCK_WAIT)
    raise Failure(Problem("E504", f"another worker has the folder `{folder}`", folder))


class _Watcher:
    """Progress of one trial: tells the storage of its epochs, and asks whether it should go on."""

    def __init__(self, worker: Worker, trial: Trial) -> None:
        self.worker, self.trial, self.pruned = worker, trial, False
        self.run: Path | None = None
        self.monitor, self.prunes = worker.ledger.goal.monitor, worker.space.search.pruner != "none"
        self.epochs = 0
        self._reported: int | None = None
        self._said = self._shown = time.monotonic()

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self.epochs = epochs

    def batch_end(self, step: int, averages: Averages) -> None:
        if self.worker.stopping:
            raise Interrupted
        if time.monotonic() - self._said > WORD:
            self._said = time.monotonic()
            with storage.refusals(self.worker.sweep):
                self.trial.set_user_attr("seen", time.time())

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> str | None:
        last, now = epoch + 1 >= self.epochs, time.monotonic()
        if not (self.prunes or last or self._reported is None or now - self._shown > OFTEN):
            return None
        self._shown = now
        with storage.refusals(self.worker.sweep), storage.quiet():
            for row in self._rows(epoch):
                if (value := row.get(self.monitor)) is not None and math.isfinite(value):
                    self.trial.report(value, int(row["epoch"] or 0) + 1)
            self._reported = epoch
            self.pruned = self.prunes and not last and self.trial.should_prune()
        return f"pruned by the sweep after {epoch + 1} of {self.epochs} epochs" if self.pruned else None

    def _rows(self, epoch: int) -> list[dict[str, float | None]]:
        """The epochs that are not reported yet, those before a resume included."""
        assert self.run is not None
        begin = -1 if self._reported is None else self._reported
        return [row for row in History.load(self.run / "history.csv").rows if begin < (row["epoch"] or 0) <= epoch]

    def say(self, text: str) -> None:
        pass

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        if what == "run_started":
            self.run = Path(facts["run"])
            with storage.refusals(self.worker.sweep):
                self.trial.set_user_attr("run", self.run.name)
                self.trial.set_user_attr("epochs", facts["epochs"])


def main(words: list[str]) -> int:
    """The process; it leaves `failure.json` in its folder where it cannot go on."""
    folder, number, name, threads, until, parent = words
    die_with_parent(int(parent))
    sweep = opened(Path(folder))
    try:
        worker = Worker(sweep, sweep.space(), int(number), name, int(threads), float(until))

        def stop(number: int, frame: object) -> None:
            worker.stopping = True

        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, stop)
        worker.work()
    except Failure as failure:
        problems = [{"code": p.code, "message": p.message, "help": p.help} for p in failure.problems]
        files.write_json(sweep.workers / name / "failure.json", problems)
        print(json.dumps(problems), file=sys.stderr)
        return 1 if "E508" in {p.code for p in failure.problems} else CANNOT_GO_ON
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
