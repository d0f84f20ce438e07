"""Figures of a report: learning curves, sample efficiency, switching, success, success by task type. Equal results give
equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hiper.records import atomic_write
from hiper.report import horizon_figures
from hiper.report.colours import colour, dash
from hiper.report.measures import ALL, pick, rates
from hiper.report.study import Study
from hiper.report.table import known
from hiper.report.training import Series, averaged, courses, smooth, window_sums
from hiper.runs.conditions import Condition
from hiper.statistics import over_seeds, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Write each of FIGURES as PNG and PDF; the files written, in a fixed order."""
    import matplotlib

    written = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figures
        for name in FIGURES:
            figure = make(name, studies)
            for suffix, metadata in (
                ("png", {"Software": None}),
                ("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
            ):
                path = folder / f"{name}.{suffix}"
                with atomic_write(path, "wb") as stream:
                    figure.savefig(stream, format=suffix, dpi=150, metadata=metadata)
                written.append(path)
    return written


def make(name: str, studies: Sequence[Study]) -> Figure:
    """One of FIGURES, a column for each study or all of them together."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = FIGURES[name]
    if isinstance(drawing, horizon_figures.Map):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        drawing.draw(figure, studies)
        return figure
    rows = drawing.axes
    figure = Figure(figsize=(6.4 * len(studies), 3.2 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(studies), squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for study, column in zip(studies, axes.T, strict=True):
        drawing.fill(study, *column)
    return figure


def shown(name: str, studies: Sequence[Study]) -> bool:
    """Whether the page has the figure: a map without anything to show is only a file."""
    drawing = FIGURES[name]
    return not isinstance(drawing, horizon_figures.Map) or drawing.shows(studies)


def learning_curves(study: Study, axis: Axes) -> None:
    """Training success over episodes; bands are those of `draw_band`."""
    draw_curves(axis, study, "train/success", "episodes", 100.0)
    for algorithm in study.algorithms:
        draw_band(axis, study, algorithm)
    axis.set(title=_title(study), xlabel="training episodes (moving average)", ylabel="success rate in training (%)")
    axis.set_ylim(0, 100)


def efficiency(study: Study, axis: Axes) -> None:
    """Training success over the tokens generated for it."""
    for algorithm in study.algorithms:
        name, drawn = study.label(algorithm), colour(algorithm)
        for one in courses(study, algorithm):
            rate = smooth(one.success, averaged(len(one.success)))
            axis.plot(
                one.spent["tokens"] / 1e3, 100 * rate, color=drawn, linestyle=dash(algorithm), linewidth=1.4, label=name
            )
            name = "_nolegend_"
    axis.set(title=_title(study), xlabel="thousand generated tokens", ylabel="success rate in training (%)")
    axis.set_ylim(0, 100)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)


def switching(study: Study, upper: Axes, lower: Axes) -> None:
    """Switch rate and mean segment length over iterations."""
    draw_curves(upper, study, "train/switch_rate", "iteration", 1.0)
    upper.set(title=_title(study), ylabel="share of SWITCH turns")
    upper.set_ylim(0, 1)
    draw_curves(lower, study, "train/segment_length", "iteration", 1.0)
    lower.set(xlabel="iteration (moving average)", ylabel="turns per segment")
    lower.set_ylim(bottom=0)


def success(study: Study, axis: Axes) -> None:
    """Evaluated success: bars are means over seeds, dots single seeds, whiskers the 95 % interval for new seeds and
    tasks (of one seed: for new tasks)."""
    conditions = study.main_conditions
    _groups(axis, study, [(condition, ALL) for condition in conditions])
    axis.set_xticks(range(len(conditions)), [f"{c.split}\n{c.decoding}" for c in conditions])
    axis.set(title=_title(study), ylabel="success rate (%)")


def task_types(study: Study, axis: Axes) -> None:
    """The same by task type, on the last split and at its first temperature."""
    if (condition := study.hardest) is None:
        return
    _groups(axis, study, [(condition, name) for name in study.task_types])
    axis.set_xticks(range(len(study.task_types)), [study.task_label(name) for name in study.task_types])
    axis.set(title=f"{_title(study)}, {condition.split}, {condition.decoding}", ylabel="success rate (%)")


def _groups(axis: Axes, study: Study, places: Sequence[tuple[Condition, str]]) -> None:
    """A group of bars, one per algorithm, at each of `places` (where it was played, of which task type)."""
    width = 0.8 / len(study.algorithms)
    for number, algorithm in enumerate(study.algorithms):
        drawn, name = colour(algorithm), study.label(algorithm)
        own = pick(rates(study), algorithm=algorithm)
        offset = (number - (len(study.algorithms) - 1) / 2) * width
        for group, (condition, task_type) in enumerate(places):
            for row in pick(own, condition=condition, task_type=task_type).itertuples():  # none or one
                place, (low, high) = group + offset, known(row)
                axis.bar(place, 100 * row.mean, 0.9 * width, color=drawn, alpha=0.75, label=name)
                name = "_nolegend_"
                axis.vlines(place, 100 * low, 100 * high, color="black", linewidth=1.2)
                dots = {"s": 10, "color": "white", "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
                axis.scatter([place] * len(row.seed_rates), [100 * rate for rate in row.seed_rates], **dots)
    axis.set_ylim(0, 115)  # room for the legend above full bars
    axis.set_yticks(range(0, 101, 20))
    axis.legend(fontsize=8, loc="upper center", ncols=4)


def draw_curves(axis: Axes, study: Study, key: str, counter: str, scale: float) -> None:
    """One thin line per seed and their mean, thick, over the iterations that all seeds have."""
    empty = True
    for algorithm in study.trained:
        rows = [study.training[run.name] for run in study.of(algorithm) if run.name in study.training]
        curves = [curve for one in rows if len((curve := _curve(one, key, counter))[0])]
        for x, y in curves:
            axis.plot(x, scale * y, color=colour(algorithm), linewidth=0.8, alpha=0.4)
        if curves:
            empty = False
            common = min(len(x) for x, _ in curves)
            mean = np.mean([y[:common] for _, y in curves], axis=0)
            name = f"{study.label(algorithm)} ({len(curves)} seed{'s' * (len(curves) > 1)})"
            style = {"color": colour(algorithm), "linestyle": dash(algorithm), "linewidth": 2.2}
            axis.plot(curves[0][0][:common], scale * mean, **style, label=name)
    if empty:
        axis.text(0.5, 0.5, "no training recorded", transform=axis.transAxes, ha="center", va="center")
    else:
        axis.legend(fontsize=8)


def draw_band(axis: Axes, study: Study, algorithm: str) -> None:
    """The 95 % interval of the mean that `draw_curves` draws, over the iterations that all seeds have: Student's over
    seeds at each point, and never narrower than Wilson's of the episodes that the point averages. Of two seeds there is
    none: 9 standard deviations wide to each side, it would fill the figure."""
    found = courses(study, algorithm)
    if len(found) in (0, 2):
        return
    common = min(len(one.success) for one in found)
    window = averaged(common)
    played = [one.played[:common] for one in found]
    trials = sum(window_sums(count, window) for count in played)
    won = sum(
        window_sums(np.rint(one.success[:common] * count), window) for one, count in zip(found, played, strict=True)
    )
    points = zip(*(smooth(one.success[:common], window) for one in found), strict=True)
    bounds = []
    for seeds, wins, total in zip(points, won, trials, strict=True):
        given, drawn = wilson(round(float(wins)), round(float(total))), over_seeds(seeds)
        bounds.append((np.fmax(0.0, np.fmin(drawn.low, given.low)), np.fmin(1.0, np.fmax(drawn.high, given.high))))
    low, high = 100 * np.array(bounds).T
    episodes = found[0].spent["episodes"][:common]
    axis.fill_between(episodes, low, high, color=colour(algorithm), alpha=0.12, linewidth=0)


def _curve(rows: pd.DataFrame, key: str, counter: str) -> tuple[Series, Series]:
    """(x, smoothed y) of one metric; empty where the run does not have it."""
    if key not in rows or counter not in rows:
        return np.array([]), np.array([])
    x, y = rows[[counter, key]].dropna().to_numpy(dtype=np.float64).T
    return x, smooth(y, averaged(len(y)))


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"


@dataclass(frozen=True)
class Drawing:
    """A figure: what fills the axes of a study, how many it has, and what the page says below it."""

    fill: Callable[..., None]
    caption: str
    axes: int = 1


FIGURES: dict[str, Drawing | horizon_figures.Map] = {  # in the order of the page
    "learning_curves": Drawing(
        learning_curves,
        "Success on training tasks over the episodes played. Thin lines are single seeds, thick ones their mean; "
        "moving averages over a fifteenth of a run. Bands are 95 % intervals of the mean for new seeds (Student's "
        "over seeds at each point), never narrower than Wilson's of the episodes that a point averages; with one seed"
        " they are the latter, and say nothing about others; of two there are none, as they would fill the figure. In"
        " a run's first iterations the critic alone learns (training.critic.warmup_iterations), so that success there"
        " is still that of the model training begins from.",
    ),
    "efficiency": Drawing(efficiency, "The same over the tokens that the agent generated in training."),
    "success": Drawing(
        success,
        "Evaluated success: bars are means over seeds, dots single seeds, whiskers 95 % intervals for new seeds and "
        "new tasks (with one seed: for new tasks alone), as in the tables.",
    ),
    "task_types": Drawing(task_types, "The same by task type, on the last split."),
    "switching": Drawing(
        switching, "How often the agent replaces its subgoal, and how many turns it keeps one.", axes=2
    ),
    **horizon_figures.FIGURES,
}
