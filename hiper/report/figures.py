"""Figures of a report: learning curves, sample efficiency, switching, success, success by task type. Equal results give
equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.records import atomic_write
from hiper.report.curves import colour_of, draw_band, draw_curves, smooth
from hiper.report.measures import ALL, pick
from hiper.report.study import Study
from hiper.report.table import known
from hiper.report.training import averaged, courses
from hiper.runs.conditions import Condition
from hiper.runs.results import task_label

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
    """One of FIGURES, a column for each study."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, fill = FIGURES[name]
    figure = Figure(figsize=(6.4 * len(studies), 3.2 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(studies), squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for study, column in zip(studies, axes.T, strict=True):
        fill(study, *column)
    return figure


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
        name, colour = study.label(algorithm), colour_of(study, algorithm)
        for one in courses(study, algorithm):
            rate = smooth(one.success, averaged(len(one.success)))
            axis.plot(one.spent["tokens"] / 1e3, 100 * rate, color=colour, linewidth=1.4, label=name)
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
    axis.set_xticks(range(len(study.task_types)), [task_label(name) for name in study.task_types])
    axis.set(title=f"{_title(study)}, {condition.split}, {condition.decoding}", ylabel="success rate (%)")


def _groups(axis: Axes, study: Study, places: Sequence[tuple[Condition, str]]) -> None:
    """A group of bars, one per algorithm, at each of `places` (where it was played, of which task type)."""
    width = 0.8 / len(study.algorithms)
    for number, algorithm in enumerate(study.algorithms):
        colour, name = colour_of(study, algorithm), study.label(algorithm)
        own = pick(study.rates, algorithm=algorithm)
        offset = (number - (len(study.algorithms) - 1) / 2) * width
        for group, (condition, task_type) in enumerate(places):
            for row in pick(own, condition=condition, task_type=task_type).itertuples():  # none or one
                place, (low, high) = group + offset, known(row)
                axis.bar(place, 100 * row.mean, 0.9 * width, color=colour, alpha=0.75, label=name)
                name = "_nolegend_"
                axis.vlines(place, 100 * low, 100 * high, color="black", linewidth=1.2)
                dots = {"s": 10, "color": "white", "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
                axis.scatter([place] * len(row.seed_rates), [100 * rate for rate in row.seed_rates], **dots)
    axis.set_ylim(0, 115)  # room for the legend above full bars
    axis.set_yticks(range(0, 101, 20))
    axis.legend(fontsize=8, loc="upper center", ncols=4)


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"


FIGURES: dict[str, tuple[int, Callable[..., None]]] = {  # how many axes a study has, and what fills them
    "learning_curves": (1, learning_curves),
    "efficiency": (1, efficiency),
    "switching": (2, switching),
    "success": (1, success),
    "task_types": (1, task_types),
}
