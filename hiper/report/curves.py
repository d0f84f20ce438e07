"""Curves over a run: smoothed metrics of each seed, their mean and interval, and the colour of an algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hiper.report.training_tables import averaged, course
from hiper.runs.results import WARM_START, Run, Study
from hiper.statistics import over_seeds, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart by readers with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WARM_START_COLOUR = "#999999"

Series = npt.NDArray[np.float64]


def colour_of(study: Study, algorithm: str) -> str:
    if algorithm == WARM_START:
        return WARM_START_COLOUR
    trained = [name for name in study.algorithms if name != WARM_START]
    return COLOURS[trained.index(algorithm) % len(COLOURS)]


def draw_curves(axis: Axes, study: Study, key: str, counter: str, scale: float) -> None:
    """One thin line per seed and their mean, thick, over the iterations that all seeds have."""
    empty = True
    for algorithm in study.algorithms:
        if algorithm == WARM_START:
            continue
        curves = [curve for run in study.of(algorithm) if len((curve := _curve(run, key, counter))[0])]
        for x, y in curves:
            axis.plot(x, scale * y, color=colour_of(study, algorithm), linewidth=0.8, alpha=0.4)
        if curves:
            empty = False
            common = min(len(x) for x, _ in curves)
            mean = np.mean([y[:common] for _, y in curves], axis=0)
            name = f"{study.label(algorithm)} ({len(curves)} seed{'s' * (len(curves) > 1)})"
            axis.plot(curves[0][0][:common], scale * mean, color=colour_of(study, algorithm), linewidth=2.2, label=name)
    if empty:
        axis.text(0.5, 0.5, "no training recorded", transform=axis.transAxes, ha="center", va="center")
    else:
        axis.legend(fontsize=8)


def draw_band(axis: Axes, study: Study, algorithm: str) -> None:
    """The 95 % interval of the mean that `draw_curves` draws, over the iterations that all seeds have: Student's over
    seeds at each point, and never narrower than Wilson's of the episodes that the point averages. Of two seeds there is
    none: 9 standard deviations wide to each side, it would fill the figure."""
    courses = [found for run in study.of(algorithm) if (found := course(run)) is not None]
    if len(courses) in (0, 2):
        return
    common = min(len(one.success) for one in courses)
    window = averaged(common)
    played = [one.played[:common] for one in courses]
    trials = sum(window_sums(count, window) for count in played)
    won = sum(
        window_sums(np.rint(one.success[:common] * count), window) for one, count in zip(courses, played, strict=True)
    )
    points = zip(*(smooth(one.success[:common], window) for one in courses), strict=True)
    bounds = []
    for seeds, wins, total in zip(points, won, trials, strict=True):
        given, drawn = wilson(round(float(wins)), round(float(total))), over_seeds(seeds)
        bounds.append((np.fmax(0.0, np.fmin(drawn.low, given.low)), np.fmin(1.0, np.fmax(drawn.high, given.high))))
    low, high = 100 * np.array(bounds).T
    episodes = courses[0].spent["episodes"][:common]
    axis.fill_between(episodes, low, high, color=colour_of(study, algorithm), alpha=0.12, linewidth=0)


def spent_and_success(study: Study, algorithm: str, budget: str) -> list[tuple[Series, Series]]:
    """(what was spent, smoothed success) of every seed that has the metrics for it."""
    courses = [found for run in study.of(algorithm) if (found := course(run)) is not None]
    return [(one.spent[budget], smooth(one.success, averaged(len(one.success)))) for one in courses]


def curve_records(study: Study) -> list[dict[str, str]]:
    """One record per RL run and iteration: what had been used, success in training as it is and smoothed, success on
    validation tasks where they were played."""
    records = []
    for run in study.runs:
        if (found := course(run)) is None:
            continue
        rows = [row for row in run.metrics if "iteration" in row]
        smoothed = smooth(found.success, averaged(len(rows)))
        for number, row in enumerate(rows):
            record = {"benchmark": study.benchmark, "model": study.model, "algorithm": run.algorithm}
            record |= {"seed": str(run.seed), "run": run.name, "iteration": str(row["iteration"])}
            record |= {name: f"{spent[number]:.0f}" for name, spent in found.spent.items()}
            record |= {"success": f"{found.success[number]:.4f}", "smoothed_success": f"{smoothed[number]:.4f}"}
            validation = row.get("validation/success")
            records.append({**record, "validation_success": "" if validation is None else f"{validation:.4f}"})
    return records


def _curve(run: Run, key: str, counter: str) -> tuple[Series, Series]:
    """(x, smoothed y) of one metric; empty where the run does not have it."""
    rows = [row for row in run.metrics if row.get(key) is not None and row.get(counter) is not None]
    x, y = (np.array([row[name] for row in rows], dtype=np.float64) for name in (counter, key))
    return x, smooth(y, averaged(len(y)))


def smooth(values: Series, window: int) -> Series:
    """Centred moving average over `window` values; at the ends over those there are."""
    return window_sums(values, window) / np.maximum(window_sums(np.ones(len(values)), window), 1.0)


def window_sums(values: Series, window: int) -> Series:
    """Sums over the same windows as `smooth`'s."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    position = np.arange(len(values))
    start = np.maximum(position - (window - 1) // 2, 0)
    stop = np.minimum(position + window // 2 + 1, len(values))
    return np.asarray(sums[stop] - sums[start])
