"""`kerascli report`."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("run")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The page to write; by default `report.html` in the run directory.",
)
@click.option("--split", type=click.Choice(["test", "validation", "train"]), help="Default: test, else validation.")
@options.weights
@options.runs_dir
@options.threads
@options.engine
@options.offline
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@options.as_json
def command(
    run: str,
    output: Path | None,
    split: str | None,
    weights: str,
    runs_dir: Path,
    threads: int | None,
    engine: str,
    show: bool,
    as_json: bool,
) -> None:
    """Write one offline HTML page on RUN: figures, curves, mistakes, data, model.

    RUN is a run directory, a unique prefix of its name, `latest`, or an exported .keras file.
    What needs the data is left out where they are gone. Needs `pip install "kerascli[report]"`.

    Example: kerascli report latest --open
    """
    import webbrowser

    from kerascli import api
    from kerascli.cli import render
    from kerascli.run import find
    from kerascli.stored import Stored

    page, facts = api.report(Stored(find(run, runs_dir)), output, split, weights, threads, options.say, engine)
    if as_json:
        render.json_document({"file": str(page), **facts})
    else:
        click.echo(str(page))
    if show:
        webbrowser.open(page.resolve().as_uri())
