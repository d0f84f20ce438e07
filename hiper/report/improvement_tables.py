"""Differences between algorithms, paired over tasks, as tables of a report."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product

from hiper.report.aggregates import chance, outcomes
from hiper.report.table_formats import (
    Table,
    aggregate_columns,
    headline,
    interval_columns,
    interval_text,
    joined,
    number,
    percent,
    reach,
    signed,
    signed_interval,
)
from hiper.report.tables import cell_columns
from hiper.runs.conditions import Condition, columns, explain
from hiper.runs.results import WARM_START, Study, cell_name, describe, hierarchical
from hiper.statistics import Aggregate, Mean, mean_difference, paired

IMPROVEMENT_CAPTION = (
    "Difference of success rates in percentage points, paired over the seeds and tasks that both have, and the sample "
    "standard deviation of the per-seed differences. P (better): percentage of the seeds and task types with the "
    "higher success rate, draws counting one half; its 95 % interval is for new seeds on these tasks (one seed: none). "
    "Every interval holds by itself; of twenty, one may be expected to miss."
)


def comparisons(study: Study) -> list[tuple[str, str]]:
    """Every algorithm against the warm start, then every HiPER variant against every algorithm without a hierarchy."""
    trained = [algorithm for algorithm in study.algorithms if algorithm != WARM_START]
    pairs = [(algorithm, WARM_START) for algorithm in trained if WARM_START in study.algorithms]
    variants = [algorithm for algorithm in trained if hierarchical(study.of(algorithm)[0])]
    flat = [algorithm for algorithm in trained if algorithm not in variants]
    return pairs + list(product(variants, flat))


def improvements(study: Study) -> list[tuple[str, str, Condition, Mean]]:
    """(algorithm, baseline, condition, difference) for every comparison that has a common seed and task."""
    found = []
    for algorithm, baseline in comparisons(study):
        for condition in study.main_conditions:
            ours, theirs = (outcomes(study.of(name), condition) for name in (algorithm, baseline))
            if any(ours[seed].keys() & theirs[seed].keys() for seed in ours.keys() & theirs.keys()):
                found.append((algorithm, baseline, condition, mean_difference(paired(ours, theirs))))
    return found


def _unpaired(study: Study, shown: Collection[tuple[str, str]]) -> str:
    """Which comparisons are not `shown` because no seed and task is common, as a sentence; empty where all are."""
    pairs = [pair for pair in comparisons(study) if pair not in shown]
    missing = [f"{study.label(algorithm)} − {study.label(baseline)}" for algorithm, baseline in pairs]
    return f"Without a common seed and task, so not compared: {', '.join(missing)}." if missing else ""


def improvement_table(study: Study) -> Table:
    """Percentage points, one row per comparison and main condition."""
    found, where = improvements(study), columns(study.main_conditions)
    rows = tuple(
        (
            *(f"{study.label(algorithm)} − {study.label(baseline)}", *condition.cells(where)),
            *(signed(difference.mean), headline(difference, signed_interval)),
            *(percent(difference.spread), str(difference.tasks), str(difference.seeds)),
            _chance(chance(study, algorithm, baseline, condition)),
        )
        for algorithm, baseline, condition, difference in found
    )
    links = tuple({"Comparison": cell_name(study, algorithm, condition)} for algorithm, _, condition, _ in found)
    unpaired = _unpaired(study, {(algorithm, baseline) for algorithm, baseline, _, _ in found})
    gaps = reach({difference.seeds for *_, difference in found}), unpaired
    explained = study.main_note, explain(study.main_conditions), describe(study), study.gaps()
    caption = joined(IMPROVEMENT_CAPTION, *gaps, *explained)
    header = ("Comparison", *where, "Difference", "95 % interval", "Seed std", "Tasks", "Seeds", "P (better)")
    return Table(caption, header, rows, links)


def improvement_records(study: Study) -> list[dict[str, str]]:
    return [
        {
            **cell_columns(study, algorithm, condition),
            "baseline": baseline,
            "difference": number(difference.mean),
            **interval_columns(difference),
            "seed_std": number(difference.spread),
            "tasks": str(difference.tasks),
            "seeds": str(difference.seeds),
            **aggregate_columns("probability", chance(study, algorithm, baseline, condition)),
        }
        for algorithm, baseline, condition, difference in improvements(study)
    ]


def _chance(found: Aggregate | None) -> str:
    if found is None:
        return "–"
    return percent(found.value) if found.seeds < 2 else f"{percent(found.value)} {interval_text(found.interval)}"
