"""Watching a training: a live bar in a terminal, one plain line an epoch in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.text import Text

from kerascli.cli import render
from kerascli.errors import Problem
from kerascli.runner import Averages, Logs

WIDTH = 26
"""Cells of the bar, at most."""
NARROWEST = 4
"""Cells of a bar that still says something; without room for them there is none."""
REFRESH = 0.1
"""Seconds between two pictures."""


class Display:
    """A bar with samples a second, time left, loss and metrics; the best epoch so far is marked with a star."""

    def __init__(self, quiet: bool = False) -> None:
        self.console, self.quiet = render.err(), quiet
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.epoch, self.epochs, self.steps, self.samples = 0, 0, 0, 0
        self.began = self.drawn = 0.0

    def __enter__(self) -> Self:
        if self.live and not self.quiet:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def epoch_begin(self, epoch: int, epochs: int, steps: int, samples: int) -> None:
        self.epoch, self.epochs, self.steps, self.samples = epoch, epochs, steps, samples
        self.began = time.perf_counter()

    def batch_end(self, step: int, averages: Averages) -> None:
        now = time.perf_counter()
        if self.quiet or self.live is None or now - self.drawn < REFRESH:
            return
        self.drawn = now
        speed = averages.samples / max(now - self.began, 1e-9)
        left = (self.steps - step) * (now - self.began) / step
        told, found = f"{step}/{self.steps}  {speed:,.0f} samples/s  {left:.0f} s left  ", figures(averages.logs())
        line = self._head(self.epoch)
        width = min(WIDTH, self.console.width - len(line) - len(told) - len(found) - 1)
        if width >= NARROWEST:
            done = width * step // self.steps
            line.append("━" * done, "green").append("━" * (width - done) + " ", "dim")
        self.live.update(line.append(told, "dim").append(found), refresh=True)

    def epoch_end(self, epoch: int, logs: Logs, seconds: float, best: bool) -> None:
        if self.quiet:
            return
        line = self._head(epoch)
        line.append(f"{seconds:.1f} s  ", "dim")
        tight = self.live is not None and len(line) + len(figures(logs)) + 3 > self.console.width
        line.append(paired(logs) if tight else figures(logs))
        if best:
            line.append("  *", "bold green")
        self.console.print(line, soft_wrap=True)

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=True)

    def problems(self, found: Sequence[Problem]) -> None:
        if not self.quiet:
            render.problems(found)

    def happened(self, what: str, facts: Mapping[str, Any]) -> None:
        """What is for people has been said."""

    def _head(self, epoch: int) -> Text:
        width = len(str(self.epochs))
        return Text(f"epoch {epoch + 1:>{width}}/{self.epochs}  ", "bold")


def figures(logs: Logs) -> str:
    """`loss 0.1234  accuracy 0.9612  val_loss …`"""
    return "  ".join(f"{name} {number(value)}" for name, value in logs.items())


def paired(logs: Logs) -> str:
    """`loss 0.1234, val 0.1301  accuracy …`: the same in fewer cells, for narrow terminals."""
    told = {name: number(value) for name, value in logs.items()}
    both = {
        name: f"{text}, val {told[f'val_{name}']}" if f"val_{name}" in told else text for name, text in told.items()
    }
    return "  ".join(f"{n} {text}" for n, text in both.items() if n.removeprefix("val_") not in told or n[:4] != "val_")


def number(value: float) -> str:
    """Four places, or as many digits where that would say nothing."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
