"""`kerascli explain`."""

from __future__ import annotations

import click

from kerascli.cli import options


@click.command()
@click.argument("name", required=False)
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """Say what a name of a spec or an error code means.

    NAME is a component such as Conv2D or adam, a section such as training, or an error code such as E203; without it,
    all names are listed.
    """
    from dataclasses import asdict

    from kerascli import explain
    from kerascli.cli import render

    if name is None:
        listing = explain.listing()
        render.json_document(listing) if as_json else render.listing(listing)
        return
    entries = explain.explain(name)
    if as_json:
        render.json_document([asdict(entry) for entry in entries])
    else:
        for entry in entries:
            render.entry(entry)
