"""Figures of a report: learning curves, switching, success. Equal results give equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hiper.records import atomic_write
from hiper.stages.results import WARM_START, Run, Study, label
from hiper.stages.tables import success_rate
from hiper.stages.training_tables import averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by readers with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WARM_START_COLOUR = "#999999"

Series = npt.NDArray[np.float64]


def draw(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Write learning_curves, switching and success as PNG and PDF; the files written, in a fixed order."""
    import matplotlib

    written = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figures
        for name, make in (("learning_curves", learning_curves), ("switching", switching), ("success", success)):
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
    """Training success over episodes, one column per study."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        _curves(axes[0][column], study, "train/success", "episodes", 100.0)
        axes[0][column].set(
            title=_title(study), xlabel="training episodes (moving average)", ylabel="success rate in training (%)"
        )
        axes[0][column].set_ylim(0, 100)
    return figure


def switching(studies: Sequence[Study]) -> Figure:
    """Switch rate and mean segment length over iterations, one column per study."""
    figure, axes = _grid(2, studies)
    for column, study in enumerate(studies):
        upper, lower = axes[0][column], axes[1][column]
        _curves(upper, study, "train/switch_rate", "iteration", 1.0)
        upper.set(title=_title(study), ylabel="share of SWITCH turns")
        upper.set_ylim(0, 1)
        _curves(lower, study, "train/segment_length", "iteration", 1.0)
        lower.set(xlabel="iteration (moving average)", ylabel="turns per segment")
        lower.set_ylim(bottom=0)
    return figure


def success(studies: Sequence[Study]) -> Figure:
    """Evaluated success: bars are means over seeds, dots single seeds, whiskers the pooled 95 % Wilson interval."""
    figure, axes = _grid(1, studies)
    for column, study in enumerate(studies):
        axis, conditions = axes[0][column], study.conditions
        width = 0.8 / len(study.algorithms)
        for number, algorithm in enumerate(study.algorithms):
            offset = (number - (len(study.algorithms) - 1) / 2) * width
            _bars(axis, study, algorithm, [place + offset for place in range(len(conditions))], width)
        axis.set_xticks(range(len(conditions)), [f"{c.split}\nT = {c.temperature}" for c in conditions])
        axis.set(title=_title(study), ylabel="success rate (%)")
        axis.set_ylim(0, 115)  # room for the legend above full bars
        axis.set_yticks(range(0, 101, 20))
        axis.legend(fontsize=8, loc="upper center", ncols=4)
    return figure


def _bars(axis: Axes, study: Study, algorithm: str, places: Sequence[float], width: float) -> None:
    colour, name = _colour(study, algorithm), label(algorithm)
    for place, condition in zip(places, study.conditions, strict=True):
        rate = success_rate(study.of(algorithm), condition)
        if rate is None:
            continue
        axis.bar(place, 100 * rate.mean, 0.9 * width, color=colour, alpha=0.75, label=name)
        name = "_nolegend_"
        axis.vlines(place, 100 * rate.interval.low, 100 * rate.interval.high, color="black", linewidth=1.2)
        seeds = [success_rate([run], condition) for run in study.of(algorithm)]
        points = [100 * one.mean for one in seeds if one is not None]
        axis.scatter([place] * len(points), points, s=10, color="white", edgecolors="black", linewidths=0.7, zorder=3)


def _curves(axis: Axes, study: Study, key: str, counter: str, scale: float) -> None:
    """One thin line per seed and their mean, thick, over the iterations that all seeds have."""
    empty = True
    for algorithm in study.algorithms:
        if algorithm == WARM_START:
            continue
        curves = [curve for run in study.of(algorithm) if len((curve := _curve(run, key, counter))[0])]
        for x, y in curves:
            axis.plot(x, scale * y, color=_colour(study, algorithm), linewidth=0.8, alpha=0.4)
        if curves:
            empty = False
            common = min(len(x) for x, _ in curves)
            mean = np.mean([y[:common] for _, y in curves], axis=0)
            name = f"{label(algorithm)} ({len(curves)} seed{'s' * (len(curves) > 1)})"
            axis.plot(curves[0][0][:common], scale * mean, color=_colour(study, algorithm), linewidth=2.2, label=name)
    if empty:
        axis.text(0.5, 0.5, "no training recorded", transform=axis.transAxes, ha="center", va="center")
    else:
        axis.legend(fontsize=8)


def _curve(run: Run, key: str, counter: str) -> tuple[Series, Series]:
    """(x, smoothed y) of one metric; empty where the run does not have it."""
    rows = [row for row in run.metrics if row.get(key) is not None and row.get(counter) is not None]
    x, y = (np.array([row[name] for row in rows], dtype=np.float64) for name in (counter, key))
    return x, smooth(y, averaged(len(y)))


def smooth(values: Series, window: int) -> Series:
    """Centred moving average over `window` values; at the ends over those there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(len(values))
    start = np.maximum(position - (window - 1) // 2, 0)
    stop = np.minimum(position + window // 2 + 1, len(values))
    return np.asarray((sums[stop] - sums[start]) / np.maximum(stop - start, 1))


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


def _colour(study: Study, algorithm: str) -> str:
    if algorithm == WARM_START:
        return WARM_START_COLOUR
    trained = [name for name in study.algorithms if name != WARM_START]
    return COLOURS[trained.index(algorithm) % len(COLOURS)]


def _title(study: Study) -> str:
    return f"{study.benchmark}, {study.model}"
