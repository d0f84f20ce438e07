"""Differences between algorithms, paired over tasks."""

from __future__ import annotations

import math

from hiper.report.measures import comparisons, differences
from hiper.report.study import Study
from hiper.report.table import (
    INTERVAL,
    Column,
    Table,
    interval,
    joined,
    percent,
    reach,
    signed,
    signed_headline,
    where,
)
from hiper.runs.conditions import legend

EACH_ALONE = "Every interval holds by itself; of twenty, one may be expected to miss."
CAPTION = (
    "Difference of success rates in percentage points, paired over the seeds and tasks that both have, and the sample "
    "standard deviation of the per-seed differences. P (better): percentage of the seeds and task types with the "
    "higher success rate, draws counting one half; its 95 % interval is for new seeds on these tasks (one seed: none). "
    f"{EACH_ALONE}"
)
SCORE = ("score_difference", *(f"score_{end}" for end in INTERVAL))
SCORE_CAPTION = "Score: the difference of the benchmark's task score times 100, likewise."


def improvement_table(study: Study) -> Table:
    """One row per comparison and main condition."""
    rows = differences(study)
    columns = [
        Column("Comparison", ("comparison",), files=("benchmark", "model", "algorithm"), link="origin"),
        *where(study.main_conditions),
        Column("", ("baseline",)),
        Column("Difference", ("difference",), signed),
        Column("95 % interval", INTERVAL, signed_headline),
        Column("Score" * study.graded, SCORE, _with_interval),
        Column("Seed std", ("seed_std",), percent),
        Column("Tasks", ("tasks",)),
        Column("Seeds", ("seeds",)),
        Column("P (better)", ("probability", "probability_low", "probability_high"), _chance),
    ]
    seeds = set() if rows.empty else {*rows["seeds"]}
    caption = joined(
        CAPTION,
        SCORE_CAPTION * study.graded,
        reach(seeds),
        _unpaired(study),
        study.main_note,
        legend(study.main_conditions),
    )
    return Table(columns, rows, rows, caption, joined(study.setup, study.gaps))


def _unpaired(study: Study) -> str:
    """Which comparisons are not shown because no seed and task is common, as a sentence; empty where all are."""
    rows = differences(study)
    shown = set() if rows.empty else set(zip(rows["algorithm"], rows["baseline"], strict=True))
    pairs = [pair for pair in comparisons(study) if pair not in shown]
    missing = [f"{study.label(algorithm)} − {study.label(baseline)}" for algorithm, baseline in pairs]
    return f"Without a common seed and task, so not compared: {', '.join(missing)}." if missing else ""


def _with_interval(value: float, *ends: float) -> str:
    return f"{signed(value)} {signed_headline(*ends)}"


def _chance(value: float, low: float, high: float) -> str:
    return percent(value) if math.isnan(low) else f"{percent(value)} {interval(low, high)}"
