"""File names that a spec gives: inside the run directory, never one of the run's own, with safe placeholders."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from kerascli.errors import Failure, Problem

OWN = {
    "spec.yaml", "resolved.yaml", "run.json", "history.csv", "metrics.json", "model.json", "model.weights.h5",
    "preprocessing.json", "train.log", "curves.svg", "checkpoints/best.weights.h5", "report.html", "mlflow.json",
}  # fmt: skip
"""Files that the run itself writes."""
FORMAT = re.compile(r"([\w *#~-]?[<>=^])?[ +-]?0?\d{0,2}(\.\d{1,2})?[defgEFG%]?")
COUNTS = ("epoch", "batch")


def _inside(text: str) -> str:
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    if not posix.name or "\0" in text or posix.is_absolute() or windows.anchor or ".." in windows.parts:
        raise PydanticCustomError(
            "path_outside",
            "must be a path inside the run directory, such as `{name}`",
            {"name": posix.name or "best.keras"},
        )
    if posix.as_posix() in OWN:
        raise PydanticCustomError("path_own", "is a file that every run writes itself; choose another name")
    return text


def _pattern(text: str) -> str:
    """Only `{name}` and `{name:format}`: what else str.format can do reads attributes or fills the memory."""
    try:
        for name, spec, conversion in _fields(text):
            if conversion or not re.fullmatch(r"[^.\[\]]+", name) or not FORMAT.fullmatch(spec):
                raise ValueError(f"`{name}` has a format that is not allowed")
            format(1 if name in COUNTS else 0.5, spec)
    except ValueError as error:
        raise PydanticCustomError(
            "path_pattern",
            "has a placeholder it cannot fill ({error}); write them like `{{epoch:02d}}` or `{{val_loss:.2f}}`",
            {"error": str(error)},
        ) from error
    return text


def _fields(text: str) -> Iterator[tuple[str, str, str | None]]:
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is not None:
            yield name, spec or "", conversion


InsidePath = Annotated[str, AfterValidator(_inside)]
"""A path inside the run directory."""
PathPattern = Annotated[str, AfterValidator(_inside), AfterValidator(_pattern)]
"""The same with placeholders, such as `{epoch:02d}-{val_loss:.2f}.keras`."""


def names(pattern: str) -> set[str]:
    """The figures that its placeholders ask for."""
    return {name for name, _, _ in _fields(pattern)}


def fill(pattern: str, values: Mapping[str, float]) -> str:
    """The pattern with each placeholder replaced by its formatted value."""
    parts = []
    for literal, name, spec, _ in string.Formatter().parse(pattern):
        parts.append(literal)
        if name is not None:
            if name not in values:
                known = ", ".join(f"`{n}`" for n in values)
                raise Failure(Problem("E512", f"`{pattern}` asks for `{name}`, but there are only {known}"))
            parts.append(format(values[name], spec or ""))
    return "".join(parts)


def place(run_dir: Path, name: str) -> Path:
    """The file in the run directory, its folder made; symbolic links out of the directory are refused."""
    path = run_dir / name
    if not path.resolve().is_relative_to(run_dir.resolve()):
        raise Failure(Problem("E512", f"`{name}` leads out of the run directory", path))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
