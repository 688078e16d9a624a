"""A session runs the programs of one model: it owns parameters, plans, data feeds and the team of workers.

Everything is registered first; the workers start with the first run and then know programs and feeds by number.
A new registration ends them, and the next run starts them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from kerascli.engine.machine import Bound, Machine
from kerascli.engine.memory import SharedMemory
from kerascli.engine.parameters import Parameters
from kerascli.engine.readers import Readers, Task, start_readers
from kerascli.engine.team import Team, start_team
from kerascli.engine.update import Part, parts
from kerascli.ops.ir import Array, Call, Carried
from kerascli.optimizers.base import ACCUMULATOR, Optimizer
from kerascli.program.plan import Plan, make_plan
from kerascli.program.program import Program


@dataclass
class Job:
    """A program with its plan and memory, and the calls bound so far by (rows, feed, worker)."""

    program: Program
    plan: Plan
    machine: Machine
    trains: bool
    bound: dict[tuple[int, int, int], Bound] = field(default_factory=dict)


class Session:
    """Runs programs on up to `workers` workers; the results do not depend on how many there are."""

    def __init__(
        self,
        parameters: Parameters,
        memory: SharedMemory,
        seed: int,
        workers: int,
        optimizer: Optimizer | None = None,
        constraints: Mapping[str, Callable[[Array], None]] | None = None,
        processes: bool | None = None,
    ) -> None:
        self.parameters, self.memory, self.seed, self.optimizer = parameters, memory, seed, optimizer
        self.workers, self._processes = max(workers, 1), processes
        self._constraints = dict(constraints or {})
        self.carried: dict[str, Array] = {}
        """What batches hand on to the next, whichever program runs: states of stateful layers, zeros at first."""
        self._jobs: list[Job] = []
        self._feeds: list[Mapping[str, Array]] = []
        self._command = memory.zeros((4,), np.int64)
        """Job, rows, feed, iteration of the run at hand."""
        self._rate = memory.zeros((1,), np.float64)
        self._team: Team | None = None
        self._tasks: list[Task] = []
        self._readers: Readers | None = None
        self._parts: dict[int, list[Part]] = {}
        """Each worker's, made when it first comes to the optimizer's step."""

    # ---- registration

    def add_program(self, program: Program, batch: int, dtype: str = "float32", lanes: int | None = None) -> int:
        """Plan a program for batches of up to `batch` samples. Returns its number."""
        self.stop()
        plan = make_plan(program.sinks(), batch, dtype, lanes)
        homes = {
            value: self.parameters.view(self.parameters.gradient, path) for path, value in program.gradients.items()
        }
        machine = Machine(
            plan,
            self.memory,
            self.parameters.weights,
            {"inverse_batch": self.memory.zeros((), dtype)},
            self.memory.zeros((batch,), np.int64),
            self.memory.zeros((batch, 2), np.int64),
            self.seed,
            homes,
            self.carried,
        )
        for value in program.trace.values:
            if isinstance(value.op, Carried) and value.op.name not in self.carried:
                self.carried[value.op.name] = self.memory.zeros((batch, *value.shape), dtype)
        machine.counters[:, 0] = np.arange(batch)
        self._jobs.append(Job(program, plan, machine, trains=bool(program.gradients)))
        return len(self._jobs) - 1

    def add_feed(self, arrays: Mapping[str, Array]) -> int:
        """Data that programs read rows of: inputs `x:…`, targets `y:…`, weights `w:…`. Returns its number."""
        self.stop()
        self._feeds.append(arrays)
        return len(self._feeds) - 1

    def fed(self, feed: int) -> Mapping[str, Array]:
        """The arrays of a feed."""
        return self._feeds[feed]

    def add_task(self, task: Task) -> int:
        """Something that readers do. Returns its number."""
        self.stop()
        self._tasks.append(task)
        return len(self._tasks) - 1

    @property
    def readers(self) -> Readers:
        """As many as there are workers; others after a registration."""
        if self._readers is None:
            self._readers = start_readers(self.workers, self._tasks, self._processes)
        return self._readers

    def plan(self, job: int) -> Plan:
        return self._jobs[job].plan

    # ---- running

    def run(self, job: int, feed: int, index: Array, iteration: int = 0, rate: float = 0.0) -> Job:
        """Run a program on the rows `index` of a feed. A training program also updates the weights."""
        machine = self._jobs[job].machine
        rows = len(index)
        machine.index[:rows] = index
        machine.counters[:, 1] = iteration
        machine.variables["inverse_batch"][...] = 1 / rows
        self._command[:] = job, rows, feed, iteration
        self._rate[0] = rate
        if self._team is None:
            lanes = max(j.plan.lanes for j in self._jobs)  # a worker without a lane would only be waited for
            self._team = start_team(min(self.workers, lanes), self._work, self.memory, self._processes)
        self._team.run()
        return self._jobs[job]

    def outputs(self, job: Job, rows: int) -> dict[str, Array]:
        """Views of the outputs of the run before; the next run overwrites them."""
        return {name: job.machine.result(value, rows) for name, value in job.program.outputs.items()}

    def masks(self, job: Job, rows: int) -> dict[str, Array]:
        return {name: job.machine.result(value, rows) for name, value in job.program.masks.items()}

    def loss(self, job: Job) -> float:
        assert job.program.loss is not None
        return float(job.machine.result(job.program.loss, 0))

    def losses(self, job: Job) -> dict[str, float]:
        return {name: float(job.machine.result(value, 0)) for name, value in job.program.losses.items()}

    def stop(self) -> None:
        """End the workers and the readers; the next run starts them again."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None
        if self._team is not None:
            self._team.close()
            self._team = None
            self._parts.clear()
            for job in self._jobs:
                job.bound.clear()
                job.machine.arenas.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    # ---- the workers' side

    def _work(self, team: Team, worker: int) -> None:
        number, rows, feed, iteration = (int(c) for c in self._command)
        job, barrier = self._jobs[number], partial(team.barrier, worker)
        lanes = share(job.plan.lanes, team.size, worker)
        bound = job.bound.get((rows, feed, worker))
        if bound is None:
            bound = job.bound[rows, feed, worker] = job.machine.bind(rows, self._feeds[feed], lanes)
        with np.errstate(all="ignore"):  # a net that has come to infinity says so by its loss
            for stage in bound.stages:
                for lane in lanes:
                    for call in stage[lane]:
                        call()
                barrier()
            if worker == 0:
                for path, value in job.program.updates.items():
                    kept = self.carried[path][:rows] if path in self.carried else self.parameters.weights[path]
                    np.copyto(kept, job.machine.result(value, rows))
            if job.trains:
                if not self.parameters.spans.keys().isdisjoint(job.program.updates):
                    barrier()  # the optimizer goes on from trained weights that the step has replaced
                self._update(job, team.size, worker, iteration, barrier)

    def _update(self, job: Job, size: int, worker: int, iteration: int, barrier: Call) -> None:
        """The optimizer's step, Keras's order: limits, decay, rule, averages; then constraints."""
        optimizer, parameters = self.optimizer, self.parameters
        assert optimizer is not None
        if needs_prepare(optimizer):
            if worker == 0:
                gradients = list(parameters.views(parameters.gradient).values())
                total = parameters.slots.get(ACCUMULATOR)
                accumulators = [] if total is None else list(parameters.views(total).values())
                optimizer.prepare(gradients, accumulators, iteration)
            barrier()
        if worker not in self._parts:
            self._parts[worker] = parts(optimizer, parameters, worker, size)
        for part in self._parts[worker]:
            part.advance(iteration, float(self._rate[0]))
        if self._constraints:
            barrier()
            if worker == 0:
                for path, constrain in self._constraints.items():
                    constrain(parameters.weights[path])


def share(parts: int, size: int, worker: int) -> range:
    """The lanes that one of `size` workers does."""
    return range(parts * worker // size, parts * (worker + 1) // size)


def needs_prepare(optimizer: Optimizer) -> bool:
    """Whether the gradients must be looked at as a whole before the rule."""
    return any(
        (
            optimizer.gradient_accumulation_steps,
            optimizer.clipnorm,
            optimizer.clipvalue,
            optimizer.global_clipnorm,
        )
    )
