"""Differences between algorithms, paired over tasks, as tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from hiper.stages.aggregates import chance
from hiper.stages.conditions import Condition, columns, explain
from hiper.stages.results import WARM_START, Run, Study, cell_name, describe, hierarchical
from hiper.stages.table_formats import Table, aggregate_columns, interval_text, joined, number, percent, signed
from hiper.stages.tables import cell_columns
from hiper.statistics import Aggregate, Difference, paired_difference

IMPROVEMENT_CAPTION = (
    "Difference of success rates in percentage points, paired over tasks and averaged over common seeds, with the 95 % "
    "bootstrap interval over tasks (seeds fixed) and the sample standard deviation of the per-seed differences. P "
    "(better): percentage of the seeds and task types with the higher success rate, draws counting one half, with the "
    "95 % bootstrap interval over seeds (of fewer than five it says little)."
)


def comparisons(study: Study) -> list[tuple[str, str]]:
    """Every algorithm against the warm start, then every HiPER variant against every algorithm without a hierarchy."""
    trained = [algorithm for algorithm in study.algorithms if algorithm != WARM_START]
    pairs = [(algorithm, WARM_START) for algorithm in trained if WARM_START in study.algorithms]
    variants = [algorithm for algorithm in trained if hierarchical(study.of(algorithm)[0])]
    flat = [algorithm for algorithm in trained if algorithm not in variants]
    return pairs + list(product(variants, flat))


def improvements(study: Study) -> list[tuple[str, str, Condition, Difference]]:
    """(algorithm, baseline, condition, difference) for every comparison that has common tasks."""
    found = []
    for algorithm, baseline in comparisons(study):
        for condition in study.main_conditions:
            ours, theirs = (_by_seed_and_task(study.of(name), condition) for name in (algorithm, baseline))
            if ours and theirs and set.intersection(*map(set, [*ours.values(), *theirs.values()])):
                found.append((algorithm, baseline, condition, paired_difference(ours, theirs)))
    return found


def improvement_table(study: Study) -> Table:
    """Percentage points, one row per comparison and main condition."""
    found, where = improvements(study), columns(study.main_conditions)
    rows = tuple(
        (
            *(f"{study.label(algorithm)} − {study.label(baseline)}", *condition.cells(where)),
            *(signed(difference.mean), f"[{signed(difference.interval.low)}, {signed(difference.interval.high)}]"),
            *(percent(difference.seed_spread), str(difference.tasks), str(difference.seeds)),
            _chance(chance(study, algorithm, baseline, condition)),
        )
        for algorithm, baseline, condition, difference in found
    )
    links = tuple({"Comparison": cell_name(study, algorithm, condition)} for algorithm, _, condition, _ in found)
    caption = joined(
        IMPROVEMENT_CAPTION, study.main_note, explain(study.main_conditions), describe(study), study.gaps()
    )
    header = ("Comparison", *where, "Difference", "95 % interval", "Seed std", "Tasks", "Seeds", "P (better)")
    return Table(caption, header, rows, links)


def improvement_records(study: Study) -> list[dict[str, str]]:
    return [
        {
            **cell_columns(study, algorithm, condition),
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


def _chance(found: Aggregate | None) -> str:
    if found is None:
        return "–"
    return percent(found.value) if found.seeds < 2 else f"{percent(found.value)} {interval_text(found.interval)}"
