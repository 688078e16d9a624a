"""Optuna's plots of a study, drawn by its matplotlib side and dressed in the page's colours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascli.report import charts
from kerascli.sweep import storage
from kerascli.sweep.space import Goal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

MOST_PLACES = 12
"""Places of the spec that have a picture of their own."""
HEIGHT = 2.9
WIDE = 12.0
COLOURS = "cool"
"""Of trials by their number or worth: to be told apart on a light and on a dark page."""


Words = Mapping[str, str]
"""Short words for places of the spec, or for the values of choices."""
_WORDS = {
    "Trial": "trial",
    "Step": "epoch",
    "Intermediate Value": "",
    "Hyperparameter": "",
    "Hyperparameter Importance": "importance",
}


def pictures(study: Study, goal: Goal, names: Words, words: Words) -> list[tuple[str, str]]:
    """Pictures as SVG, each with its caption; what needs more trials than there are is left out."""
    return list(_pictures(study, goal, names, words))


def _pictures(study: Study, goal: Goal, names: Words, words: Words) -> Iterator[tuple[str, str]]:
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as plots

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return
    figure = goal.monitor
    drawn = functools.partial(_drawn, names={**names, **words})
    yield (
        drawn("Optimization history", lambda: plots.plot_optimization_history(study, target_name=figure)),
        "A point for each trial, and the best so far as a line.",
    )
    if any(len(trial.intermediate_values) > 1 for trial in study.get_trials(deepcopy=False)):
        title = f"{goal.monitor} by epoch"
        yield drawn(title, lambda: plots.plot_intermediate_values(study)), "A line for each trial."
    varied = [path for path in names if len({str(trial.params.get(path)) for trial in done}) > 1]
    if len(varied) > 1 and len(done) > 2:
        judge = PedAnovaImportanceEvaluator()
        yield (
            drawn(
                "Importance",
                lambda: plots.plot_param_importances(study, evaluator=judge, params=varied, target_name=figure),
            ),
            "How much each value decides whether a trial is among the best (PED-ANOVA).",
        )
    for path in varied[:MOST_PLACES]:
        yield (
            drawn(names[path], functools.partial(plots.plot_slice, study, params=[path], target_name=figure)),
            f"{path}: a point for each trial, coloured by its number.",
        )


def parallel(study: Study, goal: Goal, names: Words, words: Words) -> str:
    """The values of all trials side by side; nothing where they are too few."""
    from optuna.trial import TrialState
    from optuna.visualization import matplotlib as plots

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = [path for path in names if len({str(trial.params.get(path)) for trial in done}) > 1]
    if len(varied) < 2 or len(done) < 2:
        return ""
    draw = functools.partial(plots.plot_parallel_coordinate, study, params=varied, target_name=goal.monitor)
    return _drawn("All trials", draw, {**names, **words}, WIDE)


@charts.styled
def _drawn(title: str, draw: Callable[[], Any], names: Words, width: float = charts.SIZE[0]) -> str:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with storage.quiet():
        axes = draw()
        figure = axes.figure
        figure.set_layout_engine("constrained")
        figure.set_size_inches(width, HEIGHT)
        figure.set_facecolor("none")
        for number, each in enumerate(figure.axes):
            _dress(each, title if number == 0 else "", names)
        found = charts.element(figure)
        pyplot.close(figure)
    return found


def _dress(axes: Axes, title: str, names: Words) -> None:
    """The page's colours, sizes and short names in place of Optuna's."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=charts.colour("ink"))
    if axes.get_title("center"):
        axes.set_title("", loc="center")
    axes.set_facecolor("none")
    axes.grid(color=charts.colour("line"), linewidth=0.8)
    for spine in axes.spines.values():
        spine.set_color(charts.colour("line"))
    axes.tick_params(colors=charts.colour("muted"), labelsize=8.5, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        words = axis.label.get_text()
        axis.label.set(color=charts.colour("muted"), fontsize=9, text=_WORDS.get(words, names.get(words, words)))
        _number(axis, names)
    for text in axes.texts:
        text.set(color=charts.colour("ink"), fontsize=8.5)
    for number, line in enumerate(axes.lines):
        line.set(
            color=charts.colour(f"c{number % charts.SERIES}"),
            linewidth=1.4,
            marker="o" if np.size(line.get_xdata()) == 1 else "",
        )
    for number, drawn in enumerate(axes.collections):
        if drawn.get_array() is not None:
            drawn.set_cmap(COLOURS)
        else:
            drawn.set_color(charts.colour(f"c{number % charts.SERIES}"))
    for bar in axes.patches:
        bar.set_facecolor(charts.colour("c0"))
    if (legend := axes.get_legend()) is not None:
        legend.remove()


def _number(axis: Any, names: Words) -> None:
    """Powers of ten as numbers, counts without fractions, and the short names of places."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    labels = [label.get_text() for label in axis.get_ticklabels()]
    if axis.get_scale() == "log":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
        low, high = axis.get_view_interval()
        if high < 10 * low:  # no power of ten may lie between
            axis.set_major_locator(MaxNLocator(nbins=4))
            axis.set_minor_locator(NullLocator())
    elif axis.label.get_text() in ("trial", "epoch"):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    elif any(_short(label, names) != label for label in labels):
        axis.set_ticks(axis.get_ticklocs(), [_short(label, names) for label in labels])


def _short(label: str, names: Words) -> str:
    """The short word for a place or a choice, which Optuna may have quoted or cut."""
    plain = label.removeprefix("'").removesuffix("'")
    begun = plain.removesuffix("...")
    whole = (word for name, word in names.items() if name == plain or (begun != plain and name.startswith(begun)))
    return next(whole, plain)
