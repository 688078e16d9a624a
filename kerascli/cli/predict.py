"""Predict raw samples with a trained run: class names and probabilities, or raw outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("run")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; by default standard output.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl", "npy", "npz"]), help="By default as FILE ends, else csv."
)
@click.option("--top-k", type=click.IntRange(1), help="Only the K likeliest classes.")
@options.weights
@options.runs_dir
@options.threads
@options.engine
@options.offline
@options.as_json
def command(
    run: str,
    inputs: tuple[str, ...],
    output: Path | None,
    form: str | None,
    top_k: int | None,
    weights: str,
    runs_dir: Path,
    threads: int | None,
    engine: str,
    as_json: bool,
) -> None:
    """Predict INPUT with RUN, in the samples' order.

    INPUT is a table (.csv, .tsv, .jsonl, .parquet), arrays (.npy, .npz, .h5), an image, a text, a folder of images or
    texts, or `-` for a table or a text a line on standard input. CSV and JSON lines hold class names and probabilities,
    and the file where a sample is one; npy and npz the raw outputs. `--json` prints {"predictions": [...]}, or with
    `-o` where they are.

    Example: kerascli predict latest penguins_new.csv -o predictions.csv
    """
    from kerascli import api, files, predictions
    from kerascli.cli import render
    from kerascli.run import find
    from kerascli.stored import Stored

    if as_json and form and output is None:
        raise click.UsageError(
            f"`--json` prints one document of its own: leave out `--format {form}`, or add `-o FILE`"
        )
    form = predictions.form_of(output, form)
    if output is None and form in ("npy", "npz") and sys.stdout.isatty():
        raise click.UsageError(f"{form} is no text for a terminal; add `-o FILE`")
    stored = Stored(find(run, runs_dir))
    places: list[str] = []
    model, found = api.predict(stored, inputs, weights, threads, options.say, places, engine)
    if as_json and output is None:
        render.json_document(files.finite({"predictions": list(predictions.rows(model, found, top_k, places))}))
        return
    if form in ("csv", "jsonl"):
        data = predictions.as_text(model, found, form, top_k, places).encode()
    else:
        data = predictions.as_arrays(found, form)
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        files.write_bytes(output, data)
        facts = {"output": str(output), "format": form, "samples": len(next(iter(found.values())))}
        render.json_document(facts) if as_json else click.echo(output)
