"""Print the compiled program of a training step: operations, shapes, buffers, bytes, FLOPs."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@options.spec
@options.settings
@click.option("--predict", is_flag=True, help="The program of prediction instead of a training step.")
@options.offline
@options.as_json
def command(spec: Path, settings: tuple[str, ...], predict: bool, as_json: bool) -> None:
    """Show the compiled program: operations, places, costs.

    Every operation in its stage, with its inputs, the shape and place of its result, its bytes and FLOPs.
    """
    from kerascli.api import plan
    from kerascli.check import check
    from kerascli.cli import render
    from kerascli.program.listing import describe, lines

    found = describe(*plan(check(spec, settings), predict))
    if as_json:
        render.json_document(found)
    else:
        render.out().print(lines(found))
