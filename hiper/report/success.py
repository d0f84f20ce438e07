"""Success rates of every cell, and their interquartile means."""

from __future__ import annotations

import pandas as pd

from hiper.report.measures import ALL, pick, rates
from hiper.report.study import Study
from hiper.report.table import (
    INTERVAL,
    LABEL,
    Column,
    Table,
    headline,
    joined,
    mean_spread,
    percent,
    reach,
    where,
)
from hiper.runs.conditions import legend

SUCCESS_CAPTION = "Success rate in percent: mean ± sample standard deviation over seeds (one seed: no deviation)."
UNEQUAL_CAPTION = "Where seeds played different numbers of episodes, every seed counts alike."
SCORE_CAPTION = "Score: the benchmark's task score times 100, likewise."
REACHABLE_CAPTION = "Reachable: share of the episodes whose goal can be won at all with the product it is about."
AGGREGATE_CAPTION = (
    "Interquartile mean in percent: the middle half of the success rates of all seeds and task types. Mean: of the "
    "same rates, every task type counting alike. Task types that a seed did not play are left out of both."
)


def success_table(study: Study, cells: pd.DataFrame | None = None) -> Table:
    """One row per cell, by default all that were played; the records have one more for each task type."""
    chosen = played_cells(study) if cells is None else cells
    rows, types, conditions = chosen.copy(), study.task_types, list(dict.fromkeys(chosen["condition"]))
    for name in types:
        of_type = pick(rates(study), task_type=name).set_index("origin")
        for end in ("mean", "std"):
            rows[f"{name} {end}"] = rows["origin"].map(of_type[end])
    graded = study.graded
    limited = not study.episodes["reachable"].all()
    columns = [
        LABEL,
        *where(conditions),
        Column("", ("task_type",)),
        Column("All", ("mean", "std"), mean_spread, link="origin"),
        Column("95 % interval", INTERVAL, headline),
        Column("Score" * graded, ("score", "score_std"), mean_spread),
        Column("Reachable" * limited, ("reachable",), percent),
        *(Column(study.task_label(name), (f"{name} mean", f"{name} std"), mean_spread, files=()) for name in types),
        Column("", ("won",)),
        Column("Episodes", ("episodes",)),
        Column("Seeds", ("seeds",)),
        Column("", ("runs", "iqm", "iqm_low", "iqm_high")),
    ]
    texts = (UNEQUAL_CAPTION, rows["unequal"].any()), (SCORE_CAPTION, graded), (REACHABLE_CAPTION, limited)
    note = study.main_note if len(chosen) < len(played_cells(study)) else ""
    caption = joined(
        SUCCESS_CAPTION, reach({*rows["seeds"]}), *(text for text, true in texts if true), note, legend(conditions)
    )
    return Table(columns, rows, rates(study), caption, joined(study.setup, study.gaps))


def played_cells(study: Study) -> pd.DataFrame:
    return pick(rates(study), task_type=ALL)


def main_cells(study: Study) -> pd.DataFrame:
    """Those of the main conditions."""
    return pick(rates(study), task_type=ALL, main=True)


def cells_side_by_side(study: Study) -> pd.DataFrame:
    """All of them, one algorithm's protocols and models on the same split and at the same temperature together."""
    cells = played_cells(study)
    places = list(dict.fromkeys(condition.where for condition in study.conditions))
    algorithm = cells["algorithm"].map(study.algorithms.index)
    place = cells["condition"].map(lambda condition: places.index(condition.where))
    return cells.iloc[(len(places) * algorithm + place).argsort(kind="stable")]


def aggregate_table(study: Study) -> Table:
    """One row per algorithm and main condition."""
    cells = main_cells(study)
    rows = cells[cells["iqm"].notna()]
    columns = [
        LABEL,
        *where(study.main_conditions),
        Column("IQM", ("iqm",), percent),
        Column("95 % interval", tuple(f"iqm_{end}" for end in INTERVAL), headline),
        Column("Mean", ("iqm_mean",), percent),
        Column("Task types", ("iqm_types",)),
        Column("Seeds", ("seeds",)),
    ]
    caption = joined(AGGREGATE_CAPTION, reach({*rows["seeds"]}), study.main_note, legend(study.main_conditions))
    return Table(columns, rows, None, caption, joined(study.setup, study.gaps))
