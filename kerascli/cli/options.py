"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    "--threads", type=click.IntRange(1), metavar="N", help="Workers; by default all cores. Same results."
)
weights: Decorator = click.option(
    "--weights", type=click.Choice(["best", "last"]), default="last", show_default=True, help="Which of its weights."
)
engine: Decorator = click.option(
    "--engine",
    type=click.Choice(["numpy", "keras"]),
    default="numpy",
    show_default=True,
    help="What computes, whichever engine trained the run.",
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


class Grouped(click.Command):
    """A command whose help shows its options in groups, by their names in the function; the rest in the last."""

    def __init__(self, *given: Any, groups: Mapping[str, Sequence[str]], **named: Any) -> None:
        super().__init__(*given, **named)
        self.groups = groups

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        options = [p for p in self.get_params(context) if isinstance(p, click.Option)]
        records = {option.name: record for option in options if (record := option.get_help_record(context))}
        width = max(len(words) for words, _ in records.values())
        last = list(self.groups)[-1]
        for title, names in self.groups.items():
            shown = [records.pop(name) for name in names] + (list(records.values()) if title == last else [])
            with formatter.section(title):
                formatter.write_dl([(f"{words:<{width}}", help) for words, help in shown], col_max=width)


def say(text: str) -> None:
    """A message, on standard error."""
    click.echo(text, err=True)
