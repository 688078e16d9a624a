"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kerascli.downloads import OFFLINE

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
settings: Decorator = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the spec, as in `training.epochs=3`."
)
spec: Decorator = click.argument("spec", type=click.Path(path_type=Path))
runs_dir: Decorator = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of the runs."
)
threads: Decorator = click.option(
    "--threads", type=click.IntRange(1), help="Workers; by default all cores. Same results."
)
weights: Decorator = click.option(
    "--weights", type=click.Choice(["best", "last"]), default="last", show_default=True, help="Which of its weights."
)


def _stay_offline(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """For this command alone: a process may run several."""
    if value:
        token = OFFLINE.set(True)
        context.call_on_close(lambda: OFFLINE.reset(token))


offline: Decorator = click.option(
    "--offline",
    is_flag=True,
    expose_value=False,
    callback=_stay_offline,
    help="Fetch nothing: data sets must be there already.",
)


def say(text: str) -> None:
    """A message, on standard error."""
    click.echo(text, err=True)
