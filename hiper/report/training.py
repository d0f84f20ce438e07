"""What training cost and what came of it: episodes, turns and tokens until a level of success, the last metrics, and
curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hiper.report.study import Study
from hiper.report.table import LABEL, Column, Table, percent
from hiper.statistics import first_staying, mean_and_spread, needed

FINAL_ITERATIONS = 5  # the training table averages over the last so many
TRAINING_METRICS = ("success", "switch_rate", "segment_length", "valid_rate")
SMOOTHED_SHARE = 15  # curves are moving averages over 1/15 of a run
LEVELS = tuple(tenths / 10 for tenths in range(1, 10))
SHOWN_LEVELS = 3  # in the table; the CSV file has all
BUDGETS = ("episodes", "turns", "tokens")
THERE = ("reached", "seeds")  # how many seeds reached a level, of how many
STAYED = 6  # iterations in a row, so that chance seldom passes for a level that was reached
EFFICIENCY_CAPTION = (
    "What training had used when its success reached a level and stayed there: after the first of "
    f"{STAYED} iterations in a row of which each won at least that share of its episodes. Episodes played, turns "
    "taken, tokens generated; mean ± sample standard deviation over seeds. A seed that did not get there counts with "
    "all it used, so that the mean is a lower bound: ≥. The highest levels that any run reached. In a simulation with "
    "64 episodes an iteration, of runs that stay 4 points below a level fewer than 1 % of those of 12 iterations seem "
    "to reach it, 2 % of those of 40, and 7 % where eight episodes play the same task. The price: a level is dated up "
    f"to three iterations late, and one reached in the last {STAYED - 1} iterations does not count. An algorithm whose "
    f"longest run has fewer than {STAYED} iterations is left out."
)

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """Success `[iteration]` in training, of so many episodes `played` in the iteration, and what had been used by then,
    pretraining of the critic included: `spent` `[iteration]` by BUDGETS."""

    success: Series
    played: Series
    spent: dict[str, Series]


def course(study: Study, run: str) -> Course | None:
    """None for a run without these metrics.

    Metrics are means over an iteration's episodes (`train/turns`) and their turns (`train/response_tokens`), with six
    digits: times the counts, rounded, they are the sums again.
    """
    keys = ["episodes", "train/success", "train/turns", "train/response_tokens"]
    rows = study.training.get(run)
    if rows is None or not {*keys} <= {*rows.columns} or rows[keys].isna().any(axis=None):
        return None
    episodes, success, per_episode, per_turn = rows[keys].to_numpy(dtype=np.float64).T
    first = rows.iloc[0]
    before = {name: float(first.get(f"pretraining/{name}", 0.0)) for name in BUDGETS}
    played = np.diff(episodes, prepend=before["episodes"])
    turns = np.rint(played * per_episode)
    tokens = np.rint(turns * per_turn)
    spent = (episodes, before["turns"] + np.cumsum(turns), before["tokens"] + np.cumsum(tokens))
    return Course(success, played, dict(zip(BUDGETS, spent, strict=True)))


def courses(study: Study, algorithm: str) -> list[Course]:
    """Those of every seed that has the metrics for it."""
    return [found for run in study.of(algorithm) if (found := course(study, run.name)) is not None]


def averaged(length: int) -> int:
    """How many iterations of a run of that length a point of its curve averages."""
    return max(1, math.ceil(length / SMOOTHED_SHARE))


def efficiency_table(study: Study) -> Table:
    """One row per level and algorithm; people see the highest levels that any run reached."""
    records = pd.DataFrame(_efficiency(study))
    reached = records if records.empty else records[records["reached"] > 0]
    levels = sorted({*reached["level"]})[-SHOWN_LEVELS:] if len(reached) else []
    rows = records[records["level"].isin(levels)].sort_values("level", kind="stable") if levels else reached
    amounts = [(name, f"{name}_std") for name in BUDGETS]
    columns = [
        LABEL,
        Column("Success (%)", ("level",), percent, digits=".1f"),
        Column("", THERE),
        *(Column(one[0].capitalize(), (*one, *THERE), amount, files=one, digits=".1f") for one in amounts),
        Column("Seeds there", THERE, "{} of {}".format, files=()),
        Column("", ("horizon",), digits=".2f"),
    ]
    return Table(columns, rows, records, EFFICIENCY_CAPTION, study.setup)


def _efficiency(study: Study) -> Iterator[dict[str, object]]:
    """Over the seeds whose metrics have what it takes."""
    for algorithm in study.trained:
        found = courses(study, algorithm)
        if max((len(one.success) for one in found), default=0) < STAYED:
            continue  # no run was long enough to stay at a level
        for level in LEVELS:
            places = [first_staying(one.success, level, STAYED) for one in found]
            amounts = {name: needed([one.spent[name] for one in found], places) for name in BUDGETS}
            first = amounts[BUDGETS[0]]
            row = {**study.identity(algorithm), "level": level, "reached": first.reached, "seeds": first.runs}
            row["horizon"] = study.horizon
            for name, amount in amounts.items():
                row |= {name: amount.mean, f"{name}_std": amount.spread}
            yield row


def amount(mean: float, spread: float, reached: int, seeds: int) -> str:
    """What a level took, or the least it can have taken; `spread` NaN of one seed."""
    shown = f"{mean:,.0f}"
    if reached < seeds:
        return f"≥ {shown}"
    return shown if math.isnan(spread) else f"{shown} ± {spread:,.0f}"


def training_table(study: Study) -> Table:
    """One record per RL run: length, and rollout metrics averaged over its last iterations."""
    finals = [f"final_{name}" for name in TRAINING_METRICS]
    records = []
    for run in study.runs:
        rows = study.training.get(run.name)
        if rows is None or run.algorithm not in study.trained:
            continue
        last = rows[-FINAL_ITERATIONS:]
        means = {f"final_{name}": mean_and_spread(values(last, f"train/{name}"))[0] for name in TRAINING_METRICS}
        episodes = rows["episodes"].iloc[-1] if "episodes" in rows else math.nan
        counts = {"iterations": len(rows), "episodes": float(episodes), "averaged_iterations": len(last)}
        records.append({**vars(run), "run": run.name, **counts, **means})
    columns = [
        Column("", ("run", "benchmark", "model", "algorithm", "seed", "iterations")),
        Column("", ("episodes",), digits=".0f"),
        Column("", ("averaged_iterations", *finals)),
    ]
    return Table(columns, pd.DataFrame(), pd.DataFrame(records))


def curve_table(study: Study) -> Table:
    """One record per RL run and iteration: what had been used, success in training as it is and smoothed, success on
    validation tasks where they were played."""
    records = []
    for run in study.runs:
        if (found := course(study, run.name)) is not None:
            rows = study.training[run.name]
            frame = pd.DataFrame({"run": run.name, "iteration": rows["iteration"].astype(int), **found.spent})
            frame["success"] = found.success
            frame["smoothed_success"] = smooth(found.success, averaged(len(rows)))
            frame["validation_success"] = rows.get("validation/success", math.nan)
            identity = {"benchmark": run.benchmark, "model": run.model, "algorithm": run.algorithm, "seed": run.seed}
            records.append(frame.assign(**identity))
    columns = [
        Column("", ("benchmark", "model", "algorithm", "seed", "run", "iteration")),
        Column("", BUDGETS, digits=".0f"),
        Column("", ("success", "smoothed_success", "validation_success")),
    ]
    return Table(columns, pd.DataFrame(), pd.concat(records) if records else pd.DataFrame())


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


def values(rows: pd.DataFrame | None, metric: str) -> list[float]:
    """Those of a metric that were recorded."""
    return [] if rows is None or metric not in rows else [float(value) for value in rows[metric].dropna()]
