"""Compare the speed of a spec's training on every engine that is installed."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options

ENGINES = "numpy,keras-tensorflow,keras-jax,keras-torch,torch"

WIDTH = 120
"""Columns of the table where no terminal says how many there are."""


@click.command()
@options.spec
@options.settings
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Epochs that are timed, in turn.")
@options.threads
@click.option("--with", "engines", default=ENGINES, show_default=True, metavar="NAMES", help="Engines, with commas.")
@click.option("--samples", type=click.IntRange(1), help="Training samples of an epoch; by default up to 12800.")
@click.option("--cpu", is_flag=True, help="Let Keras see no GPU or TPU.")
@options.offline
@options.as_json
def command(
    spec: Path,
    settings: tuple[str, ...],
    rounds: int,
    threads: int | None,
    engines: str,
    samples: int | None,
    cpu: bool,
    as_json: bool,
) -> None:
    """Time a spec's training on every installed engine.

    Every engine runs in a process of its own with the same data, batches and cores. After a first epoch, which is
    timed from the start of the process, rounds of one epoch are interleaved; speeds are their medians. The last line
    names the engine with which the spec's whole training is over soonest on this machine.

    Example: kerascli bench configs/mnist_cnn.yaml --with numpy,keras-jax
    """
    from kerascli.bench.report import COLUMNS
    from kerascli.bench.runner import bench
    from kerascli.cli import render

    names = list(dict.fromkeys(name.strip() for name in engines.split(",") if name.strip()))
    unknown = [name for name in names if name not in ENGINES.split(",")]
    if unknown or not names:
        raise click.BadParameter(f"no engine `{', '.join(unknown)}`; there are {ENGINES}", param_hint="--with")
    report = bench(spec, settings, rounds, threads, names, samples, lambda text: click.echo(text, err=True), cpu)
    if as_json:
        render.json_document(report.facts())
    else:
        console = render.out()
        console.width = console.width if console.is_terminal else WIDTH
        console.print(render.table(COLUMNS, report.rows(), range(1, len(COLUMNS)), report.heading()))
        if advice := report.advice():
            click.echo(advice)
        for result in report.results:
            if result.reason:
                click.echo(f"{result.name}: {result.status}: {result.reason}", err=True)
    raise click.exceptions.Exit(1 if report.failed else 0)
