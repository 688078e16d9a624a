"""`kerascli export`: a trained run in another form."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kerascli.cli import options


@click.command(name="export")
@click.argument("run")
@click.option("--format", "form", required=True, help="keras, h5 or json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write; by default the model's name and the form's suffix.",
)
@options.runs_dir
@options.as_json
def command(run: str, form: str, output: Path | None, runs_dir: Path, as_json: bool) -> None:
    """Write the model of a run as a Keras file.

    RUN is a run directory, a unique prefix of its name, `latest`, or an exported .keras file.

    Example: kerascli export latest --format keras -o digits.keras
    """
    from kerascli.run import find
    from kerascli.stored import Stored, export

    written = [str(path) for path in export(Stored(find(run, runs_dir)), form, output)]
    click.echo(json.dumps({"format": form, "files": written}) if as_json else "\n".join(written))
