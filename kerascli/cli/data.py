"""`kerascli data`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@options.spec
@options.settings
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "validation", "test"]),
    help="Look at this one.",
)
@click.option("--strict", is_flag=True, help="Exit code 1 where anything but notes is found.")
@options.offline
@options.as_json
def command(spec: Path, settings: tuple[str, ...], splits: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Show what is in a dataset, and what is suspicious.

    Splits, inputs, targets and columns in figures; then what would spoil training or its figures: copies across splits,
    rare or absent classes, sorted samples, columns that give the target away, values that need scaling.
    """
    from kerascli.api import data

    watch = _Watch()
    found = data(spec, settings, splits, watch)
    watch.end()
    from kerascli.cli import render
    from kerascli.errors import problem_data

    if as_json:
        from dataclasses import asdict

        problems = [problem_data(problem) for problem in found.problems]
        render.json_document({**asdict(found), "problems": problems})
    else:
        from kerascli.cli.data_view import show

        show(found)
        render.problems(found.problems)
    if found.problems:
        raise click.exceptions.Exit(2)
    if strict and found.suspicious:
        raise click.exceptions.Exit(1)


class _Watch:
    """Says how far the look at the samples is, if it takes more than a second: a live line, or one in a pipe."""

    def __init__(self) -> None:
        self._began, self._said = time.monotonic(), 0.0
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._began < 1 or done == total or (self._said and not self._live) or now - self._said < 0.2:
            return
        self._said = now
        line = f"looking at {total:,} samples"
        click.echo(f"\r{line}: {done / total:4.0%}" if self._live else f"{line} …", err=True, nl=not self._live)

    def end(self) -> None:
        if self._said and self._live:
            click.echo("\r\x1b[K", err=True, nl=False)
