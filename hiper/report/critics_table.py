"""How much value heads know of what episodes return, at the end of training and over all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hiper.report.table_formats import Table, number
from hiper.report.training_tables import FINAL_ITERATIONS
from hiper.runs.results import WARM_START, Run, Study, describe, group_name
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
RECORD_COLUMNS = (
    *("benchmark", "model", "algorithm", "head"),
    *(
        f"{name}{end}"
        for name in ("returns", "returns_last", "targets_last", "lam_boundary_last")
        for end in ("", "_std")
    ),
    "seeds",
)

Found = tuple[float, float]
"""Mean and spread over seeds."""


def critics_table(study: Study) -> Table | None:
    """One row per algorithm and value head; None where there is none."""
    rows, links = [], []
    for algorithm, head, found, seeds in _heads(study):
        rows.append((study.label(algorithm), head, *(_shown(*one) for one in found.values()), str(seeds)))
        links.append({"Algorithm": group_name(study, algorithm)})
    if not rows:
        return None
    header = ("Algorithm", "Head", "Returns", "Returns, last", "Own targets, last", "Trace, last", "Seeds")
    return Table(f"{CAPTION} {describe(study)}", header, tuple(rows), tuple(links))


def critics_records(study: Study) -> list[dict[str, str]]:
    """One record per algorithm and value head."""
    records = []
    for algorithm, head, found, seeds in _heads(study):
        record = {"benchmark": study.benchmark, "model": study.model, "algorithm": algorithm, "head": head}
        for name, (mean, spread) in found.items():
            record |= {name: number(mean), f"{name}_std": number(spread)}
        records.append({**record, "seeds": str(seeds)})
    return records


def _heads(study: Study) -> Iterator[tuple[str, str, dict[str, Found], int]]:
    """(algorithm, head, its numbers by name, seeds). Runs that recorded no own targets are left out: what they called
    explained variance was another number."""
    for algorithm in study.algorithms:
        runs = study.of(algorithm) if algorithm != WARM_START else []
        heads = dict.fromkeys(key for run in runs for row in run.metrics for key in row if key.startswith(TARGETS))
        for head in sorted(key.removeprefix(TARGETS) for key in heads):
            having = [run for run in runs if _values(run, f"{TARGETS}{head}")]
            yield (
                algorithm,
                head,
                {
                    "returns": _over_seeds(having, f"{RETURNS}{head}", 0),
                    "returns_last": _over_seeds(having, f"{RETURNS}{head}", FINAL_ITERATIONS),
                    "targets_last": _over_seeds(having, f"{TARGETS}{head}", FINAL_ITERATIONS),
                    "lam_boundary_last": _over_seeds(having, TRACE, FINAL_ITERATIONS),
                },
                len(having),
            )


def _values(run: Run, key: str) -> list[float]:
    return [row[key] for row in run.metrics if row.get(key) is not None]


def _over_seeds(runs: Sequence[Run], key: str, last: int) -> Found:
    """Of each run's mean over its last so many iterations, or all (0)."""
    return mean_and_spread([mean_and_spread(values[-last:])[0] for run in runs if (values := _values(run, key))])


def _shown(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "–"
    text = f"{round(mean, 2) + 0.0:.2f}".replace("-", "−")
    return text if math.isnan(spread) else f"{text} ± {spread:.2f}"
