"""Figures of a report: learning curves, sample efficiency, success, differences, success by task type, switching. Equal
results give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hiper.records import atomic_write
from hiper.report import horizon_figures
from hiper.report.colours import colour, dash
from hiper.report.measures import ALL, differences, pick, rates
from hiper.report.study import Study
from hiper.report.table import known
from hiper.report.training import Series, averaged, courses, smooth, window_sums
from hiper.runs.conditions import Condition
from hiper.runs.run_files import value_at
from hiper.statistics import over_seeds, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


AXIS = 3.2  # inches
MOST_NAMES, LONGEST_ROW = 6, 60  # of a legend within its axes; letters
MOST_BESIDE = 12  # names beside axes; more are below them, and bands of so many would cover each other
LEGEND_COLUMN, LEGEND_ROW = 3.2, 0.2  # inches, of a legend below
MOST_BARS = 8  # in a group that a legend can name: the bars of more algorithms have their names below them
BAR_GROUP = 0.8  # the width of a group, of 1 from one to the next
BARS, NAMES = 1.5, 1.2  # inches: the height of such bars, and of the names
VALIDATION = "validation/success"
UNTRAINED = "no training recorded"
SVG_COLOURS = {"#ffffff": "paper", "#000000": "ink", "black": "ink", "#cccccc": "line"}  # of matplotlib's defaults
SVG_STYLE = (
    ":root { --paper: #ffffff; --ink: #1d2530; --line: #cccccc; fill: #1d2530 } "
    "@media (prefers-color-scheme: dark) "
    "{ :root { --paper: #15191f; --ink: #dfe4ea; --line: #4a535e; fill: #dfe4ea } }"
)


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn: its files and, for the page, what each of its panels shows and its SVG text."""

    name: str
    files: tuple[Path, ...]
    panels: tuple[tuple[str, str], ...]


