"""How far a download is: a bar in a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from kerascli.cli import render

EVERY = 5.0
"""Seconds between two lines in a pipe."""


@dataclass
class _Bar:
    """The file that is being fetched, and its bar if there is a terminal to show one."""

    name: str
    said: float = field(default_factory=time.monotonic)
    progress: Progress | None = None
    task: TaskID | None = None


_bars: list[_Bar] = []


def show(name: str, done: int, total: int | None) -> None:
    """Draw the state of one download; the bar goes away when the file is whole."""
    if not _bars or _bars[-1].name != name:
        _close()
        _bars.append(_begun(name, total))
    bar = _bars[-1]
    if bar.progress is not None and bar.task is not None:
        bar.progress.update(bar.task, completed=done, total=total)
    elif time.monotonic() - bar.said > EVERY:
        bar.said = time.monotonic()
        render.err().print(f"{name}: {decimal(done)}" + (f" of {decimal(total)}" if total else ""))
    if done == total:
        _close()


def _begun(name: str, total: int | None) -> _Bar:
    console = render.err()
    if not console.is_terminal:
        console.print(f"fetching {name}" + (f", {decimal(total)}" if total else ""))
        return _Bar(name)
    columns = (TextColumn("fetching {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    progress = Progress(*columns, console=console, transient=True)
    progress.start()
    return _Bar(name, progress=progress, task=progress.add_task(name, total=total))


def _close() -> None:
    for bar in _bars:
        if bar.progress is not None:
            bar.progress.stop()
    _bars.clear()
