"""Train a spec and write its run directory, or go on with a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascli.cli import options

if TYPE_CHECKING:
    from kerascli.check import Checked
    from kerascli.cli.progress import Display
    from kerascli.outcome import Outcome
    from kerascli.run import Run
    from kerascli.trainer import Progress

SAVE_EVERY = 60.0
GROUPS = {
    "What to train": ("settings", "resume", "dry_run"),
    "Where it goes": ("runs_dir", "run_name", "events", "junit"),
    "How it runs": ("engine", "threads", "devices", "hosts", "host", "save_every"),
    "What is shown": ("quiet", "as_json"),
}


@click.command(cls=options.Grouped, groups=GROUPS)
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@options.settings
@options.runs_dir
@click.option("--run-name", metavar="NAME", help="Name of the run, before its time; else the spec's.")
@click.option("--resume", metavar="RUN", help="Go on with a stopped run, or train it further.")
@click.option("--engine", type=click.Choice(["numpy", "keras"]), help="What computes: `training.engine`.")
@options.threads
@click.option("--devices", type=click.IntRange(1), metavar="N", help="Deal each batch out to N devices (keras).")
@click.option("--hosts", metavar="HOSTS", help="`address:port` of every host, by commas: type the same on each.")
@click.option("--host", type=click.IntRange(0), metavar="N", help="Which of the hosts this is; 0 writes the run.")
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=SAVE_EVERY,
    show_default=False,
    metavar="SECONDS",
    help=f"Between checkpoints in a long epoch; {SAVE_EVERY:g}.",
)
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE", help="Write what happens, as JSON lines.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write `expect:` as JUnit XML, for CI.")
@click.option("--dry-run", is_flag=True, help="Check everything, show the model; train nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors and the run's path.")
@options.offline
@options.as_json
def command(
    spec: Path | None,
    settings: tuple[str, ...],
    runs_dir: Path,
    run_name: str | None,
    resume: str | None,
    engine: str | None,
    threads: int | None,
    devices: int | None,
    hosts: str | None,
    host: int | None,
    save_every: float,
    events: Path | None,
    junit: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the model that SPEC describes.

    The last line on standard output is the run's directory. Exit codes: 1 the work failed or a bound of `expect:` was
    missed, 2 the spec is wrong, 130 interrupted. With --resume, training goes on to the very results that it would
    have had without the break; SPEC may be left out.

    Example: kerascli train configs/mnist_cnn.yaml --set training.epochs=2

    Example: kerascli train --resume latest --set training.epochs=20
    """
    settings = (*settings, f"training.engine={engine}") if engine else settings
    run, checked = _asked(spec, settings, runs_dir, run_name, resume)
    if dry_run:
        from kerascli.cli.summary import show

        show(checked, as_json)
        return
    from kerascli import api
    from kerascli.cli.progress import Display
    from kerascli.engines.cluster import cluster
    from kerascli.run import resume_command

    where = cluster(checked.loaded, devices, hosts, host)
    events, junit = (events, junit) if where.writes else (None, None)
    _require_place(junit)
    with Display(quiet or not where.writes) as display, _watched(display, events, run is not None) as progress:
        display.problems(checked.objective.warnings)
        try:
            if run is None:
                outcome = api.train(checked, runs_dir, run_name, threads, progress, save_every, where)
            else:
                outcome = api.resume(run, checked, threads, progress, save_every, where)
        except api.Interrupted as stop:
            further = f"go on with: {resume_command(Path(str(stop)))}" if where.writes else "host 0 has the run"
            click.echo(f"interrupted; {further}", err=True)
            raise click.exceptions.Exit(130) from None
    if where.writes:
        _report(checked.loaded.spec.name, outcome, display, junit, as_json)
    raise click.exceptions.Exit(0 if outcome.met else 1)


def _require_place(junit: Path | None) -> None:
    """A report that cannot be written is told before the training, not after it."""
    if junit is not None:
        from kerascli.outcome import require_place

        require_place(junit)


@contextmanager
def _watched(display: Display, path: Path | None, resumed: bool) -> Iterator[Progress]:
    """Who is told of the training: the terminal, and a file of events where one is wanted."""
    if path is None:
        yield display
        return
    if str(path) == "-":
        raise click.UsageError("results go to standard output, so events cannot: give `--events` a file")
    from kerascli.cli.events import Events

    with Events(display, path, resumed) as events:
        yield events


def _asked(
    spec: Path | None, settings: tuple[str, ...], runs_dir: Path, run_name: str | None, resume: str | None
) -> tuple[Run | None, Checked]:
    """The run to go on with, if there is one, and what is to be trained."""
    if resume is None:
        if spec is None:
            raise click.UsageError("say which SPEC to train, or which run to go on with: --resume RUN")
        from kerascli.check import check

        return None, check(spec, settings)
    if run_name is not None:
        raise click.UsageError("a run that is resumed keeps its name: leave out --run-name")
    from kerascli.resume import checked_again
    from kerascli.run import find_run

    run = find_run(resume, runs_dir)
    return run, checked_again(run, spec, settings)


def _report(name: str, outcome: Outcome, display: Display, junit: Path | None, as_json: bool) -> None:
    from kerascli.cli import render

    if junit is not None:
        from kerascli.outcome import write_junit

        write_junit(junit, name, outcome)

    if as_json:
        render.json_document(outcome.facts())
        return
    for split, logs in outcome.metrics.items():
        display.evaluation(split, logs)
    if outcome.expectations:
        render.err().print(render.expectations(outcome.expectations))
    click.echo(outcome.run)
