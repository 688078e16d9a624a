"""Loss and metrics of a trained run on a split of its data, or on other data."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("run")
@click.option("--split", type=click.Choice(["test", "validation", "train"]), help="Default: test, else validation.")
@click.option("--data", type=click.Path(path_type=Path), help="A spec whose dataset, or a file that is evaluated.")
@options.weights
@options.runs_dir
@options.threads
@options.engine
@options.offline
@options.as_json
def command(
    run: str,
    split: str | None,
    data: Path | None,
    weights: str,
    runs_dir: Path,
    threads: int | None,
    engine: str,
    as_json: bool,
) -> None:
    """Show the loss and metrics of RUN on a split of its data.

    RUN is a run directory, a unique prefix of its name, `latest`, or an exported .keras file.

    Example: kerascli evaluate latest --split validation --weights best
    """
    from kerascli import api
    from kerascli.cli import render
    from kerascli.files import finite
    from kerascli.run import find
    from kerascli.stored import Stored

    name, logs = api.evaluate(Stored(find(run, runs_dir)), split, weights, threads, data, options.say, engine)
    if as_json:
        render.json_document(finite({"split": name, "metrics": logs}))
    else:
        render.out().print(render.pairs({"split": name, **{key: f"{value:.6g}" for key, value in logs.items()}}))
