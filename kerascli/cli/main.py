"""The `kerascli` program: finds commands, runs one, and renders its failure.

To add a command, add one file to this folder, named as the command is typed (`import_.py` for `import`), with

    @click.command()
    @options.spec
    @options.as_json
    def command(spec: Path, as_json: bool) -> None:
        \"\"\"One line that `kerascli --help` shows too.\"\"\"
        from kerascli import …          # imports of the library go inside, so that other commands start quickly
        from kerascli.cli import render

which calls the library once and hands the result to `render`. A Failure needs no handling: it is rendered here, as
JSON where `--json` was typed.
"""

from __future__ import annotations

import atexit
import difflib
import errno
import functools
import gc
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from kerascli.downloads import PROGRESS

_FOLDER = Path(__file__).parent
_SETTINGS = {
    "--epochs": "training.epochs",
    "--batch-size": "training.batch_size",
    "--learning-rate": "optimizer.learning_rate",
    "--lr": "optimizer.learning_rate",
    "--seed": "seed",
    "--limit": "dataset.limit",
}
"""Options of other programs, and the keys of a spec that they mean."""
atexit.register(gc.freeze)  # leaving, nothing is looked at for garbage once more: a fifth of the time to validate
_HELP = re.compile(r'\ndef command\(.*?:\n    """(.*?)(?:"""|\n)', re.DOTALL)


@functools.cache
def commands() -> dict[str, str]:
    """Every command and the first line of its help, read without importing any."""
    found = {file.stem.rstrip("_"): _HELP.search(file.read_text("utf-8")) for file in sorted(_FOLDER.glob("*.py"))}
    return {name: help[1] for name, help in found.items() if help}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(commands())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in commands():
            return None
        stem = name if (_FOLDER / f"{name}.py").exists() else f"{name}_"
        command: click.Command = importlib.import_module(f"kerascli.cli.{stem}").command
        command.name = name
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in commands():
            near = difflib.get_close_matches(name, list(commands()), 1)
            context.fail(f"no command `{name}`" + (f"; did you mean `{near[0]}`?" if near else ""))
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(commands().items()))


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from kerascli import __version__

        click.echo(f"kerascli {__version__}")
        context.exit()


group = _Commands(
    "kerascli",
    help="Train neural nets from one YAML file, on a NumPy engine with Keras's names and meanings.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    params=[
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        )
    ],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0 done, 1 the work failed, 2 wrong words or spec, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    gc.set_threshold(300_000)  # importing makes many objects and no garbage: a sixth of the time to validate
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plug-ins costs as much again
    PROGRESS.set(_downloaded)
    for stream in (sys.stdout, sys.stderr):  # names and frames of tables are more than some terminals' own characters
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(encoding="utf-8")
    try:
        with group.make_context("kerascli", words.copy()) as context:
            group.invoke(context)
            sys.stdout.flush()
        return 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and (key := _SETTINGS.get(error.option_name)):
            click.echo(f"That is the spec's to say; change it with `--set {key}=…`", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # files would tell of theirs as a Problem
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"error: cannot write the output: {error.strerror}", err=True)
            return 1
        return _failed(error, "--json" in words)


def _downloaded(name: str, done: int, total: int | None) -> None:
    from kerascli.cli.download_bar import show

    show(name, done, total)


def _failed(error: Exception, as_json: bool) -> int:
    from kerascli.errors import Failure, problem_data

    if not isinstance(error, Failure):
        traceback.print_exception(error)
        click.echo("\nThis is a fault of kerascli, not of your spec. Please report it with the lines above.", err=True)
        return 1
    from kerascli.cli import render

    if as_json:
        render.json_document({"problems": [problem_data(p) for p in error.problems]})
    else:
        render.problems(error.problems)
    return error.exit_code
