"""Everything that is shown: problems, tables, JSON. The only door to rich."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kerascli.errors import Problem, Span

if TYPE_CHECKING:
    from kerascli.explain import Entry
    from kerascli.summary import Summary

WIDEST = 160
"""Columns of a source line that are shown; a longer one is cut around the place."""


def out() -> Console:
    """Results. Honours NO_COLOR, and has no colours in a pipe."""
    return Console(highlight=False, markup=False, soft_wrap=True)


def err() -> Console:
    """Progress, messages and problems."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def json_document(data: Any) -> None:
    """One JSON document on standard output; NaN and infinity, which JSON lacks, are null."""
    print(json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def concise(problem: Problem) -> str:
    """A problem on one line: `file:line:column: what, and the mend`."""
    where = problem.where
    place = f"{where.file}:{where.line}:{where.column}: " if isinstance(where, Span) else f"{where}: " if where else ""
    tail = "; ".join(part for part in (problem.label, problem.help) if part)
    return _safe(f"{place}{problem.message}{': ' + tail if tail else ''} [{problem.code}]")


def problems(found: Iterable[Problem]) -> None:
    """Problems in full, on standard error, a blank line between two."""
    console = err()
    for number, problem in enumerate(found):
        if number:
            console.print()
        console.print(diagnostic(problem))


def diagnostic(problem: Problem) -> Text:
    """A problem with its line of the spec and a caret under the place."""
    kind, style = ("warning", "bold yellow") if problem.warning else ("error", "bold red")
    where = problem.where
    width = max(2, len(str(where.line))) if isinstance(where, Span) else 2
    bar = f"{' ' * width} |"
    text = Text()
    text.append(f"{kind}[{problem.code}]", style).append(f": {_safe(problem.message)}", "bold")
    if isinstance(where, Span):
        text.append(f"\n{' ' * (width - 1)}--> ", "blue").append(_safe(f"{where.file}:{where.line}:{where.column}"))
        if where.text.strip():
            line, start, length = _window(where)
            text.append(f"\n{bar}\n{where.line:>{width}} | ", "blue").append(line)
            text.append(f"\n{bar} ", "blue").append(" " * start)
            text.append(f"{'^' * length} {_safe(problem.label)}".rstrip(), style)
        elif problem.label:
            text.append(f"\n{' ' * width} = ", "blue").append(_safe(problem.label))
    elif where is not None:
        text.append(f"\n{' ' * (width - 1)}--> ", "blue").append(_safe(str(where)))
    if problem.label and not isinstance(where, Span):
        text.append(f"\n{' ' * width} = ", "blue").append(_safe(problem.label))
    if problem.help:
        text.append(f"\n{' ' * width} = ", "blue").append("help: ", "bold").append(_safe(problem.help))
    return text


def _window(where: Span) -> tuple[str, int, int]:
    """The part of the line to show, the cells before the place in it, and the cells of the place."""
    line = _safe(where.text.rstrip("\r\n").replace("\t", " "))
    start, end = where.column - 1, max(where.end_column - 1, where.column)
    if len(line) > WIDEST:
        first = max(0, min(start - WIDEST // 2, len(line) - WIDEST))
        line = line[first : first + WIDEST]
        start, end = start - first, end - first
        if first:
            line = f"…{line[1:]}"
    marked = line[start:end]
    return line, cell_len(line[:start]), max(1, cell_len(marked))


def _safe(text: str) -> str:
    """Text that cannot steer a terminal, with the files of the working directory named from there."""
    text = text.replace(f"{Path.cwd()}{os.sep}", "")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = (), title: str = "") -> Table:
    """A table as Keras draws its summary; `right` numbers the columns of figures."""
    found = Table(box=box.SQUARE, title=title or None, title_justify="left", show_lines=False, title_style="bold")
    for index, column in enumerate(columns):
        found.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        found.add_row(*(Text(_safe(cell)) for cell in row))
    return found


def pairs(items: Mapping[str, str]) -> Text:
    """Names and values in two columns."""
    width = max((len(name) for name in items), default=0)
    lines = [f"{name:<{width}}  {value}" for name, value in items.items()]
    return Text(_safe("\n".join(lines)))


def width(text: str) -> int:
    """Columns of a terminal that a text takes: some characters take two."""
    return cell_len(text)


def lines(found: Iterable[tuple[str, str]], width: int | None) -> None:
    """Lines, each with its style; what does not fit into `width` cells is cut off."""
    console = out()
    for line, style in found:
        text = Text(_safe(line), style)
        if width is not None:
            text.truncate(width, overflow="ellipsis")
        console.print(text)


def bytes_shown(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    raise AssertionError


def expectations(found: Iterable[Any]) -> Table:
    """The bounds of `expect:` against what was found."""
    rows = [
        (e.figure, e.bound, "none" if e.found is None else f"{e.found:.4g}", "met" if e.met else "MISSED")
        for e in found
    ]
    return table(("expected", "bound", "found", ""), rows, right=(2,))


def summary(found: Summary) -> None:
    """A model's layers, as Keras shows them, and its totals."""
    stack = all(row.inputs in ((), (before.name,)) for before, row in zip(found.rows, found.rows[1:], strict=False))
    columns = ["Layer (type)", "Output Shape", "Param #", *([] if stack else ["Connected to"])]
    rows = [
        [
            f"{row.name} ({row.type})",
            row.shape,
            f"{row.parameters:,}",
            *([] if stack else [", ".join(row.inputs) or "-"]),
        ]
        for row in found.rows
    ]
    console = out()
    console.print(table(columns, rows, right=(2,), title=f'Model: "{_safe(found.name)}"'))
    totals = {
        " Total params:": f"{found.parameters:,} ({bytes_shown(found.weight_bytes)})",
        " Trainable params:": f"{found.trainable:,} ({bytes_shown(4 * found.trainable)})",
        " Non-trainable params:": f"{found.parameters - found.trainable:,} "
        f"({bytes_shown(4 * (found.parameters - found.trainable))})",
        " Outputs of all layers:": f"{bytes_shown(found.sample_bytes)} a sample",
        " Prediction:": f"{found.flops:,} FLOPs a sample",
    }
    console.print(pairs(totals))


def listing(found: Mapping[str, Sequence[str]]) -> None:
    """Every family and its members."""
    console = out()
    for family, members in found.items():
        console.print(Text(_PLURALS.get(family, f"{family}s"), "bold"))
        console.print(Text(textwrap.fill(", ".join(members), 100, initial_indent="  ", subsequent_indent="  ")))


_PLURALS = {"loss": "losses"}


def entry(found: Entry) -> None:
    """What a name means."""
    console = out()
    console.print(Text.assemble((found.name, "bold"), f"  ({found.family})"))
    console.print(Text(f"\n{found.about}"))
    if found.aliases:
        console.print(Text(f"\nAlso called {', '.join(found.aliases)}."))
    if found.arguments:
        console.print(Text("\nArguments", "bold"))
    for argument in found.arguments:
        default = f" = {argument.default}" if argument.default else "  (needed)"
        console.print(Text.assemble("  ", (argument.name, "cyan"), default, (f"  {argument.kind}", "dim")))
        console.print(Text(textwrap.indent(argument.about, "      ")))
    if found.example:
        console.print(Text("\nExample", "bold"))
        console.print(Text(textwrap.indent(found.example, "  ")))
    console.print()
