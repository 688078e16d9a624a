"""`kerascli serve`."""

from __future__ import annotations

from pathlib import Path

import click

from kerascli.cli import options


@click.command()
@click.argument("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 lets the network in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME", help="A further name that requests may call the server by."
)
@click.option(
    "--max-bytes", type=click.IntRange(1), default=10_000_000, show_default=True, help="Of the body of a request."
)
@click.option("--max-rows", type=click.IntRange(1), default=10_000, show_default=True, help="Samples in a request.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="From the first byte of a request to its answer.",
)
@options.weights
@options.runs_dir
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads that compute; one is quickest for single samples.",
)
@click.option("-q", "--quiet", is_flag=True, help="No line for each request.")
@options.as_json
def command(
    run: str,
    host: str,
    port: int,
    names: tuple[str, ...],
    max_bytes: int,
    max_rows: int,
    timeout: float,
    weights: str,
    runs_dir: Path,
    threads: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Answer predictions of RUN over HTTP, with a page to try it on.

    RUN is a run directory, a unique prefix of its name, `latest`, or an exported .keras file.
    `POST /predict` takes rows as JSON or CSV, and images; `GET /openapi.json` describes them for this very model. The
    URL is printed once the server listens; Ctrl-C ends it. There is no password: what can reach the port may ask.
    Needs `pip install "kerascli[serve]"`.

    Example: kerascli serve latest --port 8080
    """
    import os
    import sys

    from kerascli.cli import render
    from kerascli.run import find
    from kerascli.serving.refusal import Limits
    from kerascli.serving.server import serve
    from kerascli.stored import Stored

    stored = Stored(find(run, runs_dir))

    def ready(url: str, number: int) -> None:
        if as_json:
            facts = {"url": url, "host": host, "port": number, "run": str(stored.path), "process": os.getpid()}
            render.json_document(facts)
        else:
            open_to = (
                "" if host in ("127.0.0.1", "localhost", "::1") else " the network can reach it, without a password;"
            )
            options.say(f"{stored.path.name} answers at the URL below;{open_to} Ctrl-C ends it")
            click.echo(url)
        sys.stdout.flush()

    def say(line: str) -> None:
        if not quiet:
            options.say(line)

    serve(stored, host, port, Limits(max_bytes, max_rows, timeout), weights, threads, names, ready, say)
