"""Watching a training: a live bar in a terminal, one plain line an epoch in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.live import Live
from rich.text import Text

from kerascli.cli import render
from kerascli.errors import Problem
from kerascli.runner import Averages, Logs

WIDEST, NARROWEST = 26, 8
"""Cells of the bar."""
REFRESH = 0.1
"""Seconds between two pictures."""
LONG = 0.5
"""Seconds of an epoch from which its last step is shown even so, for validation may take a while."""
INDENT = "    "


class Moving:
    """Something that is drawn again and again in a terminal; elsewhere, and where it is quiet, `live` is None."""

    def __init__(self, quiet: bool) -> None:
        self.console, self.quiet = render.err(), quiet
        moving = self.console.is_terminal and not self.console.is_dumb_terminal and not quiet
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if moving else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()


class Display(Moving):
    """A bar with samples a second, time left, loss and metrics; the best epoch so far is marked with a star."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.epoch, self.epochs, self.steps, self.samples = 0, 0, 0, 0
        self.began = self.drawn = 0.0

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self.epoch, self.epochs, self.steps, self.samples = epoch, epochs, steps, samples
        self.began = time.perf_counter()

    def batch_end(self, step: int, averages: Averages) -> None:
        now = time.perf_counter()
        last = step == self.steps and now - self.began > LONG
        if self.live is None or (now - self.drawn < REFRESH and not last):
            return
        self.drawn = now
        speed = averages.samples / max(now - self.began, 1e-9)
        left = f"{duration((self.steps - step) * (now - self.began) / step)} left" if step < self.steps else ""
        logs = [f"{name} {number(value)}" for name, value in averages.logs().items()]
        self.live.update(self._picture(step, f"{speed:,.0f} samples/s", left, logs), refresh=True)

    def _picture(self, step: int, speed: str, left: str, logs: list[str]) -> Text:
        """One line of what fits whole: the loss before the time left, that before the bar, then speed and metrics."""
        parts = {"count": f"{step}/{self.steps}", "speed": speed, "left": left}
        parts |= {f"log {k}": text for k, text in enumerate(logs)}
        head = self._head(self.epoch)
        room = self.console.width - cell_len(head.plain) - 1
        shown, bar = set(), 0
        for key in ("log 0", "count", "left", "bar", "log 1", "speed", *(k for k in parts if k[:3] == "log")):
            size = NARROWEST + 1 if key == "bar" else cell_len(parts[key]) + 2
            if key not in shown and size <= room and parts.get(key) != "":
                shown.add(key)
                room -= size
        if "bar" in shown:
            bar = min(WIDEST, NARROWEST + room // 6 * 6)  # not another length with every digit of a figure
            done = bar * step // self.steps
            head.append("━" * done, "green").append("─" * (bar - done) + " ", "dim")
        for key in parts:
            if key in shown:
                head.append(f"{parts[key]}  ", None if key.startswith("log") else "dim")
        head.rstrip()
        return head

    def epoch_end(self, epoch: int, logs: Logs, rate: float, seconds: float, best: bool) -> None:
        if self.quiet:
            return
        line = self._head(epoch)
        line.append(f"{seconds:.1f} s  ", "dim")
        whole = self.live is None or cell_len(line.plain + figures(logs)) + 3 <= self.console.width
        self._print(line, told(logs) if whole else paired(logs), "*" if best else "")

    def evaluation(self, split: str, logs: Logs) -> None:
        """The figures of a split at the end."""
        if not self.quiet:
            self._print(Text(f"{split}: "), told(logs))

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=self.live is None)

    def problems(self, found: Sequence[Problem]) -> None:
        if not self.quiet:
            render.problems(found)

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        """What is for people has been said."""

    def _head(self, epoch: int) -> Text:
        width = len(str(self.epochs))
        return Text(f"epoch {epoch + 1:>{width}}/{self.epochs}  ", "bold")

    def _print(self, line: Text, pieces: Sequence[str], mark: str = "") -> None:
        """A line of figures; in a terminal it goes on in the next where a figure has no room, in a pipe it is one."""
        width = self.console.width - 3 if self.live else 1 << 30
        column = cell_len(line.plain)
        for piece in pieces:
            if column + cell_len(piece) > width and column > len(INDENT):
                line.rstrip()
                line.append(f"\n{INDENT}")
                column = len(INDENT)
            line.append(f"{piece}  ")
            column += cell_len(piece) + 2
        line.append(mark, "bold green")
        line.rstrip()
        self.console.print(line, soft_wrap=True)


def told(logs: Logs) -> list[str]:
    return [f"{name} {number(value)}" for name, value in logs.items()]


def figures(logs: Logs) -> str:
    """`loss 0.1234  accuracy 0.9612  val_loss …`"""
    return "  ".join(told(logs))


def paired(logs: Logs) -> list[str]:
    """`loss 0.1234, val 0.1301`, `accuracy …`: the same in fewer cells, for narrow terminals."""
    values = {name: number(value) for name, value in logs.items()}
    both = {n: f"{text}, val {values[f'val_{n}']}" if f"val_{n}" in values else text for n, text in values.items()}
    return [f"{n} {text}" for n, text in both.items() if n[:4] != "val_" or n.removeprefix("val_") not in values]


def duration(seconds: float) -> str:
    """`12 s`, `3:05`, `2:10:00`"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def number(value: float) -> str:
    """Four places, or as many digits where that would say nothing."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
