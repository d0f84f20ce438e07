"""Figures of what `hiper.report.horizon` measures: a panel for each algorithm, beside the baseline, against the
horizon; and the gap against what the critic knows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from hiper.report.colours import colour
from hiper.report.horizon import BASELINE, HEADS, apart, by_horizon, critic_gaps, highest, levels
from hiper.report.measures import pick
from hiper.report.study import Study
from hiper.report.table import known
from hiper.report.training import efficiency_table
from hiper.runs.labels import WARM_START, label
from hiper.statistics import student

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTH, PANEL = 7.0, 1.7  # inches: of a figure, and the height of a row of panels
COLUMNS, ROOMY, MANY = 4, 2, 6  # panels side by side; of panels with more than so many points
SMALL = 8  # points, of all text
GREY = "#777777"  # the baseline, in every panel
MARKERS, BOUND = "osDvPX", "^"  # one for each study; of a lower bound
HORIZON = "horizon (turns to a win)"
NOTHING = "nothing to show for these runs"
LEGEND = (
    "A panel for each algorithm, grey: the baseline (PPO), where it was trained. Whiskers are 95 % intervals for new "
    "seeds and new tasks (with one seed: for new tasks alone). Filled: the gap's interval excludes zero; hollow: it "
    "does not, so that the difference may be chance, or there is one seed or no baseline. Every interval holds by "
    "itself; of twenty, one may be expected to miss."
)


def success(figure: Figure, studies: Sequence[Study]) -> None:
    _panels(figure, _points(studies, lambda row: (row.mean, *known(row)), 100.0), "success (%)")


def gap(figure: Figure, studies: Sequence[Study]) -> None:
    points = _points(studies, lambda row: (row.gap, *_ends(row.gap_low, row.gap_high, row)), 100.0)
    _panels(figure, points, f"gap to {label(BASELINE)} (points)", zero=True)


def switching(figure: Figure, studies: Sequence[Study]) -> None:
    upper = _points(studies, lambda row: (row.switch_rate, row.switch_rate_low, row.switch_rate_high))
    lower = _points(studies, lambda row: (row.segment_length, row.segment_length_low, row.segment_length_high))
    parts = figure.subfigures(2, 1)
    height = sum(
        _panels(part, points.assign(filled=True), name)
        for part, points, name in zip(
            parts, (upper, lower), ("share of SWITCH turns", "turns per segment"), strict=True
        )
    )
    figure.set_size_inches(WIDTH, height)


def episodes(figure: Figure, studies: Sequence[Study]) -> None:
    _panels(figure, _levels(studies), "training episodes to the level")


def critics(figure: Figure, studies: Sequence[Study]) -> None:
    """A panel for each value head."""
    figure.set_size_inches(WIDTH, 3.2)
    axes = figure.subplots(1, len(HEADS), sharey=True)
    for head, axis in zip(HEADS, axes, strict=True):
        _plain(axis)
        axis.axhline(0, color=GREY, linewidth=0.8)
        axis.set_title(f"V {head}", fontsize=SMALL)
        for number, study in enumerate(studies):
            for row in critic_gaps(study).dropna(subset=[head]).itertuples() if len(critic_gaps(study)) else ():
                place, hue = getattr(row, head), colour(row.algorithm)
                axis.vlines(place, 100 * row.gap_tasks_low, 100 * row.gap_tasks_high, color=hue, alpha=0.35)
                axis.plot(place, 100 * row.gap, MARKERS[number % len(MARKERS)], color=hue, markersize=4.5)
    axes[0].set_ylabel(f"gap to {label(BASELINE)} (points)", fontsize=SMALL)
    figure.supxlabel("explained variance of Monte-Carlo returns", fontsize=SMALL)
    names = {name: colour(name) for study in studies for name in critic_gaps(study).get("algorithm", ())}
    _legend(figure, {label(name): hue for name, hue in names.items()}, dict(enumerate(map(_title, studies))))


_COLUMNS = ["study", "title", "algorithm", "horizon", "value", "low", "high", "filled", "bound"]


def _points(studies: Sequence[Study], ends: Callable[[Any], tuple[float, ...]], scale: float = 1.0) -> pd.DataFrame:
    """Those of trained algorithms under the condition that asks most; filled where the gap's interval excludes zero."""
    found = [
        [number, _title(study), row.algorithm, row.horizon, *(scale * end for end in ends(row)), row.differs, False]
        for number, study in enumerate(studies)
        for row in _in_order(study, pick(by_horizon(study), condition=study.hardest))
        if row.algorithm != WARM_START
    ]
    return pd.DataFrame(found, columns=_COLUMNS).dropna(subset=["value"])


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"


def _in_order(study: Study, rows: pd.DataFrame) -> list[Any]:
    """HiPER and its variants first."""
    return sorted(rows.itertuples(), key=lambda row: not study.of(row.algorithm)[0].hierarchical)


def _levels(studies: Sequence[Study]) -> pd.DataFrame:
    """Episodes to a level of each task type that was validated, else of the whole benchmark, by its mean horizon."""
    found = []
    for number, study in enumerate(studies):
        for row in (row for own in _by_length(study) for row in _in_order(study, highest(own))):
            bound = row.reached < row.seeds
            half = student(row.seeds - 1) * row.episodes_std / math.sqrt(row.seeds) if row.seeds > 1 else math.nan
            ends = (math.nan, math.nan) if bound else (max(0.0, row.episodes - half), row.episodes + half)
            found.append([number, _title(study), row.algorithm, row.horizon, row.episodes, *ends, not bound, bound])
    return pd.DataFrame(found, columns=_COLUMNS)


