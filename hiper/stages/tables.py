"""Tables of a report: success rates, improvements, training. Records hold every number, tables what a page can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hiper.stages.results import WARM_START, Condition, Run, Study, describe, kind, label, task_label
from hiper.stages.table_formats import Table
from hiper.statistics import Difference, Interval, bootstrap_mean, mean_and_spread, paired_difference, wilson

FINAL_ITERATIONS = 5  # the training table averages over the last so many
TRAINING_METRICS = ("success", "switch_rate", "segment_length", "valid_rate")
SUCCESS_CAPTION = (
    "Success rate in percent: mean ± sample standard deviation over seeds (one seed: no deviation), and the 95 % "
    "Wilson interval of all episodes of all seeds together."
)
SCORE_CAPTION = "Score: the benchmark's task score times 100, likewise."
REACHABLE_CAPTION = "Reachable: share of the episodes whose goal can be won at all with the product it is about."
IMPROVEMENT_CAPTION = (
    "Difference of success rates in percentage points, paired over tasks and averaged over common seeds, with the 95 % "
    "bootstrap interval over tasks (seeds fixed) and the sample standard deviation of the per-seed differences."
)


@dataclass(frozen=True)
class Rate:
    """Success of one algorithm under one condition; `mean` and `spread` are over seeds, the intervals pool episodes.
    `score` and `score_spread` are the same for the task score, `reachable` is the share of episodes whose goal can be
    won."""

    mean: float
    spread: float
    score: float
    score_spread: float
    reachable: float
    interval: Interval
    bootstrap: Interval
    won: int
    episodes: int
    runs: tuple[str, ...]


def success_rate(runs: Sequence[Run], condition: Condition, task_type: str | None = None) -> Rate | None:
    """None when no episode was played there."""
    played = {run.name: [e for e in run.played(condition) if task_type in (None, e["task_type"])] for run in runs}
    played = {name: rows for name, rows in played.items() if rows}
    if not played:
        return None
    by_run = {name: [float(row["won"]) for row in rows] for name, rows in played.items()}
    score, score_spread = mean_and_spread([float(np.mean([_score(row) for row in rows])) for rows in played.values()])
    reachable = float(np.mean([reachable_goal(row) for rows in played.values() for row in rows]))
    won, episodes = int(sum(map(sum, by_run.values()))), sum(map(len, by_run.values()))
    mean, spread = mean_and_spread([float(np.mean(wins)) for wins in by_run.values()])
    bootstrap = bootstrap_mean(list(by_run.values()))
    return Rate(
        mean, spread, score, score_spread, reachable, wilson(won, episodes), bootstrap, won, episodes, tuple(by_run)
    )


def _score(row: Mapping[str, Any]) -> float:
    return float(row.get("score", row["won"]))


def reachable_goal(row: Mapping[str, Any]) -> bool:
    return bool(row.get("details", {}).get("reachable", True))


def success_table(study: Study) -> Table:
    """One row per algorithm and condition; percent."""
    types = study.task_types
    episodes = [episode for run in study.runs for episode in run.episodes]
    graded = any(_score(episode) != float(episode["won"]) for episode in episodes)
    limited = not all(map(reachable_goal, episodes))
    rows = []
    for algorithm in study.algorithms:
        for condition in study.conditions:
            runs = study.of(algorithm)
            rate = success_rate(runs, condition)
            if rate is None:
                continue
            cells = [_mean_spread(rate.score, rate.score_spread)] if graded else []
            cells += [_percent(rate.reachable)] if limited else []
            cells += [_rate(success_rate(runs, condition, name)) for name in types]
            rows.append(
                (
                    *(label(algorithm), condition.split, f"{condition.temperature}"),
                    *(_rate(rate), _interval(rate.interval), *cells),
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
    for algorithm in study.algorithms:
        for condition in study.conditions:
            for task_type in (None, *study.task_types):
                rate = success_rate(study.of(algorithm), condition, task_type)
                if rate is None:
                    continue
                records.append(
                    {
                        **_study_columns(study, algorithm, condition),
                        "task_type": task_type or "all",
                        "mean": _number(rate.mean),
                        "std": _number(rate.spread),
                        "wilson_low": _number(rate.interval.low),
                        "wilson_high": _number(rate.interval.high),
                        "bootstrap_low": _number(rate.bootstrap.low),
                        "bootstrap_high": _number(rate.bootstrap.high),
                        "score": _number(rate.score),
                        "score_std": _number(rate.score_spread),
                        "reachable": _number(rate.reachable),
                        "won": str(rate.won),
                        "episodes": str(rate.episodes),
                        "seeds": str(len(rate.runs)),
                        "runs": " ".join(rate.runs),
                    }
                )
    return records


def comparisons(study: Study) -> list[tuple[str, str]]:
    """Every algorithm against the warm start, then every HiPER variant against every flat PPO variant."""
    kinds = {run.algorithm: kind(run) for run in study.runs}
    trained = [algorithm for algorithm in study.algorithms if algorithm != WARM_START]
    pairs = [(algorithm, WARM_START) for algorithm in trained if WARM_START in kinds]
    for one, other in combinations(trained, 2):
        if (kinds[one], kinds[other]) == ("hiper", "ppo_turn"):
            pairs.append((one, other))
        elif (kinds[one], kinds[other]) == ("ppo_turn", "hiper"):
            pairs.append((other, one))
    return pairs


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
            *(_signed(difference.mean), f"[{_signed(difference.interval.low)}, {_signed(difference.interval.high)}]"),
            *(_percent(difference.seed_spread), str(difference.tasks), str(difference.seeds)),
        )
        for algorithm, baseline, condition, difference in improvements(study)
    )
    caption = f"{IMPROVEMENT_CAPTION} {describe(study)} {study.gaps()}"
    header = ("Comparison", "Split", "Temp.", "Difference", "95 % interval", "Seed std", "Tasks", "Seeds")
    return Table(caption.strip(), header, rows)


def improvement_records(study: Study) -> list[dict[str, str]]:
    return [
        {
            **_study_columns(study, algorithm, condition),
            "baseline": baseline,
            "difference": _number(difference.mean),
            "low": _number(difference.interval.low),
            "high": _number(difference.interval.high),
            "seed_std": _number(difference.seed_spread),
            "tasks": str(difference.tasks),
            "seeds": str(difference.seeds),
        }
        for algorithm, baseline, condition, difference in improvements(study)
    ]


def training_records(study: Study) -> list[dict[str, str]]:
    """One record per RL run: length, and rollout metrics averaged over its last iterations."""
    records = []
    for run in study.runs:
        rows = [row for row in run.metrics if "iteration" in row]
        if run.algorithm == WARM_START or not rows:
            continue
        last = rows[-FINAL_ITERATIONS:]
        finals = {
            f"final_{name}": _number(mean_and_spread([row[f"train/{name}"] for row in last if _has(row, name)])[0])
            for name in TRAINING_METRICS
        }
        records.append(
            {
                **{"run": run.name, "benchmark": run.benchmark, "model": run.model, "algorithm": run.algorithm},
                **{"seed": str(run.seed), "iterations": str(len(rows)), "episodes": str(rows[-1].get("episodes", ""))},
                **{"averaged_iterations": str(len(last)), **finals},
            }
        )
    return records


def _has(row: dict[str, Any], name: str) -> bool:
    return row.get(f"train/{name}") is not None


def _by_seed_and_task(runs: Sequence[Run], condition: Condition) -> dict[int, dict[Any, float]]:
    """Seed → task → success; a task that was drawn several times counts with its mean."""
    result: dict[int, dict[Any, float]] = {}
    for run in runs:
        wins: dict[Any, list[float]] = {}
        for episode in run.played(condition):
            wins.setdefault(episode["task"], []).append(float(episode["won"]))
        if wins:
            result[run.seed] = {task: float(np.mean(values)) for task, values in wins.items()}
    return result


def _study_columns(study: Study, algorithm: str, condition: Condition) -> dict[str, str]:
    names = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm}
    return {**names, "split": condition.split, "temperature": f"{condition.temperature}"}


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _signed(value: float) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def _rate(rate: Rate | None) -> str:
    return "–" if rate is None else _mean_spread(rate.mean, rate.spread)


def _mean_spread(mean: float, spread: float) -> str:
    return _percent(mean) if math.isnan(spread) else f"{_percent(mean)} ± {_percent(spread)}"


def _interval(interval: Interval) -> str:
    return f"[{_percent(interval.low)}, {_percent(interval.high)}]"
