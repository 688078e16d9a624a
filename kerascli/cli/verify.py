"""Train a run once more and compare."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("run")
@options.runs_dir
@options.threads
@click.option("-q", "--quiet", is_flag=True, help="Show the comparison alone.")
@options.as_json
def command(run: str, runs_dir: Path, threads: int | None, quiet: bool, as_json: bool) -> None:
    """Train RUN once more, and compare history and final weights bit for bit.

    What is trained is the run's `resolved.yaml`, in a temporary folder. Exit code 1 means that something differs; then
    it is said, too, whether versions, BLAS, processor or engine are others than those the run was trained with.

    Example: kerascli verify latest
    """
    from kerascli.cli import render
    from kerascli.cli.progress import Display
    from kerascli.run import find_run
    from kerascli.trainer import Interrupted
    from kerascli.verify import verify

    found_run = find_run(run, runs_dir)
    with Display(quiet) as display:
        try:
            found = verify(found_run, threads, display)
        except Interrupted:
            click.echo("interrupted: nothing was compared", err=True)
            raise click.exceptions.Exit(130) from None
    if as_json:
        render.json_document(found.facts())
    else:
        rows = [(c.what, "same" if c.same else "DIFFERS", c.words) for c in found.comparisons]
        render.out().print(render.table(("compared", "", "found"), rows))
        if found.circumstances:
            about = "not the same here, and may round otherwise: "
            render.out().print(about + "; ".join(found.circumstances))
        elif not found.same:
            render.out().print("versions, BLAS, processor and engine are those that the run was trained with")
    raise click.exceptions.Exit(0 if found.same else 1)
