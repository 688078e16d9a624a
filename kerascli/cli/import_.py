"""`kerascli import`: a model that Keras saved becomes a run."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The run directory; by default a new one.")
@click.option("--weights", type=click.Path(path_type=Path), help="The weights of a model.json that has none beside it.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="[INPUT=]N,N", help="Shape of a sample where the file leaves it open."
)
@options.runs_dir
@options.as_json
def command(
    file: Path, output: Path | None, weights: Path | None, shapes: tuple[str, ...], runs_dir: Path, as_json: bool
) -> None:
    """Read a model that Keras saved into a run: its spec, its weights.

    FILE is a .keras archive, a .h5 file of a whole model, or model.json with its weights beside it. Keras need not be
    installed, and no code of the file is ever run.

    Example: kerascli import model.keras -o runs/mobilenet
    """
    from kerascli import importer
    from kerascli.cli import render

    found = importer.read(file, weights, _sizes(shapes))
    run = importer.write(found, runs_dir, output)
    for note in found.found.notes:
        options.say(f"note: {note}")
    if as_json:
        facts = {"run": str(run.path), "spec": str(run.spec), "notes": found.found.notes}
        render.json_document({**facts, "parameters": found.found.graph.count()})
        return
    graph = found.found.graph
    options.say(f"{found.found.loaded.spec.name}: {len(graph.layers)} layers, {graph.count():,} parameters")
    click.echo(run.path)


def _sizes(words: tuple[str, ...]) -> dict[str, list[int]]:
    """`tokens=100` and `28,28,1`."""
    found = {}
    for word in words:
        name, _, sizes = word.rpartition("=")
        try:
            found[name] = [int(part) for part in sizes.split(",")]
        except ValueError:
            raise click.UsageError(f"`--shape {word}` is not numbers: write `--shape 28,28,1`") from None
        if min(found[name]) < 1:
            raise click.UsageError(f"`--shape {word}` has a number below 1")
    return found
