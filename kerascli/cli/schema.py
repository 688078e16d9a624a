"""`kerascli schema`."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Print the spec's JSON Schema, for editors.

    Save it and begin a spec with `# yaml-language-server: $schema=<file>`.
    """
    from kerascli.cli import render
    from kerascli.schema import schema

    render.json_document(schema())
