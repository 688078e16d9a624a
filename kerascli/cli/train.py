"""Train a spec and write its run directory, or go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascli.cli import options

if TYPE_CHECKING:
    from kerascli.check import Checked
    from kerascli.cli.progress import Display
    from kerascli.outcome import Outcome
    from kerascli.run import Run

SAVE_EVERY = 60.0


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@options.settings
@options.runs_dir
@click.option("--run-name", help="Name of the run; by default the spec's name. The time is added.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped, or train a finished one further.")
@options.threads
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=SAVE_EVERY,
    show_default=True,
    metavar="SECONDS",
    help="Time between two checkpoints in a long epoch; there is one at the end of epochs too.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write the bounds of `expect:` as JUnit XML, for CI.")
@click.option("--dry-run", is_flag=True, help="Check everything and show the model; train and write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors and the run's path.")
@options.offline
@options.as_json
def command(
    spec: Path | None,
    settings: tuple[str, ...],
    runs_dir: Path,
    run_name: str | None,
    resume: str | None,
    threads: int | None,
    save_every: float,
    junit: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the model that SPEC describes.

    The last line on standard output is the run's directory. Exit code 1 means that the work failed or that a bound of
    `expect:` was missed, 2 that the spec is wrong, 130 that it was interrupted and can be resumed.

    With --resume, training goes on where it stood, to the very results that it would have had without the break; SPEC
    may be left out then.

    Example: kerascli train configs/mnist_cnn.yaml --set training.epochs=2

    Example: kerascli train --resume latest --set training.epochs=20
    """
    run, checked = _asked(spec, settings, runs_dir, run_name, resume)
    if dry_run:
        from kerascli.cli.summary import show

        show(checked, as_json)
        return
    from kerascli import api
    from kerascli.cli import render
    from kerascli.cli.progress import Display
    from kerascli.launch import resume_command

    if not quiet:
        render.problems(checked.objective.warnings)
    with Display(quiet) as display:
        try:
            if run is None:
                outcome = api.train(checked, runs_dir, run_name, threads, display, save_every)
            else:
                outcome = api.resume(run, checked, threads, display, save_every)
        except api.Interrupted as stop:
            click.echo(f"interrupted; go on with: {resume_command(Path(str(stop)))}", err=True)
            raise click.exceptions.Exit(130) from None
    if junit is not None:
        from kerascli.outcome import write_junit

        write_junit(junit, checked.loaded.spec.name, outcome)
    _report(outcome, display, as_json)
    raise click.exceptions.Exit(0 if outcome.met else 1)


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


def _report(outcome: Outcome, display: Display, as_json: bool) -> None:
    from kerascli.cli import render
    from kerascli.cli.progress import figures

    if as_json:
        render.json_document(outcome.facts())
        return
    for split, logs in outcome.metrics.items():
        display.say(f"{split}: {figures(logs)}")
    if outcome.expectations:
        render.err().print(render.expectations(outcome.expectations))
    click.echo(outcome.run)