def draw(studies: Sequence[Study], folder: Path) -> list[Drawn]:
    """Write each of FIGURES as PNG and PDF, in a fixed order."""
    import matplotlib

    drawn = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figures
        for name in FIGURES:
            figure = make(name, studies)
            written = []
            for suffix, metadata in (
                ("png", {"Software": None}),
                ("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
            ):
                path = folder / f"{name}.{suffix}"
                with atomic_write(path, "wb") as stream:
                    figure.savefig(stream, format=suffix, dpi=150, metadata=metadata)
                written.append(path)
            together = isinstance(FIGURES[name], horizon_figures.Map)
            parts = [studies] if together else [[study] for study in studies]
            single = [figure if len(part) == len(studies) else make(name, part) for part in parts]
            titles = ("; ".join(map(_title, part)) for part in parts)
            drawn.append(Drawn(name, tuple(written), tuple(zip(titles, map(to_svg, single), strict=True))))
    return drawn


def to_svg(figure: Figure) -> str:
    """The figure for a page that is light or dark: white and black follow the reader's choice, all colours stay."""
    import matplotlib

    stream = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hiper"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    for colour_drawn, name in SVG_COLOURS.items():
        text = text.replace(f": {colour_drawn}", f": var(--{name})")
    return text.replace("<defs>", f"<style>{SVG_STYLE}</style><defs>", 1)


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
    heights = drawing.heights(studies)
    figure = Figure(figsize=(6.4 * len(studies), sum(heights) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), len(studies), squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for study, column in zip(studies, axes.T, strict=True):
        drawing.fill(study, *column)
    name_below(figure)
    return figure


def name_below(figure: Figure) -> None:
    """One legend under all axes where a panel has names that neither fit into it nor beside it."""
    found: dict[str, Any] = {}
    for axis in figure.axes:
        handles, names = axis.get_legend_handles_labels()
        if len(names) > MOST_BESIDE:
            found |= {name: handle for name, handle in zip(names, handles, strict=True) if name not in found}
    if found:
        columns = max(1, round(figure.get_figwidth() / LEGEND_COLUMN))
        rows = -(-len(found) // columns)
        figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, fontsize=8)


def shown(name: str, studies: Sequence[Study]) -> bool:
    """Whether the page has the figure: a map without anything to show is only a file."""
    drawing = FIGURES[name]
    return not isinstance(drawing, horizon_figures.Map) or drawing.shows(studies)


def learning_curves(study: Study, axis: Axes, held_out: Axes | None = None) -> None:
    """Training success over episodes, its bands those of `draw_band`; below it success on validation tasks."""
    draw_curves(axis, study, "train/success", "episodes", 100.0)
    for algorithm in study.algorithms if len(study.algorithms) <= MOST_BESIDE else ():
        draw_band(axis, study, algorithm)
    axis.set(title=_title(study), ylabel=f"training tasks, {_drawn(study, 'decoding.temperature')}\nsuccess rate (%)")
    axis.set_ylim(0, 100)
    lowest = axis
    if held_out is not None:
        temperature = _drawn(study, "training.validation.temperature")
        named = axis.get_legend_handles_labels()[1]
        draw_curves(held_out, study, VALIDATION, "episodes", 100.0, smoothed=False, named=named)
        held_out.set(ylabel=f"held-out tasks, {temperature}\nsuccess rate (%)")
        held_out.set_ylim(0, 100)
        held_out.set_xlim(axis.get_xlim())
        lowest = held_out
    lowest.set_xlabel("training episodes")


def validated(studies: Sequence[Study]) -> bool:
    """Whether any run has played validation tasks."""
    return any(
        VALIDATION in rows and rows[VALIDATION].notna().any() for one in studies for rows in one.training.values()
    )


def _drawn(study: Study, key: str) -> str:
    """`T = 0.4` of a setting, all of them where runs differ."""
    found = [value_at(run.settings, key) for run in study.runs if run.algorithm in study.trained]
    drawn = dict.fromkeys(f"T = {value}" if value else "greedy" for value in found if value is not None)
    return " or ".join(drawn) or "temperature not known"


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
        draw_legend(axis)
    else:
        axis.text(0.5, 0.5, UNTRAINED, ha="center", va="center", transform=axis.transAxes)


def switching(study: Study, upper: Axes, lower: Axes) -> None:
    """Switch rate and mean segment length over iterations."""
    draw_curves(upper, study, "train/switch_rate", "iteration", 1.0)
    upper.set(title=_title(study), ylabel="share of SWITCH turns")
    upper.set_ylim(0, 1)
    draw_curves(lower, study, "train/segment_length", "iteration", 1.0)
    lower.set(xlabel="iteration (moving average)", ylabel="turns per segment")
    lower.set_ylim(bottom=0)


Place = tuple[Condition, str]  # where it was played, of which task type


def success(study: Study, *axes: Axes) -> None:
    """Evaluated success: bars are means over seeds, dots single seeds, whiskers the 95 % interval for new seeds and
    tasks (of one seed: for new tasks)."""
    names = [f"{place[0].split}\n{place[0].decoding}" for place in _conditions(study)]
    _bars(axes, study, _conditions(study), names, _title(study))


def task_types(study: Study, *axes: Axes) -> None:
    """The same by task type, on the last split and at its first temperature."""
    if (condition := study.hardest) is None:
        return
    names = [study.task_label(name) for name in study.task_types]
    _bars(axes, study, _types(study), names, f"{_title(study)}, {condition.split}, {condition.decoding}")


def _conditions(study: Study) -> list[Place]:
    return [(condition, ALL) for condition in study.main_conditions]


def _types(study: Study) -> list[Place]:
    return [] if study.hardest is None else [(study.hardest, name) for name in study.task_types]


def _bar_heights(places: Callable[[Study], list[Place]], studies: Sequence[Study]) -> list[float]:
    """One axis; of many algorithms, one for each place, and room for the names below the last."""
    if max(len(study.algorithms) for study in studies) <= MOST_BARS:
        return [AXIS]
    rows = max(1, *(len(places(study)) for study in studies))
    return [BARS + NAMES / rows] * rows


def _bars(axes: Sequence[Axes], study: Study, places: Sequence[Place], names: Sequence[str], title: str) -> None:
    """All places side by side; where many algorithms are compared each on axes of its own, with named bars."""
    many = len(axes) > 1 or len(study.algorithms) > MOST_BARS
    for axis, place, name in zip(axes, places, names, strict=False) if many else ():
        _groups(axis, study, [place], legend=False)
        axis.set(ylabel=f"{name}\nsuccess (%)", ylim=(0, 105), xticks=_offsets(study), xticklabels=[])
        axis.tick_params(axis="x", length=0)
    if many:
        for axis in axes[max(1, len(places)) :]:  # another study has more places
            axis.set_axis_off()
        lowest = axes[max(1, len(places)) - 1]
        lowest.set_xticks(_offsets(study), [study.label(name) for name in study.algorithms], rotation=60, fontsize=8)
        for label in lowest.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    else:
        _groups(axes[0], study, places)
        axes[0].set_xticks(range(len(places)), names)
        axes[0].set_ylabel("success rate (%)")
    axes[0].set_title(title)


def _offsets(study: Study) -> list[float]:
    """Where the bars of a group stand, from its middle."""
    count = len(study.algorithms)
    return [(number - (count - 1) / 2) * BAR_GROUP / count for number in range(count)]


def differences_between(study: Study, axis: Axes) -> None:
    """Differences of success under the condition that asks most, each with its 95 % interval: a filled dot for new
    seeds and tasks, a hollow one for new tasks alone."""
    rows = compared_rows(study)
    axis.axvline(0, color="black", linewidth=1)
    for place, row in enumerate(rows):
        low, high = (100 * end for end in known(row))
        alone = row.seeds == 1
        axis.plot([low, high], [place, place], color=colour(row.algorithm), linewidth=2, solid_capstyle="butt")
        axis.plot(
            [100 * row.difference],
            [place],
            marker="o",
            markersize=7,
            color=colour(row.algorithm),
            markerfacecolor="white" if alone else colour(row.algorithm),
        )
    axis.set_yticks(range(len(rows)), [row.comparison for row in rows], fontsize=9)
    axis.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    hardest = study.hardest
    where = "" if hardest is None else f", {hardest.split}, {hardest.decoding}"
    axis.set(title=f"{_title(study)}{where}", xlabel="difference of success rates (points)")
    axis.grid(visible=False, axis="y")
    if not rows:
        axis.text(0.5, 0.5, "nothing to compare", transform=axis.transAxes, ha="center", va="center")


def compared_rows(study: Study) -> list[Any]:
    """The differences under the condition that asks most."""
    found = differences(study)
    return [] if study.hardest is None else [*pick(found, condition=study.hardest).itertuples()]


def _groups(axis: Axes, study: Study, places: Sequence[Place], legend: bool = True) -> None:
    """A group of bars, one per algorithm, at each of `places`."""
    width = BAR_GROUP / len(study.algorithms)
    for algorithm, offset in zip(study.algorithms, _offsets(study), strict=True):
        drawn, name = colour(algorithm), study.label(algorithm)
        own = pick(rates(study), algorithm=algorithm)
        for group, (condition, task_type) in enumerate(places):
            for row in pick(own, condition=condition, task_type=task_type).itertuples():  # none or one
                place, (low, high) = group + offset, known(row)
                axis.bar(place, 100 * row.mean, 0.9 * width, color=drawn, alpha=0.75, label=name)
                name = "_nolegend_"
                axis.vlines(place, 100 * low, 100 * high, color="black", linewidth=1.2)
                dots = {"s": 10, "color": "white", "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
                axis.scatter([place] * len(row.seed_rates), [100 * rate for rate in row.seed_rates], **dots)
    axis.set_yticks(range(0, 101, 20))
    if legend:
        axis.set_ylim(0, 115)  # room for the legend above full bars
        draw_legend(axis, loc="upper center", ncols=4)


def draw_legend(axis: Axes, **inside: Any) -> None:
    """Within the axes where there is room for the names, else beside them or below all, so that it covers nothing."""
    names = axis.get_legend_handles_labels()[1]
    row = sum(sorted(map(len, names))[-inside.get("ncols", 1) :])
    if len(names) > MOST_BESIDE:
        return  # `name_below`
    beside = len(names) > MOST_NAMES or row > LONGEST_ROW
    axis.legend(fontsize=8, **({"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if beside else inside))


def draw_curves(
    axis: Axes,
    study: Study,
    key: str,
    counter: str,
    scale: float,
    smoothed: bool = True,
    named: Collection[str] = (),
) -> None:
    """One thin line per seed and their mean, thick, over the iterations that all seeds have; not `smoothed`: with a dot
    where it was measured. No legend where the axes above have all the names: it would cover curves."""
    empty = True
    for algorithm in study.trained:
        rows = [study.training[run.name] for run in study.of(algorithm) if run.name in study.training]
        curves = [curve for one in rows if len((curve := _curve(one, key, counter, smoothed))[0])]
        for x, y in curves:
            axis.plot(x, scale * y, color=colour(algorithm), linewidth=0.8, alpha=0.4)
        if curves:
            empty = False
            common = min(len(x) for x, _ in curves)
            mean = np.mean([y[:common] for _, y in curves], axis=0)
            name = f"{study.label(algorithm)} ({len(curves)} seed{'s' * (len(curves) > 1)})"
            style: dict[str, Any] = {"color": colour(algorithm), "linestyle": dash(algorithm), "linewidth": 2.2}
            if not smoothed:
                style |= {"marker": "o", "markersize": 3.5}
            axis.plot(curves[0][0][:common], scale * mean, **style, label=name)
    if empty:
        nothing = UNTRAINED if smoothed else "no held-out tasks were played"
        axis.text(0.5, 0.5, nothing, transform=axis.transAxes, ha="center", va="center")
    elif not {*axis.get_legend_handles_labels()[1]} <= {*named}:
        draw_legend(axis)


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


def _curve(rows: pd.DataFrame, key: str, counter: str, smoothed: bool) -> tuple[Series, Series]:
    """(x, y) of one metric; empty where the run does not have it."""
    if key not in rows or counter not in rows:
        return np.array([]), np.array([])
    x, y = rows[[counter, key]].dropna().to_numpy(dtype=np.float64).T
    return x, smooth(y, averaged(len(y))) if smoothed else y


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"


def one_axis(studies: Sequence[Study]) -> list[float]:
    return [AXIS]


@dataclass(frozen=True)
class Drawing:
    """A figure: what fills the axes of a study, what the page says below it, and how high its axes are, from the top,
    in inches."""

    fill: Callable[..., None]
    caption: str
    heights: Callable[[Sequence[Study]], list[float]] = one_axis


FIGURES: dict[str, Drawing | horizon_figures.Map] = {  # in the order of the page
    "learning_curves": Drawing(
        learning_curves,
        "Success on training tasks over the episodes played and, below it, on held-out tasks (validation) where a run "
        "plays them, each at the temperature that its label says: the two are not to be compared where these differ. "
        "Thin lines are single seeds, thick ones their mean; training curves are moving averages over a fifteenth of a "
        "run. Bands are 95 % intervals of the mean for new seeds (Student's over seeds at each point), never narrower "
        "than Wilson's of the episodes that a point averages; with one seed they are the latter, and say nothing about "
        "others; of two there are none, as they would fill the figure, nor with more than a dozen algorithms. A curve "
        "that begins further right is of an "
        "algorithm whose critic learned first, on episodes of the same budget (training.critic.pretraining).",
        lambda studies: [AXIS, 0.7 * AXIS] if validated(studies) else [AXIS],
    ),
    "efficiency": Drawing(efficiency, "Training success over the tokens that the agent generated for it."),
    "success": Drawing(
        success,
        "Evaluated success: bars are means over seeds, dots single seeds, whiskers 95 % intervals for new seeds and "
        "new tasks (with one seed: for new tasks alone), as in the tables.",
        partial(_bar_heights, _conditions),
    ),
    "differences": Drawing(
        differences_between,
        "Differences of success rates, paired over seeds and tasks, on the last split: the dot is the mean, the line "
        "its 95 % interval for new seeds and new tasks; of a hollow dot, one seed, for new tasks alone. In the colour "
        "of the algorithm that is named first. A line across zero could be chance.",
        lambda studies: [max(1.2, 0.28 * max(len(compared_rows(study)) for study in studies))],
    ),
    "task_types": Drawing(
        task_types, "Evaluated success by task type, on the last split.", partial(_bar_heights, _types)
    ),
    "switching": Drawing(
        switching,
        "How often the agent replaces its subgoal, and how many turns it keeps one.",
        lambda studies: [AXIS, AXIS],
    ),
    **horizon_figures.FIGURES,
}
