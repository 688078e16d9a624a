"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

as_json: Any = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
settings: Any = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the spec, as in `training.epochs=3`."
)
spec: Any = click.argument("spec", type=click.Path(path_type=Path))
runs_dir: Any = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of the runs."
)
threads: Any = click.option("--threads", type=click.IntRange(1), help="Workers; by default all cores. Same results.")
weights: Any = click.option(
    "--weights", type=click.Choice(["best", "last"]), default="last", show_default=True, help="Which of its weights."
)
