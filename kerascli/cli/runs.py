"""`kerascli runs`: the run directories."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kerascli.cli import options


@click.group(name="runs", invoke_without_command=True)
@options.runs_dir
@options.as_json
@click.pass_context
def command(context: click.Context, runs_dir: Path, as_json: bool) -> None:
    """List the run directories, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_runs, runs_dir=runs_dir, as_json=as_json)


@command.command(name="list")
@options.runs_dir
@options.as_json
def list_runs(runs_dir: Path, as_json: bool) -> None:
    """Every run, the newest first."""
    from kerascli.overview import row, table
    from kerascli.run import listing

    rows = [row(run) for run in listing(runs_dir)]
    click.echo(json.dumps(rows, indent=2) if as_json else table(rows) or f"no runs in `{runs_dir}`")


@command.command(name="show")
@click.argument("run")
@options.runs_dir
@options.as_json
def show_run(run: str, runs_dir: Path, as_json: bool) -> None:
    """One run: its facts, its figures, its files."""
    from kerascli.overview import lines, report
    from kerascli.run import find_run

    found = report(find_run(run, runs_dir))
    click.echo(json.dumps(found, indent=2) if as_json else lines(found))
