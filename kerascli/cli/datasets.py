"""`kerascli datasets`: the data sets that come with the package."""

from __future__ import annotations

import json

import click


@click.group(name="datasets", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the bundled data sets, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_datasets)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_datasets(as_json: bool = False) -> None:
    """Every bundled data set: its name, its rows, what it is."""
    from kerascli.sources.catalogue import describe, names, table

    found = [describe(name) for name in names()]
    click.echo(json.dumps(found, indent=2) if as_json else table(found))


@command.command(name="show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_dataset(name: str, as_json: bool) -> None:
    """One data set: splits, shapes, classes, licence and source."""
    from kerascli.sources.catalogue import describe, lines

    found = describe(name)
    click.echo(json.dumps(found, indent=2) if as_json else lines(found))
