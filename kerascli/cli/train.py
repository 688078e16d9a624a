"""Train a spec and write its run directory."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@options.spec
@options.settings
@options.runs_dir
@click.option("--run-name", help="Name of the run; by default the spec's name. The time is added.")
@options.threads
@click.option("--dry-run", is_flag=True, help="Check everything and show the model; train and write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors and the run's path.")
@options.as_json
def command(
    spec: Path,
    settings: tuple[str, ...],
    runs_dir: Path,
    run_name: str | None,
    threads: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the model that SPEC describes.

    The last line on standard output is the run's directory. Exit code 1 means that the work failed or that a bound of
    `expect:` was missed, 2 that the spec is wrong, 130 that it was interrupted and its weights are saved.

    Example: kerascli train configs/mnist_cnn.yaml --set training.epochs=2
    """
    from kerascli.check import check

    checked = check(spec, settings)
    if dry_run:
        from kerascli.cli.summary import show

        show(checked, as_json)
        return
    from kerascli import api
    from kerascli.cli import render
    from kerascli.cli.progress import Display, figures
    from kerascli.trainer import Interrupted

    if not quiet:
        render.problems(checked.objective.warnings)
    with Display(quiet) as display:
        try:
            outcome = api.train(checked, runs_dir, run_name, threads, display)
        except Interrupted as stop:
            click.echo(f"interrupted; the weights so far are in {stop}", err=True)
            raise click.exceptions.Exit(130) from None
    if as_json:
        render.json_document(outcome.facts())
    else:
        for split, logs in outcome.metrics.items():
            display.say(f"{split}: {figures(logs)}")
        if outcome.expectations:
            render.err().print(render.expectations(outcome.expectations))
        click.echo(outcome.run)
    raise click.exceptions.Exit(0 if outcome.met else 1)
