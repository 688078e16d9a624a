"""Charts as SVG for the page, drawn by matplotlib. The only door to it.

Colours are names of the page's CSS variables, so that one picture serves the light and the dark page: matplotlib is
given a stand-in for each, which is replaced in its output. Text stays text, in the page's font.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from kerascli.curves import Row
from kerascli.ops.ir import Array
from kerascli.report.measures import BINS, Calibration, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Given = ParamSpec("Given")

SERIES = 10
"""Colours for curves."""
_COLOURS = {"ink": "#0a0b01", "muted": "#0a0b02", "line": "#0a0b03", "good": "#0a0b04"} | {
    f"c{k}": f"#0a0c{k:02d}" for k in range(SERIES)
}
_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
SIZE = (4.0, 2.9)
"""Inches of 90 pixels: a phone is 360 pixels wide, and no text may become small there."""
DOTS = 90
SHOWN_POINTS = 800
"""Of a scatter plot."""
NAME = 16
"""Characters of a name in a legend."""
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "kerascli",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "figure.dpi": DOTS,
    "savefig.dpi": 72,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _COLOURS["muted"],
    "axes.labelcolor": _COLOURS["muted"],
    "axes.titlecolor": _COLOURS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": _COLOURS["line"],
    "grid.linewidth": 0.8,
    "xtick.color": _COLOURS["muted"],
    "ytick.color": _COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": _COLOURS["ink"],
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
}


class Chart:
    """One picture: make it, draw into `axes`, take `svg`."""

    def __init__(self, title: str, size: tuple[float, float] = SIZE) -> None:
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=size)
        self.axes: Axes = self.figure.add_subplot()
        self.axes.set_title(title)

    def svg(self) -> str:
        """The picture as an element of a page."""
        return element(self.figure)


def element(figure: Figure) -> str:
    """A picture as an element of a page."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the page's fonts have it
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return _for_page(stream.getvalue())


def styled(draw: Callable[Given, str]) -> Callable[Given, str]:
    """A function that draws with the page's settings and leaves those of the process as they are."""

    @functools.wraps(draw)
    def found(*given: Given.args, **named: Given.kwargs) -> str:
        import matplotlib

        with matplotlib.rc_context(SETTINGS):
            return draw(*given, **named)

    return found


def colour(name: str) -> str:
    """The stand-in of a CSS variable."""
    return _COLOURS[name]


def _for_page(text: str) -> str:
    """Without what is a file's own: prolog, styles of everything, size in points, names that others have too."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    text = re.sub(r"<svg[^>]*>", f'<svg viewBox="{box[1] if box else "0 0 1 1"}" aria-hidden="true">', text, count=1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)
    for name, stand_in in _COLOURS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return re.sub(r"\s*\n\s*", " ", text).strip()


# ------------------------------------------------------------------ training


@styled
def curve(rows: Sequence[Row], name: str, best: int | None) -> str:
    """A figure by epoch, on the training and on the validation data, the best epoch marked."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    chart = Chart(name.replace("_", " "))
    axes = chart.axes
    known: list[float] = []
    for k, (column, label) in enumerate(((name, "training"), (f"val_{name}", "validation"))):
        points = [(row["epoch"], row.get(column)) for row in rows]
        x = [float(e) + 1 for e, value in points if e is not None and value is not None and np.isfinite(value)]
        y = [float(value) for _, value in points if value is not None and np.isfinite(value)]
        if y:
            mark = "o" if len(y) == 1 else ""
            kept = None if name == "learning_rate" else label
            axes.plot(x, y, color=colour(f"c{k}"), linestyle=_STYLES[k], marker=mark, label=kept)
            known += y
    if known and min(known) > 0 and max(known) > 100 * min(known):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if best is not None and known:
        axes.axvline(
            best + 1, color=colour("good"), linewidth=1.2, linestyle=_STYLES[2], label=f"best: epoch {best + 1}"
        )
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5 if len(rows) < 2 else 1 - 0.02 * len(rows), len(rows) * 1.02 + 0.5 * (len(rows) < 2))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
    return chart.svg()


@styled
def bars(title: str, values: Sequence[float], across: str, up: str) -> str:
    """A bar for each value, counted from 1."""
    from matplotlib.ticker import MaxNLocator

    chart = Chart(title)
    chart.axes.bar(np.arange(1, len(values) + 1), values, color=colour("c0"), width=0.8)
    chart.axes.set_xlabel(across)
    chart.axes.set_ylabel(up)
    chart.axes.set_xlim(0.4, len(values) + 0.6)
    chart.axes.grid(False, axis="x")
    chart.axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    return chart.svg()


# ------------------------------------------------------------------ data


