"""What training cost and what came of it: episodes, turns and tokens until a level of success, and the last metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hiper.report.table_formats import Table, number, percent
from hiper.runs.results import WARM_START, Run, Study, describe, group_name
from hiper.statistics import Needed, first_staying, mean_and_spread, needed

FINAL_ITERATIONS = 5  # the training table averages over the last so many
TRAINING_METRICS = ("success", "switch_rate", "segment_length", "valid_rate")
SMOOTHED_SHARE = 15  # curves are moving averages over 1/15 of a run
LEVELS = tuple(tenths / 10 for tenths in range(1, 10))
SHOWN_LEVELS = 3  # in the table; the CSV file has all
BUDGETS = ("episodes", "turns", "tokens")
STAYED = 6  # iterations in a row, so that chance seldom passes for a level that was reached
EFFICIENCY_CAPTION = (
    "What training had used when its success reached a level and stayed there: after the first of "
    f"{STAYED} iterations in a row of which each won at least that share of its episodes. Episodes played, turns "
    "taken, tokens generated; mean ± sample standard deviation over seeds. A seed that did not get there counts with "
    "all it used, so that the mean is a lower bound: ≥. The highest levels that any run reached. In a simulation with "
    "64 episodes an iteration, of runs that stay 4 points below a level fewer than 1 % of those of 12 iterations seem "
    "to reach it, 2 % of those of 40, and 7 % where eight episodes play the same task. The price: a level is dated up "
    f"to three iterations late, and one reached in the last {STAYED - 1} iterations does not count."
)

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """Success `[iteration]` in training, of so many episodes `played` in the iteration, and what had been used by then,
    pretraining of the critic included: `spent` `[iteration]` by BUDGETS."""

    success: Series
    played: Series
    spent: dict[str, Series]


def course(run: Run) -> Course | None:
    """None for a run without these metrics.

    Metrics are means over an iteration's episodes (`train/turns`) and their turns (`train/response_tokens`), with six
    digits: times the counts, rounded, they are the sums again.
    """
    keys = ("episodes", "train/success", "train/turns", "train/response_tokens")
    rows = [[row.get(key) for key in keys] for row in run.metrics if "iteration" in row]
    if not rows or any(value is None for row in rows for value in row):
        return None
    episodes, success, per_episode, per_turn = np.array(rows, dtype=np.float64).T
    before = {name: float(run.metrics[0].get(f"pretraining/{name}", 0.0)) for name in BUDGETS}
    played = np.diff(episodes, prepend=before["episodes"])
    turns = np.rint(played * per_episode)
    tokens = np.rint(turns * per_turn)
    spent = (episodes, before["turns"] + np.cumsum(turns), before["tokens"] + np.cumsum(tokens))
    return Course(success, played, dict(zip(BUDGETS, spent, strict=True)))


def averaged(length: int) -> int:
    """How many iterations of a run of that length a point of its curve averages."""
    return max(1, math.ceil(length / SMOOTHED_SHARE))


def efficiency(study: Study, algorithm: str, level: float) -> dict[str, Needed]:
    """By BUDGETS, over the seeds whose metrics have what it takes; empty where none does."""
    courses = [found for run in study.of(algorithm) if (found := course(run)) is not None]
    places = [first_staying(one.success, level, STAYED) for one in courses]
    return {name: needed([one.spent[name] for one in courses], places) for name in BUDGETS} if courses else {}


def efficiency_records(study: Study) -> list[dict[str, str]]:
    """One record per algorithm and level."""
    records = []
    for algorithm in _trained(study):
        for level in LEVELS:
            if not (found := efficiency(study, algorithm, level)):
                continue
            first = found[BUDGETS[0]]
            record = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm}
            record |= {"level": f"{level:.1f}", "reached": str(first.reached), "seeds": str(first.runs)}
            for name, amount in found.items():
                record |= {name: f"{amount.mean:.1f}", f"{name}_std": _one_digit(amount.spread)}
            records.append(record)
    return records


def efficiency_table(study: Study) -> Table:
    """One row per level, the highest that any run reached, and algorithm."""
    rows, links = [], []
    levels = [level for level in LEVELS if any(_reached(study, name, level) for name in _trained(study))]
    for level in levels[-SHOWN_LEVELS:]:
        for algorithm in _trained(study):
            if found := efficiency(study, algorithm, level):
                first = found[BUDGETS[0]]
                amounts = tuple(_amount(found[name]) for name in BUDGETS)
                rows.append((study.label(algorithm), percent(level), *amounts, f"{first.reached} of {first.runs}"))
                links.append({"Algorithm": group_name(study, algorithm)})
    header = ("Algorithm", "Success (%)", "Episodes", "Turns", "Tokens", "Seeds there")
    return Table(f"{EFFICIENCY_CAPTION} {describe(study)}", header, tuple(rows), tuple(links))


def training_records(study: Study) -> list[dict[str, str]]:
    """One record per RL run: length, and rollout metrics averaged over its last iterations."""
    records = []
    for run in study.runs:
        rows = [row for row in run.metrics if "iteration" in row]
        if run.algorithm == WARM_START or not rows:
            continue
        last = rows[-FINAL_ITERATIONS:]
        finals = {f"final_{name}": number(mean_and_spread(_values(last, name))[0]) for name in TRAINING_METRICS}
        records.append(
            {
                **{"run": run.name, "benchmark": run.benchmark, "model": run.model, "algorithm": run.algorithm},
                **{"seed": str(run.seed), "iterations": str(len(rows)), "episodes": str(rows[-1].get("episodes", ""))},
                **{"averaged_iterations": str(len(last)), **finals},
            }
        )
    return records


def _values(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [row[f"train/{name}"] for row in rows if row.get(f"train/{name}") is not None]


def _trained(study: Study) -> list[str]:
    return [algorithm for algorithm in study.algorithms if algorithm != WARM_START]


def _reached(study: Study, algorithm: str, level: float) -> bool:
    found = efficiency(study, algorithm, level)
    return bool(found) and found[BUDGETS[0]].reached > 0


def _amount(found: Needed) -> str:
    mean = f"{found.mean:,.0f}"
    if found.reached < found.runs:
        return f"≥ {mean}"
    return mean if math.isnan(found.spread) else f"{mean} ± {found.spread:,.0f}"


def _one_digit(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
