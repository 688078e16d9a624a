"""`kerascli datasets`: the data sets that have a name of their own."""

from __future__ import annotations

import json

import click


@click.group(name="datasets", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the data sets that have a name, show one, or fetch one."""
    if context.invoked_subcommand is None:
        context.invoke(list_datasets)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_datasets(as_json: bool = False) -> None:
    """Every data set: its name, its rows, whether it is here, what it is."""
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


@command.command(name="fetch")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def fetch_dataset(name: str, as_json: bool) -> None:
    """Fetch a data set of Keras's into Keras's own cache, so that it can be used without a network."""
    from kerascli.sources.catalogue import fetched

    paths = [str(path) for path in fetched(name)]
    if as_json:
        click.echo(json.dumps({"name": name, "files": paths}, indent=2))
    elif paths:
        click.echo("\n".join(paths))
    else:
        click.echo(f"{name} comes with kerascli", err=True)