@styled
def balance(title: str, names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    """The share of each class in each split: bars with names, or dots where there are many classes."""
    many = len(names) > 20
    room = 0.26 * max(len(names), 3) * max(1, len(counts) * 0.6)
    chart = Chart(title, (SIZE[0], SIZE[1] if many else max(2.0, room + 1.0)))
    axes, place = chart.axes, np.arange(len(names))
    for k, (split, numbers) in enumerate(counts.items()):
        share = 100 * np.asarray(numbers, float) / max(sum(numbers), 1)
        if many:
            axes.plot(place, share, ".", color=colour(f"c{k}"), markersize=4, label=split)
        else:
            height = 0.8 / len(counts)
            axes.barh(place + (k - (len(counts) - 1) / 2) * height, share, height, color=colour(f"c{k}"), label=split)
    if many:
        axes.set_xlabel("class, by its number")
        axes.set_ylabel("% of the split")
        axes.set_ylim(bottom=0)
    else:
        axes.set_yticks(place, [cut(name) for name in names])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("% of the split")
    if len(counts) > 1:
        chart.figure.legend(loc="outside upper right", ncols=3)
    return chart.svg()


# ------------------------------------------------------------------ classes


@styled
def heat(counts: Array) -> str:
    """A confusion matrix of many classes: the darker a field, the larger its share of its row."""
    from matplotlib.colors import ListedColormap

    chart = Chart("confusion", (SIZE[0], 3.9))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # one colour that shows on light and dark pages; how much of it there is, is the value
    steps = np.column_stack([np.tile([0.20, 0.45, 0.95], (256, 1)), np.linspace(0, 1, 256) ** 0.5])
    chart.axes.imshow(share, cmap=ListedColormap(steps), vmin=0, vmax=1, interpolation="none", aspect="equal")
    chart.axes.grid(False)
    chart.axes.set_xlabel("predicted class, by its number")
    chart.axes.set_ylabel("true class, by its number")
    return chart.svg()


@styled
def reliability(found: Calibration, what: str) -> str:
    """The share that came true against the probability, and how many predictions there are of each."""
    chart = Chart("calibration", (SIZE[0], 3.3))
    axes, middle = chart.axes, (np.arange(BINS) + 0.5) / BINS
    share = found.counts / max(found.counts.sum(), 1)
    axes.bar(middle, share, 0.9 / BINS, color=colour("c0"), alpha=0.25, label="share of the predictions")
    axes.plot([0, 1], [0, 1], color=colour("muted"), linewidth=1, linestyle=_STYLES[1], label="perfect")
    there = found.counts > 0
    axes.plot(
        found.mean_probability[there], found.observed[there], "o-", color=colour("c1"), markersize=4, label="came true"
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=what, ylabel="share")
    chart.figure.legend(loc="outside lower center", ncols=2)
    return chart.svg()


@styled
def thresholds(title: str, curves: Mapping[str, Curve], across: str, up: str, level: float | None) -> str:
    """Curves over all thresholds, one a class; `level` is what guessing gives, None for the diagonal."""
    chart = Chart(title, (SIZE[0], SIZE[1] + 0.2 * ((len(curves) + 1) // 2)))
    axes = chart.axes
    guess = ([0, 1], [0, 1]) if level is None else ([0, 1], [level, level])
    axes.plot(*guess, color=colour("muted"), linewidth=1, linestyle=_STYLES[2])
    for k, (name, found) in enumerate(curves.items()):
        style = _STYLES[k // 3 % len(_STYLES)]
        axes.plot(found.x, found.y, color=colour(f"c{k % SERIES}"), linestyle=style, label=cut(name), linewidth=1.5)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=across, ylabel=up)
    if len(curves) > 1:
        chart.figure.legend(loc="outside lower center", ncols=2)
    return chart.svg()


# ------------------------------------------------------------------ numbers


@styled
def against(true: Array, predicted: Array) -> str:
    """Predicted numbers against the true ones."""
    chart = Chart("predicted against true")
    x, y = true[:SHOWN_POINTS], predicted[:SHOWN_POINTS]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    chart.axes.plot(x, y, "o", color=colour("c0"), alpha=0.4, markersize=3, markeredgewidth=0)
    chart.axes.plot([low, high], [low, high], color=colour("c1"), linewidth=1.2, linestyle=_STYLES[1])
    chart.axes.set(xlabel="true", ylabel="predicted")
    return chart.svg()


@styled
def residuals(true: Array, predicted: Array) -> str:
    """Errors by the predicted number: a pattern in them is something that the model has not learnt."""
    chart = Chart("error by prediction")
    x, y = predicted[:SHOWN_POINTS], (predicted.astype(np.float64) - true)[:SHOWN_POINTS]
    chart.axes.plot(x, y, "o", color=colour("c0"), alpha=0.4, markersize=3, markeredgewidth=0)
    chart.axes.axhline(0, color=colour("c1"), linewidth=1.2, linestyle=_STYLES[1])
    chart.axes.set(xlabel="predicted", ylabel="predicted − true")
    return chart.svg()


@styled
def spread(true: Array, predicted: Array) -> str:
    """How large errors are how often."""
    chart = Chart("errors")
    chart.axes.hist(predicted.astype(np.float64) - true, bins=30, color=colour("c0"))
    chart.axes.axvline(0, color=colour("c1"), linewidth=1.2, linestyle=_STYLES[1])
    chart.axes.set(xlabel="predicted − true", ylabel="predictions")
    chart.axes.grid(False, axis="x")
    return chart.svg()


def cut(name: str) -> str:
    """A name that fits a legend."""
    name = " ".join(name.split())
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def png(pixels: Array) -> bytes:
    """Bytes of (height, width, channels) as a file: grey, or red, green, blue and perhaps opacity."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    imsave(stream, np.ascontiguousarray(colours), format="png", metadata={"Software": "kerascli"})
    return stream.getvalue()