def _by_length(study: Study) -> list[pd.DataFrame]:
    """Levels and what they took, a frame for each horizon."""
    if len(by_type := levels(study)):
        return [own for _, own in by_type.groupby("task_type", sort=False)]
    records = efficiency_table(study).records
    return [] if records is None or records.empty or math.isnan(study.horizon) else [records]


def _ends(low: float, high: float, row: Any) -> tuple[float, float]:
    return (row.gap_tasks_low, row.gap_tasks_high) if math.isnan(low) else (low, high)


def _panels(figure: Figure | SubFigure, points: pd.DataFrame, name: str, zero: bool = False) -> float:
    """Fill the figure and return its height in inches; the baseline is in every panel, or is the line at zero."""
    beside = points[points["algorithm"] == BASELINE]
    shown = [one for one in dict.fromkeys(points["algorithm"]) if one != BASELINE] or [BASELINE]
    columns = min(len(shown), COLUMNS if points["algorithm"].value_counts().max() <= MANY else ROOMY)
    rows = math.ceil(len(shown) / columns)
    height = 0.9 + PANEL * rows
    if hasattr(figure, "set_size_inches"):
        figure.set_size_inches(WIDTH, height)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for algorithm, axis in zip(shown, axes.flat, strict=False):
        _plain(axis)
        axis.set_title("\n".join(textwrap.wrap(label(algorithm), 24)), fontsize=SMALL)
        if zero:
            axis.axhline(0, color=GREY, linewidth=1.0)
        for own, hue in ((beside, GREY), (points[points["algorithm"] == algorithm], colour(algorithm))):
            for number, line in own.groupby("study", sort=False):
                _line(axis, line, MARKERS[number % len(MARKERS)], hue)
    figure.supxlabel(HORIZON, fontsize=SMALL)
    figure.supylabel(name, fontsize=SMALL)
    named = dict(zip(points["study"], points["title"], strict=True))
    _legend(figure, {} if beside.empty else {label(BASELINE): GREY}, named)
    return height


def _line(axis: Axes, points: pd.DataFrame, marker: str, hue: str) -> None:
    order = 2 if hue == GREY else 3
    axis.plot(points["horizon"], points["value"], color=hue, linewidth=0.9, alpha=0.6, zorder=order)
    for point in points.itertuples():
        strong = 1.0 if point.filled else 0.5
        axis.vlines(point.horizon, point.low, point.high, color=hue, linewidth=1.3, alpha=strong, zorder=order)
        inside = hue if point.filled or hue == GREY else "white"
        axis.plot(point.horizon, point.value, BOUND if point.bound else marker, color=hue, markerfacecolor=inside,
                  markersize=4.5, zorder=order + 1)  # fmt: skip


def _plain(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=SMALL)


def _legend(figure: Figure | SubFigure, algorithms: Mapping[str, str], studies: Mapping[int, str]) -> None:
    """Colours of algorithms, and markers of studies, by number, where there are several; above the panels."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "markersize": 5}
    handles = [Line2D([], [], color=hue, marker="o", label=name, **style) for name, hue in algorithms.items()]
    if len(studies) > 1:
        marks = {name: MARKERS[number % len(MARKERS)] for number, name in studies.items()}
        handles += [Line2D([], [], color="black", marker=marker, label=name, **style) for name, marker in marks.items()]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)


@dataclass(frozen=True)
class Map:
    """A figure of all studies together: what fills it, what the page says below it, and whether there is anything to
    show."""

    fill: Callable[[Figure, Sequence[Study]], None]
    caption: str
    shows: Callable[[Sequence[Study]], bool]

    def draw(self, figure: Figure, studies: Sequence[Study]) -> None:
        if self.shows(studies):
            self.fill(figure, studies)
        else:
            figure.set_size_inches(WIDTH, 1.0)
            figure.text(0.5, 0.5, NOTHING, ha="center", va="center", fontsize=SMALL)


def _measured(name: str) -> Callable[[Sequence[Study]], bool]:
    """Whether any study has two horizons with this measure."""
    return lambda studies: any(one[name].notna().any() for study in studies if len(one := by_horizon(study)))


FIGURES = {
    "horizon": Map(
        success,
        f"Success against the horizon, by task type: how many turns a win takes. {LEGEND}",
        _measured("mean"),
    ),
    "horizon_gap": Map(
        gap,
        "Success less the baseline's, in percentage points, paired over seeds and tasks, against the horizon; whiskers "
        "and marks as above.",
        _measured("gap"),
    ),
    "horizon_switching": Map(
        switching,
        "Share of the turns after an episode's first in which the agent replaced its subgoal, and turns that it kept "
        "one, against the horizon; grey: the baseline. Whiskers are Student's 95 % intervals for new seeds on these "
        "tasks.",
        _measured("segment_length"),
    ),
    "horizon_episodes": Map(
        episodes,
        "Training episodes until a level of success, the highest that at least half of the runs reached, against the "
        "horizon: on the validation tasks of each task type, or in training on a whole benchmark, by its mean horizon, "
        "where types were not validated. Grey: the baseline. Whiskers are Student's 95 % intervals over seeds; a "
        "triangle is a lower bound: not all seeds got there.",
        lambda studies: apart([*_levels(studies)["horizon"]]),
    ),
    "critic_gaps": Map(
        critics,
        "Success less the baseline's against what the critic knows: explained variance of Monte-Carlo returns by each "
        "value head, mean over training. A point per run. Whiskers are for new tasks alone: they say nothing of other "
        "seeds.",
        lambda studies: any(len(critic_gaps(study)) for study in studies),
    ),
}
