"""`kerascli schema`."""

from __future__ import annotations

import click

from kerascli.cli import options


@click.command()
@options.as_json
def command(as_json: bool) -> None:
    """Print the spec's JSON Schema, for editors.

    It is JSON with `--json` and without. Save it and begin a spec with `# yaml-language-server: $schema=<file>`.
    """
    from kerascli.cli import render
    from kerascli.schema import schema

    render.json_document(schema())
