"""`kerascli export`: a trained run in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerascli.cli import options

if TYPE_CHECKING:
    from kerascli.stored import Exported


class Command(click.Command):
    """Names the forms that exist where its help is asked for: they are found in a folder, which takes a moment."""

    def get_help(self, context: click.Context) -> str:
        from kerascli.exporters import exporters

        form = next(option for option in self.params if option.name == "form")
        assert isinstance(form, click.Option)
        form.help = f"One of: {', '.join(exporters())}."
        return super().get_help(context)


@click.command(name="export", cls=Command)
@click.argument("run")
@click.option("--format", "form", required=True, help="The form to write.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write; by default the model's name and the form's suffix.",
)
@click.option(
    "--quantize", type=click.Choice(["int8", "float16"]), help="Store weights in fewer bits, where the form can."
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read the file back with another program.")
@options.runs_dir
@options.as_json
def command(
    run: str, form: str, output: Path | None, quantize: str | None, verify: bool, runs_dir: Path, as_json: bool
) -> None:
    """Write the model of a run in another form.

    RUN is a run directory, a unique prefix of its name, `latest`, or an exported .keras file. What was written is read
    back with another program where one is installed (Keras for its files, onnxruntime for `onnx`, plain Python for
    `numpy`), and predictions on random samples are compared. A difference that rounding does not explain is exit
    code 1.

    Example: kerascli export latest --format keras -o digits.keras
    """
    from kerascli.cli import render
    from kerascli.run import find
    from kerascli.stored import Stored, export

    found = export(Stored(find(run, runs_dir)), form, output, quantize, verify)
    if as_json:
        render.json_document(_facts(form, quantize, found))
    else:
        click.echo("\n".join(str(path) for path in found.files))
        for line in _lines(quantize, found):
            click.echo(line, err=True)
    raise click.exceptions.Exit(0 if found.check is None or found.check.passed else 1)


def _facts(form: str, quantize: str | None, found: Exported) -> dict[str, Any]:
    facts: dict[str, Any] = {"format": form, "files": [str(path) for path in found.files]}
    if quantize:
        sizes = {"weights_bytes": found.weights_bytes, "stored_bytes": found.stored_bytes}
        facts |= {"quantize": quantize, **sizes, "quantize_difference": found.rounded}
    if found.check:
        check = found.check
        facts["check"] = {"passed": check.passed, "largest_difference": check.difference, "note": check.note}
    return facts


def _lines(quantize: str | None, found: Exported) -> Sequence[str]:
    """What to know beside the files' names."""
    from kerascli.cli import render

    lines = []
    if quantize:
        before, after = (render.bytes_shown(size) for size in (found.weights_bytes, found.stored_bytes))
        lines.append(f"weights: {before}, as {quantize} {after}")
        if found.rounded is not None:
            lines.append(f"largest difference that {quantize} makes to predictions: {found.rounded:.3g}")
    if check := found.check:
        if check.difference is None:
            lines.append(f"check {'skipped' if check.passed else 'failed'}: {check.note}")
        else:
            words = "read back" if check.passed else "check failed: read back"
            lines.append(f"{words}, the largest difference of predictions is {check.difference:.3g}")
    return lines
