"""What is seen of a training in a terminal: figures are never cut, whatever the width."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from kerascli.cli.progress import Display, duration
from kerascli.runner import Logs

LOGS: Logs = {"loss": 0.41234, "accuracy": 0.9123, "a_metric_with_a_long_name": 1234.5, "mape": 169.03}
LOGS |= {f"val_{name}": value for name, value in LOGS.items()}


def display(width: int, monkeypatch: pytest.MonkeyPatch, terminal: bool = True) -> tuple[Display, io.StringIO]:
    seen = io.StringIO()
    console = Console(file=seen, width=width, force_terminal=terminal, color_system=None, highlight=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("kerascli.cli.render.err", lambda: console)
    found = Display()
    found.epoch_begin(2, 40, 1200, 4800)
    return found, seen


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_the_live_line_fits_and_holds_whole_figures_the_loss_first(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = display(width, monkeypatch)
    logs = [f"{name} {value:.4f}" for name, value in LOGS.items()]
    line = shown._picture(600, "2,000 samples/s", "12 s left", logs).plain
    assert len(line) < width and line.startswith("epoch  3/40")
    parts = re.split(r"  +", line)
    assert all(part in (*logs, "12 s left", "2,000 samples/s") for part in parts[2:] if "600/1200" not in part)
    assert (logs[0] in parts) == (width >= 40)
    assert ("━" in line and "─" in line) == (width >= 80), "told apart without colours too"


@pytest.mark.parametrize("width", [56, 80, 200])
def test_an_epoch_is_wrapped_between_figures_in_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, seen = display(width, monkeypatch)
    shown.epoch_end(2, LOGS, 1e-3, 1.5, best=True)
    lines = seen.getvalue().rstrip("\n").split("\n")
    assert all(len(line) <= width for line in lines) and lines[-1].endswith("  *")
    assert all(line.startswith("    ") for line in lines[1:])
    words = " ".join(" ".join(lines).split())
    assert "loss 0.4123" in words and re.search(
        r"a_metric_with_a_long_name 1234\.5000, val 1234\.5000|val_a_metric", words
    )


def test_a_pipe_gets_one_line_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, seen = display(40, monkeypatch, terminal=False)
    shown.epoch_end(2, LOGS, 1e-3, 1.5, best=True)
    assert seen.getvalue().count("\n") == 1 and "val_mape 169.0300  *" in seen.getvalue()


def test_times_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (0.2, 59.4, 60, 185, 7800)] == ["0 s", "59 s", "1:00", "3:05", "2:10:00"]
