"""`kerascli runs`: the run directories."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from kerascli.cli import options, report


@click.group(name="runs", invoke_without_command=True)
@options.runs_dir
@options.as_json
@click.pass_context
def command(context: click.Context, runs_dir: Path, as_json: bool) -> None:
    """List the run directories; show, compare, report on or delete them."""
    context.default_map = {name: {"runs_dir": runs_dir, "as_json": as_json} for name in command.commands}
    if context.invoked_subcommand is None:
        context.invoke(list_runs, runs_dir=runs_dir, as_json=as_json)


def _width() -> int | None:
    """Cells of a line of the terminal; in a pipe lines are as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@command.command(name="list", short_help="Every run, the newest first.")
@click.option("--status", type=click.Choice(["running", "completed", "interrupted", "failed"]), help="Only such runs.")
@click.option("--name", "pattern", metavar="PATTERN", help="Only runs whose name fits, as in `mnist*`.")
@click.option("--sort", metavar="FIGURE", help="The best in a figure first, as in `test_accuracy`; else the newest.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many.")
@options.runs_dir
@options.as_json
def list_runs(
    runs_dir: Path,
    as_json: bool,
    status: str | None = None,
    pattern: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> None:
    """Every run, the newest first: status, epochs, the curve of its loss, its figures."""
    from kerascli.overview import chosen, row, table
    from kerascli.run import listing

    rows = [row(run) for run in chosen(listing(runs_dir), status, pattern)]
    if sort is not None:
        from kerascli.comparison import ranked

        rows = ranked(rows, sort)
    rows = rows[:limit]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        click.echo(table(rows, rows[0]["run"] if rows and sort else None, _width()) or f"no runs in `{runs_dir}`")
        if any(each["status"] == "interrupted" for each in rows):
            options.say("a run that was interrupted goes on with: kerascli train --resume RUN")


@command.command(name="show")
@click.argument("run")
@options.runs_dir
@options.as_json
def show_run(run: str, runs_dir: Path, as_json: bool) -> None:
    """One run: its facts, its figures, its files."""
    from kerascli.overview import lines, report
    from kerascli.run import find_run

    found = report(find_run(run, runs_dir))
    click.echo(json.dumps(found, indent=2) if as_json else lines(found, _width()))


@command.command(name="compare", short_help="Runs side by side, the best figures marked.")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@options.runs_dir
@options.as_json
def compare_runs(names: tuple[str, ...], runs_dir: Path, as_json: bool) -> None:
    """Runs side by side: figures, the best marked, and the keys in which their specs differ.

    Example: kerascli runs compare mnist_cnn-20260101 latest
    """
    from kerascli.comparison import compare, comparison_text
    from kerascli.run import find_run

    found = compare([find_run(name, runs_dir) for name in names])
    click.echo(json.dumps(found, indent=2) if as_json else comparison_text(found, _width()))


@command.command(name="diff", short_help="What differs between two runs.")
@click.argument("a", metavar="RUN")
@click.argument("b", metavar="RUN")
@options.runs_dir
@options.as_json
def diff_runs(a: str, b: str, runs_dir: Path, as_json: bool) -> None:
    """What differs between two runs: the resolved spec line by line, figures, versions, machine."""
    from kerascli.comparison import diff, diff_text
    from kerascli.run import find_run

    found = diff(find_run(a, runs_dir), find_run(b, runs_dir))
    click.echo(json.dumps(found, indent=2) if as_json else diff_text(found))


command.add_command(report.command, "report")  # the same as `kerascli report`


@command.command(name="rm")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.runs_dir
@options.as_json
def remove_runs(names: tuple[str, ...], yes: bool, runs_dir: Path, as_json: bool) -> None:
    """Delete run directories, with their weights.

    A run that is being trained is left alone, and so is a run directory outside of the folder of the runs.
    """
    from kerascli.run import find_run, remove, require_removable

    found = list({run.path.resolve(): run for run in (find_run(name, runs_dir) for name in names)}.values())
    for run in found:
        require_removable(run, runs_dir)
    if not yes:
        click.echo("\n".join(str(run.path) for run in found), err=True)
        click.confirm(f"Delete {len(found)} run{'s' * (len(found) > 1)}?", abort=True, err=True)
    for run in found:
        remove(run)
    if as_json:
        click.echo(json.dumps({"removed": [str(run.path) for run in found]}, indent=2))
