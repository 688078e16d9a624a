"""`kerascli export`: a trained run in another form."""

from __future__ import annotations

import json

import click


@click.command(name="export")
@click.argument("run")
@click.option("--format", "form", required=True, help="keras, h5 or json.")
@click.option("-o", "--output", type=click.Path(), help="Where to write; by default the model's name and the suffix.")
@click.option("--runs-dir", default="runs", type=click.Path(), help="Folder of the runs.", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(run: str, form: str, output: str | None, runs_dir: str, as_json: bool) -> None:
    """Write the model of RUN in another form, and print the files written."""
    from pathlib import Path

    from kerascli.run import find
    from kerascli.stored import Stored, export

    written = [str(path) for path in export(Stored(find(run, Path(runs_dir))), form, Path(output) if output else None)]
    click.echo(json.dumps({"format": form, "files": written}) if as_json else "\n".join(written))
