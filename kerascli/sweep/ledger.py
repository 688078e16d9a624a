"""The trials of a sweep in Optuna's storage: what stands there, who takes the next, and how none is lost.

A trial of Optuna's is one run. With several seeds, the first trial of some values is their *leader*, and puts the
others, its replicas, into the queue. A trial whose worker died stays in the storage as failed, and a successor with
the same values, which goes on with the same run, is put into the queue: once. The same is done, as often as wanted,
for what the user interrupted. All of this can be seen from the storage alone, so it is made good by whoever comes next.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kerascli.run import locked
from kerascli.sweep import storage
from kerascli.sweep.folder import Sweep
from kerascli.sweep.space import Space, Value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

TRIES = 2
"""Times that a trial is begun whose worker dies."""
LOST = 900.0
"""Seconds without a word after which a worker is taken for dead that another machine runs, out of sight."""
FINISHED = ("completed", "pruned", "diverged", "failed", "died")


@dataclass(frozen=True)
class Entry:
    """One trial as it stands in the storage, as plain data."""

    number: int
    state: str
    """waiting, running, completed, pruned, diverged (its loss became NaN), failed, died, interrupted or surplus."""
    values: dict[str, Value]
    leader: int
    """The first trial of these values, which all their trials are known by."""
    replica: int
    """Which of the seeds, from 0."""
    value: float | None
    curve: dict[int, float]
    """The monitored figure after each epoch, counted from 1."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """`worker`, `seen`, `run` (its name), `epochs`, `figures`, `seconds`, `error`, `tries`, `retry_of`, `grid`."""
    began: float = 0.0

    @property
    def tries(self) -> int:
        return int(self.notes.get("tries", 1))

    @property
    def fresh(self) -> bool:
        """Whether it is the first of its values."""
        return "leader" not in self.notes and self.state != "surplus"

    @property
    def run(self) -> str | None:
        return self.notes.get("run")


class Ledger:
    """What all processes of a sweep share."""

    def __init__(self, sweep: Sweep, space: Space) -> None:
        self.sweep, self.space, self.goal = sweep, space, sweep.goal
        self.study = storage.study(sweep, space)
        url = sweep.facts["storage"]
        self._apart = (platform.node(), str(sweep.folder.resolve())) if url else ()  # whoever joins draws others
        self._distributions = storage.distributions(space)

    def entries(self) -> list[Entry]:
        """Every trial, in the order of their numbers."""
        with storage.refusals(self.sweep), storage.quiet():
            return [_entry(trial) for trial in self.study.get_trials(deepcopy=False)]

    def current(self) -> list[Entry]:
        """Every trial but those that a successor has taken the place of."""
        entries = self.entries()
        followed = {entry.notes.get("retry_of") for entry in entries}
        return [entry for entry in entries if entry.number not in followed and entry.state != "surplus"]

    # ---- taking a trial

    def take(self, worker: str, number: int) -> Trial | None:
        """The next trial for a worker; None where there is none to begin."""
        with storage.refusals(self.sweep), storage.quiet():
            entries = self.entries()
            fresh = sum(entry.fresh for entry in entries)
            if fresh >= self.goal.trials and not any(entry.state == "waiting" for entry in entries):
                return None
            self.study.sampler = storage.sampler(self.space, _seed(self.space.seed, len(entries), number, *self._apart))
            trial = self.study.ask(self._distributions)
            trial.set_user_attr("worker", worker)
            trial.set_user_attr("seen", time.time())
            entry = next(entry for entry in self.entries() if entry.number == trial.number)
            if self._is_surplus(entry):
                self.end(trial, "surplus")
                return self.take(worker, number)
            if entry.fresh:
                self._enqueue_replicas(entry, self.entries())
            return trial

    def _is_surplus(self, entry: Entry) -> bool:
        """Whether another process took the last place before this one, or put the same into the queue."""
        before = [other for other in self.entries() if other.number < entry.number]
        if entry.fresh and sum(other.fresh for other in before) >= self.goal.trials:
            return True
        return any(_origin(entry) is not None and _origin(other) == _origin(entry) for other in before)

    def is_busy(self) -> bool:
        """Whether anything waits or runs that may yet be wanted."""
        return any(entry.state in ("waiting", "running") for entry in self.entries())

    def left(self) -> int:
        """How many trials are still to be trained to the end."""
        done = sum(entry.state in FINISHED for entry in self.current())
        return max(0, self.goal.trials * self.goal.seeds - done)

    # ---- ending one

    def end(self, trial: Trial, state: str, value: float | None = None, **notes: Any) -> None:
        """Tell the storage how a trial ended."""
        from optuna.trial import TrialState

        with storage.refusals(self.sweep), storage.quiet():
            for key, note in {**notes, "ended": state}.items():
                trial.set_user_attr(key, note)
            if state == "completed":
                self.study.tell(trial, value)
            else:
                pruned = state in ("pruned", "diverged")  # the sampler learns from these, not from what failed
                self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def put_back(self, trial: Trial) -> None:
        """What was interrupted goes on when somebody continues the sweep."""
        with storage.refusals(self.sweep), storage.quiet():
            entry = next(entry for entry in self.entries() if entry.number == trial.number)
            self._enqueue_successor(entry, entry.tries)
            self.end(trial, "interrupted")

    # ---- making good

    def begin(self) -> None:
        """Put into the queue what is to be tried from the start: the points of a grid."""
        if self.space.search.sampler != "grid" or not self.space.parameters:
            return
        with storage.refusals(self.sweep), storage.quiet():
            there = {entry.notes.get("grid") for entry in self.entries()}
            for index, values in enumerate(self.space.grid()[: self.goal.trials]):
                if index not in there:
                    self.study.enqueue_trial(values, {"grid": index})

    def make_good(self, dead: Sequence[str] = ()) -> list[Entry]:
        """Mark the trials of workers that died, and put what is missing into the queue; returns the marked."""
        from optuna.trial import TrialState

        marked = []
        with storage.refusals(self.sweep), storage.quiet():
            entries = self.entries()
            followed = {entry.notes.get("retry_of") for entry in entries}
            for entry in entries:
                gone = entry.state == "running" and self._is_gone(entry, dead)
                again = entry.state == "interrupted" or ((gone or entry.state == "died") and entry.tries < TRIES)
                if again and entry.number not in followed:
                    tries = entry.tries + (entry.state != "interrupted")
                    self._enqueue_successor(entry, tries)
                if gone:
                    with contextlib.suppress(ValueError):  # it ended just now
                        self.study.tell(entry.number, state=TrialState.FAIL)
                        marked.append(entry)
                if entry.fresh and entry.state != "waiting":
                    self._enqueue_replicas(entry, entries)
        return marked

    def _is_gone(self, entry: Entry, dead: Sequence[str]) -> bool:
        """Whether the worker of a trial lives no more: its lock is free, or nothing was heard of it for long."""
        worker = entry.notes.get("worker")
        if worker in dead:
            return True
        if worker is None:  # it died between two words, or is about to say the second
            return time.time() - entry.began > 60 or not any(map(self._is_alive, self._workers()))
        alive = self._is_alive(worker)
        return time.time() - entry.notes.get("seen", 0.0) > LOST if alive is None else not alive

    def _workers(self) -> list[str]:
        return [folder.name for folder in self.sweep.workers.iterdir() if folder.is_dir()]

    def _is_alive(self, worker: str) -> bool | None:
        """Whether a worker holds the lock of its folder; None where that cannot be seen from here."""
        folder = self.sweep.workers / worker
        if not folder.is_dir():
            return None
        try:
            handle = locked(folder)
        except BlockingIOError:
            return True
        if handle is None:
            return None
        os.close(handle)
        return False

    def _enqueue_successor(self, entry: Entry, tries: int) -> None:
        kept = {"run": entry.run} if entry.run else {}
        notes = {"leader": entry.leader, "replica": entry.replica, "retry_of": entry.number, "tries": tries}
        self.study.enqueue_trial(entry.values, {**notes, **kept})

    def _enqueue_replicas(self, leader: Entry, entries: Sequence[Entry]) -> None:
        there = {entry.replica for entry in entries if entry.leader == leader.number}
        for replica in range(1, self.goal.seeds):
            if replica not in there:
                self.study.enqueue_trial(leader.values, {"leader": leader.number, "replica": replica})


def _origin(entry: Entry) -> tuple[Any, ...] | None:
    """What it was put into the queue for: no two are for the same."""
    if "retry_of" in entry.notes:
        return ("retry", entry.notes["retry_of"])
    if "grid" in entry.notes:
        return ("grid", entry.notes["grid"])
    return ("replica", entry.leader, entry.replica) if "leader" in entry.notes else None


def _entry(trial: FrozenTrial) -> Entry:
    notes = trial.user_attrs
    values = trial.params or trial.system_attrs.get("fixed_params", {})
    return Entry(
        number=trial.number,
        state=_state(trial),
        values=dict(values),
        leader=notes.get("leader", trial.number),
        replica=notes.get("replica", 0),
        value=trial.value,
        curve=dict(trial.intermediate_values),
        notes=notes,
        began=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
    )


def _state(trial: FrozenTrial) -> str:
    match trial.state.name:
        case "WAITING" | "RUNNING" as name:
            return str(name).lower()
        case "COMPLETE":
            return "completed"
        case "PRUNED":
            return str(trial.user_attrs.get("ended", "pruned"))
    return str(trial.user_attrs.get("ended", "died"))


def _seed(*parts: int | str) -> int:
    """A seed of a sampler: of the sweep's seed, the place in it, and the worker."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4])
