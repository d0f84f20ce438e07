"""Success rates, as tables of a report. Records hold every number, tables what a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hiper.report.aggregates import outcomes, overall
from hiper.report.table_formats import (
    Table,
    aggregate_columns,
    headline,
    interval_columns,
    joined,
    mean_spread,
    number,
    percent,
    reach,
)
from hiper.runs.conditions import Condition, columns, explain
from hiper.runs.results import Run, Study, cell_name, describe
from hiper.statistics import Mean, grid, mean_and_spread, mean_rate

Cell = tuple[str, Condition]  # an algorithm and where it was played
SUCCESS_CAPTION = "Success rate in percent: mean ± sample standard deviation over seeds (one seed: no deviation)."
UNEQUAL_CAPTION = "Where seeds played different numbers of episodes, every seed counts alike."
SCORE_CAPTION = "Score: the benchmark's task score times 100, likewise."
REACHABLE_CAPTION = "Reachable: share of the episodes whose goal can be won at all with the product it is about."


@dataclass(frozen=True)
class Rate:
    """Success of one algorithm under one condition. `score` and `score_spread` are mean and deviation over seeds of the
    task score, `reachable` is the share of episodes whose goal can be won; `episodes` of each of the `runs`."""

    success: Mean
    score: float
    score_spread: float
    reachable: float
    won: int
    episodes: tuple[int, ...]
    runs: tuple[str, ...]


def success_rate(runs: Sequence[Run], condition: Condition, task_type: str | None = None) -> Rate | None:
    """None when no episode was played there."""
    played = _played(runs, condition, task_type)
    if not played:
        return None
    success = mean_rate(grid(outcomes(runs, condition, task_type)))
    score, score_spread = mean_and_spread([float(np.mean([_score(row) for row in rows])) for rows in played.values()])
    reachable = float(np.mean([reachable_goal(row) for rows in played.values() for row in rows]))
    won = sum(bool(row["won"]) for rows in played.values() for row in rows)
    return Rate(success, score, score_spread, reachable, won, tuple(map(len, played.values())), tuple(played))


def _played(runs: Sequence[Run], condition: Condition, task_type: str | None) -> dict[str, list[dict[str, Any]]]:
    """The episodes of each run that has any there."""
    found = {run.name: [e for e in run.played(condition) if task_type in (None, e["task_type"])] for run in runs}
    return {name: rows for name, rows in found.items() if rows}


def _score(row: Mapping[str, Any]) -> float:
    return float(row.get("score", row["won"]))


def reachable_goal(row: Mapping[str, Any]) -> bool:
    return bool(row.get("details", {}).get("reachable", True))


def played_cells(study: Study) -> list[Cell]:
    """The algorithms and conditions that have a row in the success table, in its order: a block of rows for each
    protocol and model, the main ones first."""
    main = study.main_conditions
    blocks = dict.fromkeys(condition.block for condition in [*main, *study.conditions])
    return [
        (algorithm, condition)
        for block in blocks
        for algorithm in study.algorithms
        for condition in study.conditions
        if condition.block == block and any(run.played(condition) for run in study.of(algorithm))
    ]


def main_cells(study: Study) -> list[Cell]:
    """Those of the main conditions."""
    return [cell for cell in played_cells(study) if cell[1] in study.main_conditions]


def cells_side_by_side(study: Study) -> list[Cell]:
    """All of them, one algorithm's protocols and models on the same split and at the same temperature together."""
    places = list(dict.fromkeys(condition.where for condition in study.conditions))
    return sorted(played_cells(study), key=lambda cell: (study.algorithms.index(cell[0]), places.index(cell[1].where)))


def success_table(study: Study, cells: Sequence[Cell] | None = None) -> Table:
    """One row per cell, by default all that were played; percent."""
    chosen, types = played_cells(study) if cells is None else cells, study.task_types
    conditions = [condition for _, condition in chosen]
    episodes = [episode for run in study.runs for episode in run.episodes]
    graded = any(_score(episode) != float(episode["won"]) for episode in episodes)
    limited = not all(map(reachable_goal, episodes))
    rows, links, where, seeds, unequal = [], [], columns(conditions), set(), False
    for algorithm, condition in chosen:
        runs = study.of(algorithm)
        rate = success_rate(runs, condition)
        assert rate is not None
        shown = [mean_spread(rate.score, rate.score_spread)] if graded else []
        shown += [percent(rate.reachable)] if limited else []
        shown += [_rate(success_rate(runs, condition, name)) for name in types]
        rows.append(
            (
                *(study.label(algorithm), *condition.cells(where)),
                *(_rate(rate), headline(rate.success), *shown),
                *(str(sum(rate.episodes)), str(len(rate.runs))),
            )
        )
        seeds.add(len(rate.runs))
        unequal |= len(set(rate.episodes)) > 1
        links.append(dict.fromkeys(("Algorithm", "All"), cell_name(study, algorithm, condition)))
    texts = (UNEQUAL_CAPTION, unequal), (SCORE_CAPTION, graded), (REACHABLE_CAPTION, limited)
    further = [reach(seeds), *(text for text, shown in texts if shown)]
    note = study.main_note if len(conditions) < len(played_cells(study)) else ""
    caption = joined(SUCCESS_CAPTION, *further, note, explain(conditions), describe(study), study.gaps())
    names = ("Algorithm", *where, "All", "95 % interval", *(("Score",) if graded else ()))
    names += ("Reachable",) if limited else ()
    return Table(caption, (*names, *map(study.task_label, types), "Episodes", "Seeds"), tuple(rows), tuple(links))


def success_records(study: Study) -> list[dict[str, str]]:
    """The success table with one record per algorithm, condition and task type (`all` first), rates in [0, 1]."""
    records = []
    for algorithm, condition in played_cells(study):
        for task_type in (None, *study.task_types):
            runs = study.of(algorithm)
            rate = success_rate(runs, condition, task_type)
            if rate is None:
                continue
            records.append(
                {
                    **cell_columns(study, algorithm, condition),
                    "task_type": task_type or "all",
                    "mean": number(rate.success.mean),
                    "std": number(rate.success.spread),
                    **interval_columns(rate.success),
                    "score": number(rate.score),
                    "score_std": number(rate.score_spread),
                    "reachable": number(rate.reachable),
                    "won": str(rate.won),
                    "episodes": str(sum(rate.episodes)),
                    "seeds": str(len(rate.runs)),
                    "runs": " ".join(rate.runs),
                    **aggregate_columns("iqm", None if task_type else overall(study, algorithm, condition)),
                }
            )
    return records


def cell_columns(study: Study, algorithm: str, condition: Condition) -> dict[str, str]:
    """Whose number it is, as columns of a CSV file."""
    names = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm}
    return {**names, **{key: str(value) for key, value in asdict(condition).items()}}


def _rate(rate: Rate | None) -> str:
    return "–" if rate is None else mean_spread(rate.success.mean, rate.success.spread)
