"""Errors as data: a Problem says what is wrong, where, and how to mend it. Rendering is the command line's business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a text file; lines and columns count from 1, `end_column` is exclusive."""

    file: str
    line: int
    column: int
    end_column: int = 0
    text: str = field(default="", compare=False, repr=False)
    """The line itself, so that it can be shown wherever it came from."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Codes are stable and never reused: E1xx YAML text, E2xx spec, E3xx shapes, E4xx data, E5xx run, E6xx export,
    E7xx requests to a server.
    """

    code: str
    message: str
    """One terse sentence that is enough alone."""
    where: Span | Path | None = None
    label: str = ""
    """Stands under the caret: what was found, or what was probably meant."""
    help: str = ""
    """What to do about it."""
    warning: bool = False
    """Keras would go on, to no avail: shown, but it stops nothing."""


def problem_data(problem: Problem) -> dict[str, Any]:
    """A problem as JSON says it."""
    where = problem.where
    place = (
        {"file": where.file, "line": where.line, "column": where.column, "end_column": where.end_column}
        if isinstance(where, Span)
        else {"file": str(where) if where else None, "line": None, "column": None, "end_column": None}
    )
    severity = "warning" if problem.warning else "error"
    words = {"message": problem.message, "label": problem.label, "help": problem.help}
    return {"code": problem.code, "severity": severity, **words, **place}


def _place(problem: Problem) -> tuple[str, int, int]:
    where = problem.where
    return (where.file, where.line, where.column) if isinstance(where, Span) else (str(where or ""), 0, 0)


class Failure(Exception):
    """Carries the problems of one stage, in the order of their places.

    `exit_code` is the command's: 2 where the spec or the words typed are wrong, 1 where the work failed.
    """

    def __init__(self, problems: Iterable[Problem] | Problem, exit_code: int = 1) -> None:
        found = [problems] if isinstance(problems, Problem) else list(problems)
        self.problems = sorted(found, key=_place)
        self.exit_code = exit_code
        super().__init__("; ".join(p.message for p in self.problems))


class SpecFailure(Failure):
    """The spec alone shows that it cannot work: exit code 2, nothing was written."""

    def __init__(self, problems: Iterable[Problem] | Problem) -> None:
        super().__init__(problems, exit_code=2)
