"""What the report measures of a study's episodes, once: rates and differences, each with its intervals, as frames.

An interquartile mean or a probability of improvement summarises scores, each the success rate of one seed on one task
type. Single games would not do as tasks: of wins and losses the middle half says little, and the probability of
improvement only repeats the difference of the rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from hiper.report.study import Study
from hiper.runs.conditions import Condition
from hiper.runs.labels import WARM_START
from hiper.statistics import (
    Aggregate,
    Mean,
    Outcomes,
    Scores,
    aggregate,
    grid,
    mean_and_spread,
    mean_difference,
    mean_rate,
    paired,
    probability_of_improvement,
)

ALL = "all"  # task types together
MAIN = "hiper"  # the algorithm that this project is about
COMMON_BASELINES = ("grpo", "ppo")


def pick(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows that have these values."""
    for name, value in values.items():
        if len(frame):  # an empty frame may have no columns
            frame = frame[frame[name] == value]
    return frame


def interval_of(found: Mean | Aggregate | None, prefix: str = "") -> dict[str, float]:
    """`low` and `high` for new seeds and tasks (NaN for one seed), `tasks_low` and `tasks_high` for new tasks."""
    ends = (found.interval.low, found.interval.high, found.over_tasks.low, found.over_tasks.high) if found else ()
    names = ("low", "high", "tasks_low", "tasks_high")
    return {f"{prefix}{name}": end for name, end in zip(names, ends or (math.nan,) * 4, strict=True)}


@cache
def rates(study: Study) -> pd.DataFrame:
    """One row per cell and task type, ALL first, in the order of the success table: a block of rows for each protocol
    and model, the main ones first.

    `score` and `score_std` are mean and deviation over seeds of the task score, `reachable` is the share of episodes
    whose goal can be won, `seed_rates` the success of each of the `runs`, `unequal` whether these played different
    numbers of episodes. `iqm` is the interquartile mean, NaN where no task type was played by all seeds.
    """
    episodes = pd.concat([study.episodes.assign(task_type=ALL), study.episodes])
    counted = episodes.groupby(["algorithm", "condition", "task_type", "run"], sort=False).agg(
        won=("won", "sum"), episodes=("won", "size"), score=("score", _mean), reachable=("reachable", "sum")
    )
    by_cell: dict[tuple[str, Condition, str], list[Any]] = {}
    for run in counted.reset_index().itertuples():
        by_cell.setdefault((run.algorithm, run.condition, run.task_type), []).append(run)
    blocks = dict.fromkeys(condition.block for condition in [*study.main_conditions, *study.conditions])
    found = []
    for block, algorithm, condition in product(blocks, study.algorithms, study.conditions):
        if condition.block != block or (algorithm, condition) not in study.outcomes:
            continue
        identity = study.identity(algorithm, condition) | {"main": condition in study.main_conditions}
        for task_type in (ALL, *study.task_types):
            if (runs := by_cell.get((algorithm, condition, task_type))) is not None:
                outcomes = of_type(study.outcomes[algorithm, condition], task_type)
                found.append({**identity, "task_type": task_type, **_rate(outcomes, runs, task_type == ALL)})
    names = ["algorithm", "condition", "origin", "main", "task_type", "mean", "std", "unequal", "seeds", "iqm"]
    return pd.DataFrame(found, columns=None if found else names)  # of a study that has not been evaluated yet


def _mean(scores: pd.Series) -> float:
    """NumPy's, which adds in another order than pandas'."""
    return float(np.mean(scores.to_numpy()))


def of_type(outcomes: Outcomes, task_type: str) -> Outcomes:
    """Those of the tasks of a type; seeds without any are left out."""
    if task_type == ALL:
        return outcomes
    found = {seed: {one: won for one, won in tasks.items() if one[0] == task_type} for seed, tasks in outcomes.items()}
    return {seed: tasks for seed, tasks in found.items() if tasks}


