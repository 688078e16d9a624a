"""Learning curves as one small SVG: a panel per quantity, training and validation in it, the best epoch marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Row = Mapping[str, float | None]
Point = tuple[float, float]

WIDTH, HEIGHT, COLUMNS = 440, 270, 2
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 52, 44
HEADER = 46

STYLE = """
.paper { fill: #ffffff }
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.panel { font-size: 13px; font-weight: 600 }
.tick, .axis { fill: #656d76; font-size: 11px }
.grid { stroke: #e4e7eb; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.line.train { stroke: #2563eb } .dot.train { fill: #2563eb }
.line.validation { stroke: #d9480f } .dot.validation { fill: #d9480f }
.best { stroke: #2f9e44; stroke-width: 1.5; stroke-dasharray: 4 3 }
.mark { fill: #2f9e44; font-size: 11px }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 }
  text { fill: #e6edf3 }
  .tick, .axis { fill: #9198a1 }
  .grid { stroke: #2d333b }
  .line.train { stroke: #6ea8fe } .dot.train { fill: #6ea8fe }
  .line.validation { stroke: #ffa94d } .dot.validation { fill: #ffa94d }
  .best { stroke: #69db7c }
  .mark { fill: #69db7c }
}
"""
"""Plain rules first, the dark ones over them: viewers without media queries show the light form."""


@dataclass(frozen=True)
class Scale:
    """Maps numbers to pixels, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return decades(self.low, self.high) if self.log else steps(self.low, self.high)


def draw(rows: Sequence[Row], title: str, best: int | None = None) -> str:
    """The whole SVG. `best` is an epoch, counted from 0 as in `history.csv`; the picture counts from 1."""
    names = panels(rows)
    columns = min(COLUMNS, max(1, len(names)))
    width, height = WIDTH * columns, HEADER + HEIGHT * max(1, math.ceil(len(names) / columns))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        _text(LEFT, 30, title, "title"),
    ]
    for k, name in enumerate(names):
        x, y = WIDTH * (k % columns), HEADER + HEIGHT * (k // columns)
        parts += [f'<g transform="translate({x} {y})">', *_panel(rows, name, best), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def panels(rows: Sequence[Row]) -> list[str]:
    """What to draw: the loss, each metric, and the learning rate where it changes."""
    names = dict.fromkeys(name.removeprefix("val_") for row in rows for name in row)
    rates = {row.get("learning_rate") for row in rows}
    hidden = {"epoch", "seconds", *(() if len(rates) > 1 else ("learning_rate",))}
    first = [name for name in ("loss",) if name in names]
    rest = sorted(name for name in names if name not in {*hidden, *first, "learning_rate"})
    return [*first, *rest, *(name for name in ("learning_rate",) if name in names and name not in hidden)]


def _panel(rows: Sequence[Row], name: str, best: int | None) -> Iterable[str]:
    series = {kind: _points(rows, column) for kind, column in (("train", name), ("validation", f"val_{name}"))}
    values = [y for points in series.values() for _, y in points]
    epochs = [float(row["epoch"] or 0) + 1 for row in rows]
    first = min(epochs, default=1)
    across = Scale(first, max(max(epochs, default=1), first + 1), LEFT, WIDTH - RIGHT)
    up = _vertical(values)
    yield _text(LEFT, 24, name.replace("_", " "), "panel")
    yield from _axes(across, up)
    if name != "learning_rate":
        yield from _legend(series)
    marked = best + 1 if best is not None else None
    if marked is not None and across.low <= marked <= across.high:
        yield from _best(across(marked), marked)
    for kind, points in series.items():
        yield from _line(kind, [(across(x), up(y)) for x, y in points])
        for x, y in points:
            if x == marked or len(points) == 1:
                yield f'<circle class="dot {kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5"/>'


def _points(rows: Sequence[Row], column: str) -> list[Point]:
    pairs = [(row["epoch"], row.get(column)) for row in rows]
    return [(float(x) + 1, float(y)) for x, y in pairs if x is not None and y is not None and math.isfinite(y)]


def _vertical(values: Sequence[float]) -> Scale:
    """Room above and below; by logarithm where the values span more than two decades."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    log = 0 < low * 100 < high
    if log:
        return Scale(low / 1.2, high * 1.2, HEIGHT - BOTTOM, TOP, True)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low - room if low < 0 or low > room else 0.0, high + room, HEIGHT - BOTTOM, TOP)


def _axes(across: Scale, up: Scale) -> Iterable[str]:
    for tick in up.ticks():
        y = up(tick)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(LEFT - 8, y + 4, _number(tick), "tick", "end")
    for tick in across.ticks():
        if tick == int(tick):
            yield _text(across(tick), HEIGHT - BOTTOM + 17, _number(tick), "tick", "middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "epoch", "axis", "middle")


def _legend(series: Mapping[str, Sequence[Point]]) -> Iterable[str]:
    x = float(WIDTH - RIGHT)
    for kind, word in (("validation", "validation"), ("train", "training")):
        if series[kind]:
            x -= 84
            yield f'<path class="line {kind}" d="M{x:.0f} 20h14"/>'
            yield _text(x + 20, 24, word, "tick")


def _best(x: float, epoch: int) -> Iterable[str]:
    right = x > WIDTH - 100
    yield f'<path class="best" d="M{x:.1f} {TOP - 4}V{HEIGHT - BOTTOM}"/>'
    yield _text(x + (-5 if right else 5), TOP - 6, f"best: epoch {epoch}", "mark", "end" if right else "start")


def _line(kind: str, points: Sequence[Point]) -> Iterable[str]:
    if len(points) > 1:
        yield f'<path class="line {kind}" d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def steps(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) between `low` and `high`."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    thin = math.ceil(len(powers) / 6)
    return [10.0**k for k in powers if k % thin == 0]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
