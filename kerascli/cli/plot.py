"""`kerascli plot`."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("target", metavar="SPEC|RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="An .svg, .mmd (Mermaid) or .dot file; else Mermaid is printed.",
)
@options.runs_dir
@options.settings
@options.as_json
def command(target: str, output: Path | None, runs_dir: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Draw the graph: layers, shapes, parameters and what reads what.

    Example: kerascli plot configs/residual_cnn.yaml -o residual.svg
    """
    from dataclasses import asdict

    from kerascli import files
    from kerascli.cli import render
    from kerascli.plot import FORMS, boxes, picture
    from kerascli.summary import graph_of

    form = output.suffix[1:].lower() if output else "mmd"
    if form not in FORMS:
        raise click.UsageError(f"the picture's file must end in .{', .'.join(FORMS)}, not `{output}`")
    graph = graph_of(target, settings, runs_dir)
    text = picture(graph, form)
    if output:
        files.write_text(output, text)
    if as_json:
        render.json_document({"file": str(output) if output else None, "layers": [asdict(box) for box in boxes(graph)]})
    elif output:
        click.echo(str(output))
    else:
        click.echo(text, nl=False)
