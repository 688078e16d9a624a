"""`kerascli runs`: the run directories."""

from __future__ import annotations

import json

import click


@click.group(name="runs", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the run directories, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_runs)


@command.command(name="list")
@click.option("--runs-dir", default="runs", type=click.Path(), help="Folder of the runs.", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_runs(runs_dir: str = "runs", as_json: bool = False) -> None:
    """Every run, the newest first."""
    from pathlib import Path

    from kerascli.overview import row, table
    from kerascli.run import listing

    rows = [row(run) for run in listing(Path(runs_dir))]
    click.echo(json.dumps(rows, indent=2) if as_json else table(rows) or f"no runs in `{runs_dir}`")


@command.command(name="show")
@click.argument("run")
@click.option("--runs-dir", default="runs", type=click.Path(), help="Folder of the runs.", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_run(run: str, runs_dir: str, as_json: bool) -> None:
    """One run: its facts, its figures, its files."""
    from pathlib import Path

    from kerascli.overview import lines, report
    from kerascli.run import find_run

    found = report(find_run(run, Path(runs_dir)))
    click.echo(json.dumps(found, indent=2) if as_json else lines(found))
