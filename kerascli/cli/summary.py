"""`kerascli summary`."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("target", metavar="SPEC|RUN")
@click.option("--runs-dir", default="runs", type=click.Path(path_type=Path), show_default=True, help="The runs.")
@options.settings
@options.as_json
def command(target: str, runs_dir: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Show the layers of a spec or run: shapes, parameters, memory, FLOPs."""
    from dataclasses import asdict

    from kerascli.cli import render
    from kerascli.summary import summarise

    found = summarise(target, settings, runs_dir)
    if as_json:
        render.json_document(asdict(found))
    else:
        render.summary(found)
