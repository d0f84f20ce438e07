"""Tables of a report: success rates and improvements. Records hold every number, tables what a page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from hiper.stages.aggregates import chance, overall
from hiper.stages.results import WARM_START, Condition, Run, Study, describe, kind, label, task_label
from hiper.stages.table_formats import (
    Table,
    aggregate_columns,
    interval_text,
    mean_spread,
    number,
    percent,
    signed,
)
from hiper.statistics import Aggregate, Difference, Interval, bootstrap_mean, mean_and_spread, paired_difference, wilson

HIERARCHICAL = "hiper"  # the estimator of HiPER and its variants; all others are flat
SUCCESS_CAPTION = (
    "Success rate in percent: mean ± sample standard deviation over seeds (one seed: no deviation), and the 95 % "
    "Wilson interval of all episodes of all seeds together."
)
SCORE_CAPTION = "Score: the benchmark's task score times 100, likewise."
REACHABLE_CAPTION = "Reachable: share of the episodes whose goal can be won at all with the product it is about."
IMPROVEMENT_CAPTION = (
    "Difference of success rates in percentage points, paired over tasks and averaged over common seeds, with the 95 % "
    "bootstrap interval over tasks (seeds fixed) and the sample standard deviation of the per-seed differences. P "
    "(better): percentage of the seeds and task types with the higher success rate, draws counting one half, with the "
    "95 % bootstrap interval over seeds (of fewer than five it says little)."
)


@dataclass(frozen=True)
class Rate:
    """Success of one algorithm under one condition; `mean` and `spread` are over seeds, the interval pools episodes.
    `score` and `score_spread` are the same for the task score, `reachable` is the share of episodes whose goal can be
    won."""

    mean: float
    spread: float
    score: float
    score_spread: float
    reachable: float
    interval: Interval
    won: int
    episodes: int
    runs: tuple[str, ...]


def success_rate(runs: Sequence[Run], condition: Condition, task_type: str | None = None) -> Rate | None:
    """None when no episode was played there."""
    played = _played(runs, condition, task_type)
    if not played:
        return None
    wins = [[float(row["won"]) for row in rows] for rows in played.values()]
    score, score_spread = mean_and_spread([float(np.mean([_score(row) for row in rows])) for rows in played.values()])
    reachable = float(np.mean([reachable_goal(row) for rows in played.values() for row in rows]))
    won, episodes = int(sum(map(sum, wins))), sum(map(len, wins))
    mean, spread = mean_and_spread([float(np.mean(of_run)) for of_run in wins])
    return Rate(mean, spread, score, score_spread, reachable, wilson(won, episodes), won, episodes, tuple(played))


def _played(runs: Sequence[Run], condition: Condition, task_type: str | None) -> dict[str, list[dict[str, Any]]]:
    """The episodes of each run that has any there."""
    found = {run.name: [e for e in run.played(condition) if task_type in (None, e["task_type"])] for run in runs}
    return {name: rows for name, rows in found.items() if rows}


def _score(row: Mapping[str, Any]) -> float:
    return float(row.get("score", row["won"]))


def reachable_goal(row: Mapping[str, Any]) -> bool:
    return bool(row.get("details", {}).get("reachable", True))


def played_cells(study: Study) -> list[tuple[str, Condition]]:
    """The algorithms and conditions that have a row in the success table, in its order."""
    return [
        (algorithm, condition)
        for algorithm in study.algorithms
        for condition in study.conditions
        if any(run.played(condition) for run in study.of(algorithm))
    ]


def success_table(study: Study) -> Table:
    """One row per algorithm and condition; percent."""
    types = study.task_types
    episodes = [episode for run in study.runs for episode in run.episodes]
    graded = any(_score(episode) != float(episode["won"]) for episode in episodes)
    limited = not all(map(reachable_goal, episodes))
    rows = []
    for algorithm, condition in played_cells(study):
        runs = study.of(algorithm)
        rate = success_rate(runs, condition)
        assert rate is not None
        cells = [mean_spread(rate.score, rate.score_spread)] if graded else []
        cells += [percent(rate.reachable)] if limited else []
        cells += [_rate(success_rate(runs, condition, name)) for name in types]
        rows.append(
            (
                *(label(algorithm), condition.split, f"{condition.temperature}"),
                *(_rate(rate), interval_text(rate.interval), *cells),
                *(str(rate.episodes), str(len(rate.runs))),
            )
        )
    further = [text for text, shown in ((SCORE_CAPTION, graded), (REACHABLE_CAPTION, limited)) if shown]
    caption = " ".join([SUCCESS_CAPTION, *further, describe(study), study.gaps()])
    names = ("Algorithm", "Split", "Temp.", "All", "95 % interval", *(("Score",) if graded else ()))
    names += ("Reachable",) if limited else ()
    return Table(caption.strip(), (*names, *map(task_label, types), "Episodes", "Seeds"), tuple(rows))


def success_records(study: Study) -> list[dict[str, str]]:
    """The success table with one record per algorithm, condition and task type (`all` first), rates in [0, 1]."""
    records = []
    for algorithm, condition in played_cells(study):
        for task_type in (None, *study.task_types):
            runs = study.of(algorithm)
            rate = success_rate(runs, condition, task_type)
            if rate is None:
                continue
            wins = [[float(row["won"]) for row in rows] for rows in _played(runs, condition, task_type).values()]
            bootstrap = bootstrap_mean(wins)
            records.append(
                {
                    **_study_columns(study, algorithm, condition),
                    "task_type": task_type or "all",
                    "mean": number(rate.mean),
                    "std": number(rate.spread),
                    "wilson_low": number(rate.interval.low),
                    "wilson_high": number(rate.interval.high),
                    "bootstrap_low": number(bootstrap.low),
                    "bootstrap_high": number(bootstrap.high),
                    "score": number(rate.score),
                    "score_std": number(rate.score_spread),
                    "reachable": number(rate.reachable),
                    "won": str(rate.won),
                    "episodes": str(rate.episodes),
                    "seeds": str(len(rate.runs)),
                    "runs": " ".join(rate.runs),
                    **aggregate_columns("iqm", None if task_type else overall(study, algorithm, condition)),
                }
            )
    return records


def comparisons(study: Study) -> list[tuple[str, str]]:
    """Every algorithm against the warm start, then every HiPER variant against every algorithm without a hierarchy."""
    kinds = {run.algorithm: kind(run) for run in study.runs}
    trained = [algorithm for algorithm in study.algorithms if algorithm != WARM_START]
    pairs = [(algorithm, WARM_START) for algorithm in trained if WARM_START in kinds]
    hierarchical = [algorithm for algorithm in trained if kinds[algorithm] == HIERARCHICAL]
    flat = [algorithm for algorithm in trained if kinds[algorithm] != HIERARCHICAL]
    return pairs + list(product(hierarchical, flat))


def improvements(study: Study) -> list[tuple[str, str, Condition, Difference]]:
    """(algorithm, baseline, condition, difference) for every comparison that has common tasks."""
    found = []
    for algorithm, baseline in comparisons(study):
        for condition in study.conditions:
            ours, theirs = (_by_seed_and_task(study.of(name), condition) for name in (algorithm, baseline))
            if ours and theirs and set.intersection(*map(set, [*ours.values(), *theirs.values()])):
                found.append((algorithm, baseline, condition, paired_difference(ours, theirs)))
    return found


def improvement_table(study: Study) -> Table:
    """Percentage points, one row per comparison and condition."""
    rows = tuple(
        (
            *(f"{label(algorithm)} − {label(baseline)}", condition.split, f"{condition.temperature}"),
            *(signed(difference.mean), f"[{signed(difference.interval.low)}, {signed(difference.interval.high)}]"),
            *(percent(difference.seed_spread), str(difference.tasks), str(difference.seeds)),
            _chance(chance(study, algorithm, baseline, condition)),
        )
        for algorithm, baseline, condition, difference in improvements(study)
    )
    caption = f"{IMPROVEMENT_CAPTION} {describe(study)} {study.gaps()}"
    header = ("Comparison", "Split", "Temp.", "Difference", "95 % interval", "Seed std", "Tasks", "Seeds", "P (better)")
    return Table(caption.strip(), header, rows)


def improvement_records(study: Study) -> list[dict[str, str]]:
    return [
        {
            **_study_columns(study, algorithm, condition),
            "baseline": baseline,
            "difference": number(difference.mean),
            "low": number(difference.interval.low),
            "high": number(difference.interval.high),
            "seed_std": number(difference.seed_spread),
            "tasks": str(difference.tasks),
            "seeds": str(difference.seeds),
            **aggregate_columns("probability", chance(study, algorithm, baseline, condition)),
        }
        for algorithm, baseline, condition, difference in improvements(study)
    ]


def _by_seed_and_task(runs: Sequence[Run], condition: Condition) -> dict[int, dict[Any, float]]:
    """Seed → task → success; a task that was drawn several times counts with its mean."""
    result: dict[int, dict[Any, float]] = {}
    for run in runs:
        wins: dict[Any, list[float]] = {}
        for episode in run.played(condition):
            wins.setdefault(episode["task"], []).append(float(episode["won"]))
        if wins:
            result[run.seed] = {task: sum(values) / len(values) for task, values in wins.items()}
    return result


def _study_columns(study: Study, algorithm: str, condition: Condition) -> dict[str, str]:
    names = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm}
    return {**names, "split": condition.split, "temperature": f"{condition.temperature}"}


def _rate(rate: Rate | None) -> str:
    return "–" if rate is None else mean_spread(rate.mean, rate.spread)


def _chance(found: Aggregate | None) -> str:
    if found is None:
        return "–"
    return percent(found.value) if found.seeds < 2 else f"{percent(found.value)} {interval_text(found.interval)}"
