"""Figures of a report: learning curves, sample efficiency, switching, success, success by task type. Equal results give
equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiper.records import atomic_write
from hiper.report.curves import colour_of, draw_band, draw_curves, spent_and_success
from hiper.report.tables import success_rate
from hiper.runs.conditions import Condition
from hiper.runs.results import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Write each of FIGURES as PNG and PDF; the files written, in a fixed order."""
    import matplotlib

    written = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figures
        for name, make in FIGURES.items():
            figure = make(studies)
            for suffix, metadata in (
                ("png", {"Software": None}),
                ("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
            ):
                path = folder / f"{name}.{suffix}"
                with atomic_write(path, "wb") as stream:
                    figure.savefig(stream, format=suffix, dpi=150, metadata=metadata)
                written.append(path)
    return written


def learning_curves(studies: Sequence[Study]) -> Figure:
    """Training success over episodes, one column per study; bands are those of `draw_band`."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        draw_curves(axes[0][column], study, "train/success", "episodes", 100.0)
        for algorithm in study.algorithms:
            draw_band(axes[0][column], study, algorithm)
        axes[0][column].set(
            title=_title(study), xlabel="training episodes (moving average)", ylabel="success rate in training (%)"
        )
        axes[0][column].set_ylim(0, 100)
    return figure


def efficiency(studies: Sequence[Study]) -> Figure:
    """Training success over the tokens generated for it, one column per study."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        axis = axes[0][column]
        for algorithm in study.algorithms:
            name = study.label(algorithm)
            for spent, rate in spent_and_success(study, algorithm, "tokens"):
                axis.plot(spent / 1e3, 100 * rate, color=colour_of(study, algorithm), linewidth=1.4, label=name)
                name = "_nolegend_"
        axis.set(title=_title(study), xlabel="thousand generated tokens", ylabel="success rate in training (%)")
        axis.set_ylim(0, 100)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    return figure


def switching(studies: Sequence[Study]) -> Figure:
    """Switch rate and mean segment length over iterations, one column per study."""
    figure, axes = _grid(2, studies)
    for column, study in enumerate(studies):
        upper, lower = axes[0][column], axes[1][column]
        draw_curves(upper, study, "train/switch_rate", "iteration", 1.0)
        upper.set(title=_title(study), ylabel="share of SWITCH turns")
        upper.set_ylim(0, 1)
        draw_curves(lower, study, "train/segment_length", "iteration", 1.0)
        lower.set(xlabel="iteration (moving average)", ylabel="turns per segment")
        lower.set_ylim(bottom=0)
    return figure


def success(studies: Sequence[Study]) -> Figure:
    """Evaluated success: bars are means over seeds, dots single seeds, whiskers the 95 % interval for new seeds and
    tasks (of one seed: for new tasks)."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        axis, conditions = axes[0][column], study.main_conditions
        _groups(axis, study, [(condition, None) for condition in conditions])
        axis.set_xticks(range(len(conditions)), [f"{c.split}\n{c.decoding}" for c in conditions])
        axis.set(title=_title(study), ylabel="success rate (%)")
    return figure


def task_types(studies: Sequence[Study]) -> Figure:
    """The same by task type, on the last split and at its first temperature."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        axis, types = axes[0][column], study.task_types
        if (condition := study.hardest) is None:
            continue
        _groups(axis, study, [(condition, name) for name in types])
        axis.set_xticks(range(len(types)), [study.task_label(name) for name in types])
        axis.set(title=f"{_title(study)}, {condition.split}, {condition.decoding}", ylabel="success rate (%)")
    return figure


def _groups(axis: Axes, study: Study, places: Sequence[tuple[Condition, str | None]]) -> None:
    """A group of bars, one per algorithm, at each of `places` (where it was played, of which task type)."""
    width = 0.8 / len(study.algorithms)
    for number, algorithm in enumerate(study.algorithms):
        offset = (number - (len(study.algorithms) - 1) / 2) * width
        _bars(axis, study, algorithm, places, offset, width)
    axis.set_ylim(0, 115)  # room for the legend above full bars
    axis.set_yticks(range(0, 101, 20))
    axis.legend(fontsize=8, loc="upper center", ncols=4)


def _bars(
    axis: Axes,
    study: Study,
    algorithm: str,
    places: Sequence[tuple[Condition, str | None]],
    offset: float,
    width: float,
) -> None:
    colour, name = colour_of(study, algorithm), study.label(algorithm)
    for number, (condition, task_type) in enumerate(places):
        rate = success_rate(study.of(algorithm), condition, task_type)
        if rate is None:
            continue
        place = number + offset
        axis.bar(place, 100 * rate.success.mean, 0.9 * width, color=colour, alpha=0.75, label=name)
        name = "_nolegend_"
        interval = rate.success.known
        axis.vlines(place, 100 * interval.low, 100 * interval.high, color="black", linewidth=1.2)
        seeds = [success_rate([run], condition, task_type) for run in study.of(algorithm)]
        points = [100 * one.success.mean for one in seeds if one is not None]
        axis.scatter([place] * len(points), points, s=10, color="white", edgecolors="black", linewidths=0.7, zorder=3)


def _grid(rows: int, studies: Sequence[Study]) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(studies), 3.2 * rows + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(studies), squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"


FIGURES: dict[str, Callable[[Sequence[Study]], Figure]] = {
    "learning_curves": learning_curves,
    "efficiency": efficiency,
    "switching": switching,
    "success": success,
    "task_types": task_types,
}