def _rate(outcomes: Outcomes, runs: Sequence[Any], overall: bool) -> dict[str, Any]:
    """One row, of the outcomes and of what was counted in each run."""
    success = mean_rate(grid(outcomes))
    score, score_std = mean_and_spread([run.score for run in runs])
    middle = _interquartile(outcomes) if overall else None
    episodes = sum(run.episodes for run in runs)
    return {
        "mean": success.mean,
        "std": success.spread,
        **interval_of(success),
        "score": score,
        "score_std": score_std,
        "reachable": sum(run.reachable for run in runs) / episodes,
        "won": sum(run.won for run in runs),
        "episodes": episodes,
        "unequal": len({run.episodes for run in runs}) > 1,
        "seeds": len(runs),
        "runs": " ".join(run.run for run in runs),
        "seed_rates": [run.won / run.episodes for run in runs],
        "iqm": middle.value if middle else math.nan,
        **interval_of(middle, "iqm_"),
        "iqm_mean": middle.mean if middle else math.nan,
        "iqm_types": middle.task_types if middle else 0,
    }


def _interquartile(outcomes: Outcomes) -> Aggregate | None:
    """None where no task type was played by all seeds."""
    if not set.intersection(*({name for name, _ in tasks} for tasks in outcomes.values())):
        return None
    found = grid(outcomes)
    return aggregate(found, [task[0] for task in found.tasks])


def comparisons(study: Study) -> list[tuple[str, str]]:
    """Every algorithm against the warm start, then every HiPER variant against every algorithm without a hierarchy and
    against HiPER itself, then the flat ones against GRPO and PPO, which the others are mostly measured by."""
    pairs = [(algorithm, WARM_START) for algorithm in study.trained if WARM_START in study.algorithms]
    variants = [algorithm for algorithm in study.trained if study.of(algorithm)[0].hierarchical]
    flat = [algorithm for algorithm in study.trained if algorithm not in variants]
    baselines = [name for name in COMMON_BASELINES if name in flat]
    among = [(one, other) for place, other in enumerate(baselines) for one in flat if one not in baselines[: place + 1]]
    forms = [(variant, MAIN) for variant in variants if MAIN in variants and variant != MAIN]
    return pairs + list(product(variants, flat)) + forms + among


@cache
def differences(study: Study) -> pd.DataFrame:
    """One row per comparison and main condition that have a common seed and task. `probability` is that of improvement,
    NaN without a common task type; its ends are NaN for one seed. `score_difference` is that of the task score."""
    found = []
    for (algorithm, baseline), condition in product(comparisons(study), study.main_conditions):
        ours, theirs = (study.outcomes.get((name, condition), {}) for name in (algorithm, baseline))
        if any(ours[seed].keys() & theirs[seed].keys() for seed in ours.keys() & theirs.keys()):
            difference = mean_difference(paired(ours, theirs))
            score = mean_difference(paired(*(study.scores[name, condition] for name in (algorithm, baseline))))
            chance = _chance(_type_scores(ours), _type_scores(theirs))
            found.append(
                {
                    **study.identity(algorithm, condition),
                    "baseline": baseline,
                    "comparison": f"{study.label(algorithm)} − {study.label(baseline)}",
                    "difference": difference.mean,
                    **interval_of(difference),
                    "seed_std": difference.spread,
                    "tasks": difference.tasks,
                    "seeds": difference.seeds,
                    "score_difference": score.mean,
                    **interval_of(score, "score_"),
                    "probability": chance.value if chance else math.nan,
                    **interval_of(chance, "probability_"),
                }
            )
    return pd.DataFrame(found)


def _type_scores(outcomes: Outcomes) -> Scores:
    """Seed → task type → success rate."""
    found: dict[int, dict[str, list[float]]] = {}
    for seed, tasks in outcomes.items():
        for (name, _), wins in tasks.items():
            found.setdefault(seed, {}).setdefault(name, []).extend(wins)
    return {seed: {name: sum(wins) / len(wins) for name, wins in by_type.items()} for seed, by_type in found.items()}


def _chance(ours: Scores, theirs: Scores) -> Aggregate | None:
    """The probability of improvement; None without a common seed or a common task type."""
    both = [side[seed] for side in (ours, theirs) for seed in ours.keys() & theirs.keys()]
    return probability_of_improvement(ours, theirs) if both and set.intersection(*map(set, both)) else None
