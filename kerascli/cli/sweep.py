"""`kerascli sweep`: many trainings of one spec, in search of its best values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascli.cli import options

if TYPE_CHECKING:
    from kerascli.sweep.folder import Sweep
    from kerascli.sweep.ledger import Ledger
    from kerascli.sweep.space import Space

Given = dict[str, str | int | None]
"""Options that are settings of `search:`."""
GROUPS = {
    "What to search": ("settings", "sampler", "pruner", "monitor", "direction", "trials", "time", "seeds"),
    "Where it goes": ("runs_dir", "name", "resume", "storage"),
    "How it runs": ("engine", "workers", "threads"),
    "What is shown": ("quiet", "as_json"),
}


class _Sweep(click.Group):
    """A group whose first word may be a spec: `kerascli sweep SPEC` is `kerascli sweep run SPEC`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(context, args if args and args[0] in self.commands else ["run", *args])


@click.group(cls=_Sweep)
def command() -> None:
    """Search a spec's best values, or repeat it over seeds."""


@command.command(name="run", cls=options.Grouped, groups=GROUPS)
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@options.settings
@click.option("--sampler", type=click.Choice(["tpe", "random", "grid", "cmaes"]), help="How values are chosen; tpe.")
@click.option("--pruner", type=click.Choice(["none", "median", "halving", "hyperband"]), help="What ends bad trials.")
@click.option("--monitor", metavar="FIGURE", help="What to make best; val_loss.")
@click.option("--direction", type=click.Choice(["minimize", "maximize"]), help="Which way; by default as it is meant.")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Values to try, in all; 20, or the whole grid.")
@click.option("--time", metavar="TIME", help="Begin new trials so long, as in `90s`, `15m`, `2h`.")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="Train each with N seeds: mean and deviation.")
@options.runs_dir
@click.option("--name", metavar="NAME", help="Name of the sweep; else the spec's and the time.")
@click.option("--resume", metavar="SWEEP", help="Go on with a sweep, or help it from another machine.")
@click.option("--storage", metavar="URL", help="Where trials are kept: a URL of Optuna's; else in the sweep's folder.")
@click.option("--engine", type=click.Choice(["numpy", "keras"]), help="What computes: `training.engine`.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Trials at a time.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Of all workers together; by default all cores.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors and the result.")
@options.offline
@options.as_json
def run(
    spec: Path | None,
    settings: tuple[str, ...],
    sampler: str | None,
    pruner: str | None,
    monitor: str | None,
    direction: str | None,
    trials: int | None,
    time: str | None,
    seeds: int | None,
    runs_dir: Path,
    name: str | None,
    resume: str | None,
    storage: str | None,
    engine: str | None,
    workers: int,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search the values that SPEC's `search:` ranges over, or repeat it over seeds.

    Every trial is an ordinary run. Options override `search:`. Ctrl-C saves the trials at hand; --resume goes on, on
    as many machines at once as see the folder.

    Then: kerascli sweep show SWEEP, kerascli sweep best SWEEP, kerascli sweep report SWEEP.

    Example: kerascli sweep configs/sweep_digits.yaml --workers 2

    Example: kerascli sweep configs/mnist_cnn.yaml --seeds 5
    """
    from kerascli.cli.sweep_view import View
    from kerascli.sweep import page
    from kerascli.sweep.crew import Crew
    from kerascli.sweep.storage import require_packages

    require_packages()
    given: Given = {"sampler": sampler, "pruner": pruner, "monitor": monitor, "direction": direction, "time": time}
    given |= {"trials": trials, "seeds": seeds}
    if resume is not None:
        others = {"SPEC": spec, "--set": settings, "--engine": engine, "--name": name, "--storage": storage}
        sweep, space, ledger = _resumed(resume, runs_dir, given, others)
    else:
        settings = (*settings, f"training.engine={engine}") if engine else settings
        sweep, space, ledger = _begun(spec, settings, given, runs_dir, name, storage)
    seconds = _seconds(time, space)
    with View(sweep, space, quiet) as view:
        view.problems(space.base.objective.warnings)
        if sweep.goal.note:
            view.say(sweep.goal.note)
        view.say(f"{sweep.folder}: {sweep.goal.trials * sweep.goal.seeds} trials, {workers} at a time")
        finished = Crew(sweep, ledger, workers, threads, seconds, view.say).run(view.show)
    if finished:
        page.write(sweep, space, ledger, sweep.page)
    _report(sweep, space, ledger, as_json)
    _end(sweep, ledger, finished)


def _end(sweep: Sweep, ledger: Ledger, finished: bool) -> None:
    """How to go on, and the exit code."""
    if not finished:
        click.echo(f"stopped; go on with: {sweep.resume_command}", err=True)
        raise click.exceptions.Exit(130)
    if left := ledger.left():
        click.echo(f"trials that are left: {left}; go on with: {sweep.resume_command}", err=True)
    elif not any(entry.state == "completed" for entry in ledger.current()):
        click.echo("no trial was completed", err=True)
        raise click.exceptions.Exit(1)


def _begun(
    spec: Path | None,
    settings: tuple[str, ...],
    given: Given,
    runs_dir: Path,
    name: str | None,
    storage: str | None,
) -> tuple[Sweep, Space, Ledger]:
    """A new sweep, after all that can be checked is. Where its storage refuses it, it leaves nothing."""
    from kerascli.errors import Failure
    from kerascli.sweep.folder import create
    from kerascli.sweep.ledger import Ledger
    from kerascli.sweep.space import goal, open_space

    if spec is None:
        raise click.UsageError("say which SPEC to search, or which sweep to go on with: --resume SWEEP")
    asked = (*settings, *(f"search.{key}={value}" for key, value in given.items() if value is not None))
    space = open_space(spec, asked)
    sweep = create(runs_dir, name, space, goal(space), asked, storage)
    try:
        return sweep, space, Ledger(sweep, space)
    except Failure:
        sweep.discard()
        raise


def _resumed(word: str, runs_dir: Path, given: Given, others: Mapping[str, object]) -> tuple[Sweep, Space, Ledger]:
    """A sweep to go on with: only its budget may change."""
    from kerascli.sweep.folder import find
    from kerascli.sweep.ledger import Ledger

    fixed = [f"--{key}" for key, value in given.items() if value is not None and key not in ("trials", "time")]
    if fixed := [*fixed, *(word for word, value in others.items() if value)]:
        what = " and ".join(fixed)
        raise click.UsageError(f"a sweep goes on as it began, with more --trials or --time at most: leave out {what}")
    sweep = find(word, runs_dir)
    space = sweep.space()
    trials = given["trials"]
    if trials is not None:
        sweep.set_trials(int(trials), space)
    return sweep, space, Ledger(sweep, space)


def _seconds(time: str | None, space: Space) -> float | None:
    from pydantic_core import PydanticCustomError

    from kerascli.search import seconds

    asked = time if time is not None else space.search.time
    try:
        return None if asked is None else seconds(asked)
    except PydanticCustomError as error:
        raise click.BadParameter(error.message(), param_hint="--time") from None


def _report(sweep: Sweep, space: Space, ledger: Ledger, as_json: bool) -> None:
    """The table or the document."""
    from kerascli.cli import render
    from kerascli.cli.sweep_view import final
    from kerascli.sweep import results

    entries = ledger.current()
    if as_json:
        render.json_document(results.document(sweep, space, entries))
    else:
        final(sweep, space, entries)
        click.echo(sweep.folder)


@command.command(name="show")
@click.argument("sweep")
@options.runs_dir
@options.as_json
def show(sweep: str, runs_dir: Path, as_json: bool) -> None:
    """What a sweep has come to, also while it runs. SWEEP is its folder, the beginning of its name, or `latest`."""
    from kerascli.cli import render
    from kerascli.cli.sweep_view import final
    from kerascli.sweep import results

    found, space, ledger = _opened(sweep, runs_dir)
    if as_json:
        render.json_document(results.document(found, space, ledger.current()))
    else:
        final(found, space, ledger.current())
        click.echo(results.progress_words(ledger.current(), found.goal))


@command.command(name="best")
@click.argument("sweep")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@options.runs_dir
def best(sweep: str, output: Path | None, runs_dir: Path) -> None:
    """The spec with the best values put in, as YAML.

    Example: kerascli sweep best latest -o best.yaml
    """
    from kerascli import files
    from kerascli.sweep import results

    found, space, ledger = _opened(sweep, runs_dir)
    chosen = results.require_best(found, ledger.current())
    text = results.best_spec(space, chosen)
    words = results.values_words(space, chosen.values)
    click.echo(f"trial {chosen.number}, {found.goal.monitor} {results.figure_words(chosen)}: {words}", err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        files.write_text(output, text)
        click.echo(output)


@command.command(name="report")
@click.argument("sweep")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@options.runs_dir
def report(sweep: str, output: Path | None, runs_dir: Path) -> None:
    """Write the page with Optuna's plots; every sweep writes one at its end."""
    from kerascli.sweep import page

    found, space, ledger = _opened(sweep, runs_dir)
    page.write(found, space, ledger, output or found.page)
    click.echo(output or found.page)


def _opened(word: str, runs_dir: Path) -> tuple[Sweep, Space, Ledger]:
    from kerascli.sweep.folder import find
    from kerascli.sweep.ledger import Ledger
    from kerascli.sweep.storage import require_packages

    require_packages()
    sweep = find(word, runs_dir)
    space = sweep.space()
    return sweep, space, Ledger(sweep, space)
