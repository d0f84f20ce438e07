"""How much value heads know of what episodes return, at the end of training and over all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from hiper.report.study import Study
from hiper.report.table import LABEL, Column, Table, two_digits
from hiper.report.training import FINAL_ITERATIONS, values
from hiper.statistics import mean_and_spread

RETURNS, TARGETS, TRACE = "critic/explained_variance_", "critic/target_explained_variance_", "critic/lam_boundary"
NONE = "No run has value heads whose explained variance was recorded."
CAPTION = (
    "Explained variance of value heads, 1 − Var(wanted − value) / Var(wanted), before each update; mean ± sample "
    "standard deviation over seeds. Returns: of Monte-Carlo returns to go, truncated episodes with what they earned; 1 "
    "is out of reach where the same state may lead to different returns, 0 is no better than a constant. Own targets: "
    "of what the head learns, which may hold the critic's own values and then flatters it. Last: the last "
    f"{FINAL_ITERATIONS} iterations. Trace: share of HiPER's credit that went on through subgoal boundaries, where it "
    "was set by explained variance (lam_boundary: auto). Heads: low (actions), high (subgoals), switch, state, token."
)


def critics_table(study: Study) -> Table:
    """One row per algorithm and value head."""
    rows = pd.DataFrame(_heads(study))
    numbers = {
        "Returns": "returns",
        "Returns, last": "returns_last",
        "Own targets, last": "targets_last",
        "Trace, last": "lam_boundary_last",
    }
    columns = [
        LABEL,
        Column("Head", ("head",)),
        *(Column(title, (name, f"{name}_std"), two_digits) for title, name in numbers.items()),
        Column("Seeds", ("seeds",)),
    ]
    return Table(columns, rows, rows, CAPTION, study.setup)


def _heads(study: Study) -> Iterator[dict[str, Any]]:
    """Runs that recorded no own targets are left out: what they called explained variance was another number."""
    for algorithm in study.trained:
        runs = [rows for run in study.of(algorithm) if (rows := study.training.get(run.name)) is not None]
        heads = {key for rows in runs for key in rows if key.startswith(TARGETS) and values(rows, key)}
        for head in sorted(key.removeprefix(TARGETS) for key in heads):
            having = [rows for rows in runs if values(rows, f"{TARGETS}{head}")]
            row = {**study.identity(algorithm), "head": head, "seeds": len(having)}
            for name, key, last in (
                ("returns", f"{RETURNS}{head}", 0),
                ("returns_last", f"{RETURNS}{head}", FINAL_ITERATIONS),
                ("targets_last", f"{TARGETS}{head}", FINAL_ITERATIONS),
                ("lam_boundary_last", TRACE, FINAL_ITERATIONS),
            ):
                # of each run's mean over its last so many iterations, or all (0)
                means = [mean_and_spread(found[-last:])[0] for rows in having if (found := values(rows, key))]
                row[name], row[f"{name}_std"] = mean_and_spread(means)
            yield row
