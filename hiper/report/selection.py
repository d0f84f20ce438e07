"""What choosing the best model of a run instead of its last one changed, on the tasks reported and on those it was
chosen by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from hiper.report.study import Study
from hiper.report.table import Column, Table, joined, mean_spread, signed_spread, where
from hiper.report.training import values
from hiper.runs.conditions import CHECKPOINTS, Condition, legend
from hiper.statistics import mean_and_spread

SUCCESS = "validation/success"
WINDOW = 5  # validations that the windowed mean averages
NONE = "No run was validated (training.validation.tasks is 0): no best model was chosen."
CAPTION = (
    "Success in percent of the last and of the best model, mean ± sample standard deviation over seeds. Best: the "
    "model of the iteration with the highest success on validation tasks, the earliest of several. Val.: success on "
    "those tasks, which are training tasks that nothing else plays and no other table reports: of the last model, of "
    f"the best, and the mean of the last {WINDOW} validations. Having been chosen by these tasks, the best model "
    "looks better on them than it is. Best after: its iteration, seed by seed."
)
VALUES = ("last", "best", "gain", "validation_last", "validation_best", "validation_window")


def selection_table(study: Study) -> Table:
    """One row per algorithm with validated runs and main condition, for both models; records have all conditions."""
    split, temperature, protocol, _ = where(study.main_conditions)
    columns = [
        Column("Algorithm", ("label",), files=("benchmark", "model", "algorithm"), link="runs_anchor"),
        split,
        temperature,
        protocol,
        Column("Last", ("last", "last_std"), mean_spread, link="last_anchor"),
        Column("Best", ("best", "best_std"), mean_spread, link="best_anchor"),
        Column("Best − last", ("gain", "gain_std"), signed_spread),
        Column("Val. last", ("validation_last", "validation_last_std"), mean_spread),
        Column("Val. best", ("validation_best", "validation_best_std"), mean_spread),
        Column("Val. mean", ("validation_window", "validation_window_std"), mean_spread),
        Column("Best after", ("best_iterations",), lambda text: text.replace(" ", ", ")),
        Column("Seeds", ("seeds",)),
    ]
    records = pd.DataFrame(_records(study))
    rows = records if records.empty else records[records["condition"].isin(_last_models(study.main_conditions))]
    return Table(columns, rows, records, joined(CAPTION, legend(study.main_conditions)), study.setup)


def _last_models(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions apart from the model."""
    return list(dict.fromkeys(replace(condition, checkpoint=CHECKPOINTS[0]) for condition in conditions))


def _records(study: Study) -> Iterator[dict[str, Any]]:
    """Algorithms with validated runs, under each condition that they played with either model."""
    for algorithm, condition in product(study.algorithms, _last_models(study.conditions)):
        cells = {name: replace(condition, checkpoint=name) for name in CHECKPOINTS}
        runs = pd.DataFrame(_validated(study, algorithm, cells))
        if runs.empty:
            continue
        row = study.identity(algorithm, condition) | {"runs_anchor": study.runs_anchor(algorithm)}
        for name, cell in cells.items():
            played = (algorithm, cell) in study.outcomes
            row[f"{name}_anchor"] = study.cell_anchor(algorithm, cell) if played else None
        for name in VALUES:
            row[name], row[f"{name}_std"] = mean_and_spread(runs[name].dropna().tolist())
        yield {**row, "best_iterations": " ".join(map(str, runs["iteration"])), "seeds": len(runs)}


def _validated(study: Study, algorithm: str, cells: Mapping[str, Condition]) -> Iterator[dict[str, float]]:
    """The numbers of each validated run that played there, by seed; NaN where it did not play with that model."""
    for run in study.of(algorithm):
        rows = study.training.get(run.name)
        played = [study.played.get((run.name, cell)) for cell in cells.values()]
        rates = values(rows, SUCCESS)
        if rows is None or not rates or all(one is None for one in played):
            continue
        last, best = (math.nan if one is None else float(np.mean(one["won"])) for one in played)
        first = rates.index(max(rates))  # of equal ones
        yield {
            "last": last,
            "best": best,
            "gain": best - last,
            "validation_last": rates[-1],
            "validation_best": rates[first],
            "validation_window": float(np.mean(rates[-WINDOW:])),
            "iteration": int(rows.loc[rows[SUCCESS].notna(), "iteration"].iloc[first]),
        }
