"""What choosing the best model of a run instead of its last one changed, on the tasks reported and on those it was
chosen by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap

import numpy as np

from hiper.report.table_formats import Table, joined, mean_spread, number, percent, signed
from hiper.runs.conditions import CHECKPOINTS, Condition, columns, explain
from hiper.runs.results import Run, Study, cell_name, describe, group_name
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


@dataclass(frozen=True)
class Selection:
    """Numbers of one run: success of its last and its best model under a condition (None: not played) and on
    validation tasks, the mean of the last validations, and the iteration of the best model."""

    last: float | None
    best: float | None
    validation_last: float
    validation_best: float
    validation_window: float
    iteration: int

    @property
    def gain(self) -> float | None:
        return None if self.last is None or self.best is None else self.best - self.last


VALUES: dict[str, Callable[[Selection], float | None]] = {
    "last": lambda one: one.last,
    "best": lambda one: one.best,
    "gain": lambda one: one.gain,
    "validation_last": lambda one: one.validation_last,
    "validation_best": lambda one: one.validation_best,
    "validation_window": lambda one: one.validation_window,
}
RECORD_COLUMNS = (
    *("benchmark", "model", "algorithm", "split", "temperature", "protocol"),
    *(column for name in VALUES for column in (name, f"{name}_std")),
    *("best_iterations", "seeds"),
)


def selections(study: Study, algorithm: str, condition: Condition) -> list[Selection]:
    """One per validated run that played there, by seed; `condition.checkpoint` is left aside."""
    found = []
    for run in study.of(algorithm):
        rows = _validations(run)
        last, best = (_rate(run, replace(condition, checkpoint=name)) for name in CHECKPOINTS)
        if not rows or (last is None and best is None):
            continue
        rates = [rate for _, rate in rows]
        iteration, highest = max(rows, key=lambda row: row[1])  # the first of equal ones
        found.append(Selection(last, best, rates[-1], highest, float(np.mean(rates[-WINDOW:])), iteration))
    return found


def _validations(run: Run) -> list[tuple[int, float]]:
    """(iteration, success on the validation tasks)."""
    return [(int(row["iteration"]), row[SUCCESS]) for row in run.metrics if row.get(SUCCESS) is not None]


def _rate(run: Run, condition: Condition) -> float | None:
    played = run.played(condition)
    return float(np.mean([episode["won"] for episode in played])) if played else None


def selection_table(study: Study) -> Table | None:
    """One row per algorithm and main condition, for both models; None where no run was validated."""
    cells = _cells(study, study.main_conditions)
    where, rows, links = columns(study.main_conditions), [], []
    for algorithm, condition, found in cells:
        last, best, gain, *validation = (_over_seeds(found, value) for value in VALUES.values())
        shown = [mean_spread(*last), mean_spread(*best), _signed_spread(*gain), *starmap(mean_spread, validation)]
        places = ", ".join(str(one.iteration) for one in found)
        rows.append((study.label(algorithm), *condition.cells(where), *shown, places, str(len(found))))
        links.append(_links(study, algorithm, condition))
    if not rows:
        return None
    header = (
        "Algorithm",
        *where,
        "Last",
        "Best",
        "Best − last",
        "Val. last",
        "Val. best",
        "Val. mean",
        "Best after",
        "Seeds",
    )
    caption = joined(CAPTION, explain(study.main_conditions), describe(study))
    return Table(caption, header, tuple(rows), tuple(links))


def selection_records(study: Study) -> list[dict[str, str]]:
    """One record per algorithm and condition, apart from the model."""
    records = []
    for algorithm, condition, found in _cells(study, study.conditions):
        record = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm}
        record |= {"split": condition.split, "temperature": f"{condition.temperature}", "protocol": condition.protocol}
        for name, value in VALUES.items():
            mean, spread = _over_seeds(found, value)
            record |= {name: number(mean), f"{name}_std": number(spread)}
        record |= {"best_iterations": " ".join(str(one.iteration) for one in found), "seeds": str(len(found))}
        records.append(record)
    return records


def _cells(study: Study, conditions: Sequence[Condition]) -> list[tuple[str, Condition, list[Selection]]]:
    """Algorithms with validated runs, under each of `conditions` that they played with either model."""
    places = dict.fromkeys(replace(condition, checkpoint=CHECKPOINTS[0]) for condition in conditions)
    found = ((name, one, selections(study, name, one)) for name in study.algorithms for one in places)
    return [cell for cell in found if cell[2]]


def _over_seeds(runs: Sequence[Selection], value: Callable[[Selection], float | None]) -> tuple[float, float]:
    """Mean and deviation over the runs that have the value."""
    return mean_and_spread([found for one in runs if (found := value(one)) is not None])


def _signed_spread(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "–"
    return signed(mean) if math.isnan(spread) else f"{signed(mean)} ± {percent(spread)}"


def _links(study: Study, algorithm: str, condition: Condition) -> dict[str, str]:
    links = {"Algorithm": group_name(study, algorithm)}
    for column, checkpoint in (("Last", "last"), ("Best", "best")):
        cell = replace(condition, checkpoint=checkpoint)
        if any(run.played(cell) for run in study.of(algorithm)):
            links[column] = cell_name(study, algorithm, cell)
    return links
