"""`kerascli summary`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascli.cli import options

if TYPE_CHECKING:
    from kerascli.check import Checked
    from kerascli.summary import Summary


@click.command()
@click.argument("target", metavar="SPEC|RUN")
@options.runs_dir
@options.settings
@options.offline
@options.as_json
def command(target: str, runs_dir: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Show layers, shapes, parameters, memory and FLOPs."""
    from kerascli.summary import summarise

    _print(summarise(target, settings, runs_dir), as_json)


def show(checked: Checked, as_json: bool) -> None:
    """The same for a spec that was checked already."""
    from kerascli.summary import of

    _print(of(checked.graph, checked.loaded.spec.name), as_json)


def _print(found: Summary, as_json: bool) -> None:
    from dataclasses import asdict

    from kerascli.cli import render

    if as_json:
        render.json_document(asdict(found))
    else:
        render.summary(found)
