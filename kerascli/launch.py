"""Trainings begin here: a new run, or one that is taken up again; and here it is noted how they end."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from kerascli.check import Checked
from kerascli.checkpoint import INTERVAL
from kerascli.engine.team import cores
from kerascli.engines.cluster import Cluster, require
from kerascli.errors import Failure, Problem
from kerascli.model import Model
from kerascli.outcome import Outcome, of_completed
from kerascli.resume import pinned, previous
from kerascli.run import Run, git_commit, resume_command
from kerascli.runner import Logs
from kerascli.spec import checked_name, resolved
from kerascli.stored import signature_facts
from kerascli.trainer import Interrupted, Progress
from kerascli.training import Logged, Silence, Training

MENDABLE = ("E401", "E402", "E501", "E508")
"""Failures that are not the training's own, such as a full disk or a damaged file: it can go on later."""


def train(
    checked: Checked,
    runs: Path | str = "runs",
    run_name: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    save_every: float = INTERVAL,
    cluster: Cluster | None = None,
) -> Outcome:
    """Train a checked spec and write its run directory.

    Raises Failure when the work fails (the run says so in `run.json`), and Interrupted after Ctrl-C, when all is saved
    that `resume` needs. `save_every` is the most seconds between two checkpoints.
    """
    began = time.perf_counter()
    checked = pinned(checked, Path(runs))
    model, loaded = Model.of(checked), checked.loaded
    name = loaded.spec.name if run_name is None else _allowed(run_name)
    cluster = _ready(model, cluster)
    progress = progress or Silence()
    with cluster.place(Path(runs), loaded, progress.say) as place:
        run = Run.create(
            place,
            name,
            loaded.path.read_bytes(),
            resolved(loaded.spec),
            git_commit=git_commit(loaded.base),
            signature=signature_facts(model.signature),
        )
        told = Logged(progress, run)
        given = (model, run, threads or cores(), told, save_every, began)
        return _watched(run, told, model, lambda: Training(*given, cluster=cluster))


def resume(
    run: Run,
    checked: Checked,
    threads: int | None = None,
    progress: Progress | None = None,
    save_every: float = INTERVAL,
    cluster: Cluster | None = None,
) -> Outcome:
    """Go on with a run to the results that it would have without the break. `checked` is `resume.checked_again`'s.

    A run that is completed and has no more epochs to go is told as it is. What cannot be resumed stays as it was.
    """
    began = time.perf_counter()
    before, spec = previous(run), checked.loaded.spec
    if run.status == "completed" and "epochs" not in run.facts:
        help = "begin a new run with its weights: `training.initial_weights`"
        raise Failure(Problem("E514", f"`{run.path}` was not trained here: it has no checkpoint", run.path, help=help))
    if run.status == "completed" and (spec.training.epochs, spec.expect) == (before.training.epochs, before.expect):
        (progress or Silence()).say(_nothing_to_do(run))
        outcome = of_completed(run, _metrics(run))
        (progress or Silence()).happened("run_ended", _ended(run, outcome))
        return outcome
    model = Model.of(checked)
    cluster = _ready(model, cluster)
    progress = progress or Silence()
    with cluster.place(run.path.parent, checked.loaded, progress.say) as place:
        if not cluster.writes:
            run = Run.open(shutil.copytree(run.path, place / run.name))
        told = Logged(progress, run)
        run.lock()
        try:
            training = Training(model, run, threads or cores(), told, save_every, began, True, cluster)
        except BaseException:
            run.unlock()
            raise
        run.resume()
        run.write_resolved(resolved(spec))
        return _watched(run, told, model, lambda: training, resumed=True)


def _ready(model: Model, cluster: Cluster | None) -> Cluster:
    """Where to compute, once it is sure that the engine can; Keras is loaded only where it is the engine."""
    cluster = cluster or Cluster()
    require(model.loaded, cluster)
    if model.spec.training.engine == "keras":
        cluster.prepare()
        from kerascli.engines.keras_net import require_layers
        from kerascli.engines.limits import require_dealt

        require_layers(model)
        require_dealt(model, cluster)
    return cluster


def _nothing_to_do(run: Run) -> str:
    ended = f" ({run.facts['stopped']})" if run.facts.get("stopped") else ""
    more = "" if ended else f"; `--set training.epochs={2 * run.facts['epochs']}` would train more"
    return f"`{run.path}` is completed: {run.facts['epochs']} epochs{ended}, nothing is left to do{more}"


def _metrics(run: Run) -> dict[str, Logs]:
    try:
        found: dict[str, Logs] = json.loads(run.metrics.read_text("utf-8"))
        return {split: {name: float(value) for name, value in logs.items()} for split, logs in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Failure(Problem("E503", f"cannot read `{run.metrics}`: {error}", run.metrics)) from error


def _with_command(problem: Problem, run: Run) -> Problem:
    """What is not the training's own fault can be mended, and the training go on."""
    if problem.code not in MENDABLE:
        return problem
    help = "; ".join(part for part in (problem.help, f"then go on with `{resume_command(run.path)}`") if part)
    return replace(problem, help=help)


def _watched(
    run: Run, told: Progress, model: Model, training: Callable[[], Training], resumed: bool = False
) -> Outcome:
    """Do the work; the run says how it ended."""
    about = {"name": run.facts["name"], "resumed": resumed, "epochs": model.spec.training.epochs}
    sizes = {"parameters": model.graph.count(), "samples": model.signature.sizes}
    told.happened("run_started", {"run": str(run.path), **about, **sizes})
    try:
        outcome = training().run_through()
        told.happened("run_ended", _ended(run, outcome))
        return outcome
    except BaseException as error:
        _give_up(run, model, error)
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted(str(run.path))
        elif isinstance(error, Failure):
            error = Failure([_with_command(p, run) for p in error.problems], error.exit_code)
        told.happened("run_ended", {"run": str(run.path), "status": run.status, **_problems(error)})
        raise error from None


def _ended(run: Run, outcome: Outcome) -> dict[str, Any]:
    facts = {"epochs": outcome.epochs, "seconds": round(outcome.seconds, 3), "best_epoch": outcome.best_epoch}
    more = {"data_wait": outcome.data_wait, "expected": outcome.met}
    return {"run": str(run.path), "status": "completed", **facts, **more}


def _problems(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Failure):
        return {"problems": [{"code": p.code, "message": p.message} for p in error.problems]}
    return {} if isinstance(error, Interrupted) else {"problems": [{"code": None, "message": repr(error)}]}


def _allowed(name: str) -> str:
    try:
        return checked_name(name)
    except PydanticCustomError as error:
        raise Failure(Problem("E205", f"the run's name {error.message()}"), exit_code=2) from None


def _unread(model: Model, error: BaseException) -> dict[str, Any]:
    """The file that could not be read, if that was it, and the digest of all others: mended it may be another one."""
    problem = error.problems[0] if isinstance(error, Failure) else None
    if problem is None or problem.code not in ("E401", "E402") or not isinstance(problem.where, Path):
        return {}
    others = model.spec.dataset.without(model.loaded.base, problem.where)
    return {"unread": {"file": os.path.abspath(problem.where), "others": others}} if others else {}


def _give_up(run: Run, model: Model, error: BaseException) -> None:
    """Note why a run ended before its time; that its disk may be full is no reason to hide the first error."""
    with suppress(Failure):
        if run.status != "running":
            return
        if isinstance(error, KeyboardInterrupt):
            run.end("interrupted")
        else:
            run.say(f"failed: {error}")
            run.end("failed", error=f"{type(error).__name__}: {error}", **_unread(model, error))
