"""When credit by subgoals pays: success, the gap to a baseline and what agents do, against how many turns a win takes;
and the gap against how much HiPER's critic knows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

import pandas as pd

from hiper.report.critics import RETURNS, TARGETS, TRACE
from hiper.report.improvement import EACH_ALONE
from hiper.report.measures import interval_of, of_type, pick, rates
from hiper.report.selection import SUCCESS as VALIDATED
from hiper.report.study import Study
from hiper.report.table import (
    INTERVAL,
    Column,
    Table,
    headline,
    interval,
    joined,
    mean_spread,
    percent,
    reach,
    signed,
    signed_headline,
    two_digits,
)
from hiper.report.training import LEVELS, THERE, amount, values
from hiper.runs.conditions import Condition
from hiper.runs.run_files import value_at
from hiper.statistics import (
    Mean,
    Outcomes,
    first_staying,
    mean_and_spread,
    mean_change,
    mean_difference,
    needed,
    over_seeds,
    paired,
)

BASELINE = "ppo"  # credit token by token, without a hierarchy
APART = 1.0  # turns: horizons that differ by less are one
NONE = (
    "Fewer than two horizons: no benchmark has task types whose wins take different numbers of turns (by one or more)."
)
AGAIN = 2  # validations in a row, so that chance seldom passes for a level that was reached
NO_LEVELS = "No run was validated on tasks of two or more horizons (`training.validation.tasks`)."
NO_CRITICS = f"No run of HiPER recorded explained variance beside runs of {BASELINE} on the same seeds and tasks."
EXPERT = (
    "Horizon: turns to a win, the mean over those of the expert's demonstrations (on training tasks) that the turn "
    "limit allows."
)
WINNERS = (
    "Horizon: turns to a win, the mean over the episodes that any run won under this condition (without the expert's "
    "demonstrations); tasks that nobody wins are not in it."
)
SUCCESS = "Success in percent, mean ± sample standard deviation over seeds."
GAP = (
    "Gap: difference of success rates to {baseline} in percentage points, paired over the seeds and tasks that both "
    f"have. Change: of the gap, from the shortest horizon. {{mark}}: the interval, for new seeds and tasks, is all on "
    f"one side of zero. {EACH_ALONE}"
)
MARK = "*"
SWITCHING = (
    "Switch rate: share of the turns after an episode's first in which the agent replaced its subgoal; segment: turns "
    "that it kept one. Over all evaluation episodes of the task type, won or not; means over seeds, with 95 % "
    "intervals (Student's) for new seeds on these tasks."
)
CRITICS = (
    "A row per seed: the explained variance of Monte-Carlo returns by HiPER's value heads, mean over training (low: "
    "actions, high: subgoals), and the difference of success rates to {baseline}'s run of the same seed in percentage "
    "points, paired over tasks. Trace: λ_b, the share of credit that goes on through subgoal boundaries; where it "
    "follows explained variance (auto), its mean over training. The intervals are for new tasks alone: of one seed "
    "there is none for others."
)
TO_LEVEL = (
    "Episodes that training had played when success on the validation tasks of a task type reached the level and was "
    "there again at the next validation; mean ± sample standard deviation over seeds. A seed that did not get there "
    "counts with all it played, so that the mean is a lower bound: ≥. Of each task type the highest level that at "
    "least half of all runs reached: it differs between types. Validations are far apart, and few tasks are of one "
    "type: the figures are coarse."
)
POSSIBLE = {"switch_rate": (0.0, 1.0), "segment_length": (1.0, math.inf)}
HEADS = ("high", "low", "switch")
CONDITION = Column("", ("split", "temperature", "protocol", "checkpoint"), digits="")
PLACE = (
    Column("Algorithm", ("label",), files=("benchmark", "model", "algorithm"), link="origin"),
    CONDITION,
    Column("Task type", ("task",), files=("task_type",)),
    Column("Horizon", ("horizon",), "{:.1f}".format, digits=".2f"),
)


def baseline(study: Study) -> str | None:
    """None where it was not trained: then there are no gaps."""
    return BASELINE if BASELINE in study.trained else None


def apart(horizons: Sequence[float]) -> bool:
    """Whether they are two or more."""
    return len(horizons) > 0 and max(horizons) - min(horizons) >= APART


@cache
def by_horizon(study: Study) -> pd.DataFrame:
    """One row per cell of the main conditions and task type, by horizon within a cell; empty below two horizons.

    `mean` … `tasks_high` are those of `rates`; `gap` and `change` have the same ends with a prefix, NaN where there is
    no baseline to compare with; `differs`, `changes`: whether the interval for new seeds and tasks excludes zero.
    """
    found = []
    for algorithm, condition in product(study.algorithms, study.main_conditions):
        horizons = study.horizons(condition)
        if not apart([*horizons.values()]):
            continue
        cells = pick(rates(study), algorithm=algorithm, condition=condition)
        sides = {name: _sides(study, algorithm, condition, name) for name in horizons}
        shortest = next(iter(horizons))
        for name, turns in horizons.items():
            for row in pick(cells, task_type=name).to_dict("records"):  # none or one
                gap = mean_difference(paired(*sides[name])) if _seeds(sides[name]) else None
                change = None if name == shortest else _change(sides[name], sides[shortest])
                row |= {"task": study.task_label(name), "horizon": turns}
                row |= _columns("gap", gap) | _columns("change", change)
                row |= {"differs": _excludes_zero(gap), "changes": _excludes_zero(change)}
                found.append(row | _switching(study, algorithm, condition, name))
    return pd.DataFrame(found)


Sides = tuple[Outcomes, Outcomes]
"""An algorithm's outcomes and the baseline's."""


def _sides(study: Study, algorithm: str, condition: Condition, task_type: str) -> Sides:
    """Of the task type; none of the baseline for itself."""
    other = "" if algorithm == baseline(study) else baseline(study) or ""
    ours, theirs = (of_type(study.outcomes.get((name, condition), {}), task_type) for name in (algorithm, other))
    return ours, theirs


def _seeds(sides: Sides) -> set[int]:
    """Those with a task that both played."""
    ours, theirs = sides
    return {seed for seed in ours.keys() & theirs.keys() if ours[seed].keys() & theirs[seed].keys()}


def _change(later: Sides, earlier: Sides) -> Mean | None:
    """Of the gap, over the seeds that have both; None without any."""
    seeds = _seeds(later) & _seeds(earlier)
    grids = (paired(*({seed: side[seed] for seed in seeds} for side in sides)) for sides in (later, earlier) if seeds)
    return mean_change(*grids) if seeds else None


def _columns(name: str, found: Mean | None) -> dict[str, float]:
    mean, spread = (found.mean, found.spread) if found else (math.nan, math.nan)
    return {name: mean, f"{name}_std": spread, **interval_of(found, f"{name}_")}


def _excludes_zero(found: Mean | None) -> bool:
    """Never with one seed, which tells nothing of others."""
    return found is not None and (found.interval.low > 0 or found.interval.high < 0)


def _switching(study: Study, algorithm: str, condition: Condition, task_type: str) -> dict[str, float]:
    """NaN where the episodes do not tell, and intervals below two seeds."""
    measured: dict[str, list[float]] = {name: [] for name in POSSIBLE}
    for run in study.of(algorithm):
        played = study.played.get((run.name, condition))
        if played is None or "segments" not in played:
            continue
        counts = played.loc[(played["task_type"] == task_type) & (played["segments"] > 0), ["segments", "turns"]]
        segments, turns = map(float, counts.sum())
        if turns > len(counts):
            measured["switch_rate"].append((segments - len(counts)) / (turns - len(counts)))
        if segments > 0:
            measured["segment_length"].append(turns / segments)
    found = {}
    for name, seeds in measured.items():
        ends, (least, most) = over_seeds(seeds), POSSIBLE[name]
        found |= {name: mean_and_spread(seeds)[0]}
        found |= {f"{name}_low": max(ends.low, least), f"{name}_high": min(ends.high, most)}  # NaN stays
    return found


def horizon_table(study: Study) -> Table:
    """One row per algorithm and task type under the condition that asks most; the records have all main conditions."""
    records, other = by_horizon(study), baseline(study)
    rows = pick(records, condition=study.hardest)
    name = study.label(other) if other else ""
    gap, change = ((one, *(f"{one}_{end}" for end in INTERVAL)) for one in ("gap", "change"))
    columns = [
        *PLACE,
        Column("Success", ("mean", "std"), mean_spread, link="origin"),
        Column("95 % interval", INTERVAL, headline),
        Column(f"Gap to {name}" * bool(other), ("gap", "differs"), _marked),
        Column("95 % interval" * bool(other), gap[1:], signed_headline, files=(*gap[1:], "gap_std")),
        Column("Change" * bool(other), ("change", "changes"), _marked),
        Column("95 % interval" * bool(other), change[1:], signed_headline, files=(*change[1:], "change_std")),
        Column("Seeds", ("seeds",)),
    ]
    caption = joined(_source(study), SUCCESS, GAP.format(baseline=name, mark=MARK) if other else "", _reach(rows))
    return Table(columns, rows, records, caption, study.setup)


def switching_table(study: Study) -> Table:
    """As `horizon_table`, of the episodes that say how many segments they have."""
    records = by_horizon(study)
    records = records if records.empty else records[records["segment_length"].notna()]
    rate, length = ((one, f"{one}_low", f"{one}_high") for one in ("switch_rate", "segment_length"))
    columns = [
        *PLACE,
        Column("Switch rate", rate, _with_interval),
        Column("Turns per segment", length, _with_interval),
        Column("Seeds", ("seeds",)),
    ]
    rows = pick(records, condition=study.hardest)
    return Table(columns, rows, records, joined(_source(study), SWITCHING), study.setup)


def _source(study: Study) -> str:
    return joined(_condition(study), EXPERT if study.expert else WINNERS)


def _condition(study: Study) -> str:
    """Of the rows that people see."""
    return f"Split {study.hardest.words}." if study.hardest else ""


def _reach(rows: pd.DataFrame) -> str:
    return reach({*rows["seeds"]}) if len(rows) else ""


def _marked(value: float, excludes_zero: bool) -> str:
    return "–" if math.isnan(value) else f"{signed(value)}{f' {MARK}' * excludes_zero}"


def _with_interval(mean: float, low: float, high: float) -> str:
    return two_digits(mean) if math.isnan(low) else f"{two_digits(mean)} {interval(low, high, two_digits)}"


@cache
def levels(study: Study) -> pd.DataFrame:
    """One row per task type, level that any run reached, and trained algorithm, the shortest horizon first: `episodes`,
    `episodes_std`, `reached` of `seeds`, as TO_LEVEL says; empty below two horizons."""
    horizons = study.horizons(study.hardest) if study.hardest else {}
    if not apart([*horizons.values()]):
        return pd.DataFrame()
    found = product(horizons.items(), LEVELS)
    rows = ({**row, "horizon": turns} for (name, turns), level in found for row in _reached(study, name, level))
    return pd.DataFrame(rows)


def _reached(study: Study, task_type: str, level: float) -> list[dict[str, Any]]:
    """Of the algorithms that were validated on tasks of the type; none where no run of theirs reached the level."""
    metric = f"{VALIDATED}/{task_type}"
    found = []
    for algorithm in study.trained:
        rows = [study.training.get(run.name) for run in study.of(algorithm)]
        seen = [one.dropna(subset=[metric]) for one in rows if one is not None and metric in one]
        places = [first_staying(one[metric].to_numpy(), level, AGAIN) for one in seen]
        if seen:
            to_level = needed([one["episodes"].to_numpy(dtype=float) for one in seen], places)
            row = {"task_type": task_type, "task": study.task_label(task_type), "level": level}
            row |= {"episodes": to_level.mean, "episodes_std": to_level.spread}
            found.append({**study.identity(algorithm), **row, "reached": to_level.reached, "seeds": to_level.runs})
    return found if any(row["reached"] for row in found) else []


def highest(records: pd.DataFrame) -> pd.DataFrame:
    """Those of the highest level that at least half of all runs reached."""
    counts = records.groupby("level")[["reached", "seeds"]].sum()
    common = counts.index[2 * counts["reached"] >= counts["seeds"]]
    return records[records["level"] == max(common)] if len(common) else records[:0]


def level_table(study: Study) -> Table:
    """One row per algorithm and task type; the records have all levels."""
    records = levels(study)
    spent = ("episodes", "episodes_std")
    shown = [highest(own) for _, own in records.groupby("task_type", sort=False)] if len(records) else []
    columns = [
        PLACE[0],
        *PLACE[2:],
        Column("Success (%)", ("level",), percent, digits=".1f"),
        Column("Episodes", (*spent, *THERE), amount, files=spent, digits=".1f"),
        Column("Seeds there", THERE, "{} of {}".format),
    ]
    caption = joined(EXPERT if study.expert else WINNERS, TO_LEVEL)
    return Table(columns, pd.concat(shown) if shown else records, records, caption, study.setup)


@cache
def critic_gaps(study: Study) -> pd.DataFrame:
    """One row per run of HiPER and its variants whose seed the baseline has, under the condition that asks most: mean
    over training of the explained variance by head (NaN where it was not recorded), λ_b as set and as it was, and the
    gap of that seed alone."""
    return pd.DataFrame(_critic_gaps(study))


def _critic_gaps(study: Study) -> Iterator[dict[str, Any]]:
    condition, other = study.hardest, baseline(study)
    if condition is None or other is None:
        return
    for run in (run for run in study.runs if run.hierarchical):
        played = (study.outcomes.get((name, condition), {}) for name in (run.algorithm, other))
        ours, theirs = ({run.seed: outcomes.get(run.seed, {})} for outcomes in played)
        rows = study.training.get(run.name)
        heads = {name: _mean(rows, f"{RETURNS}{name}") for name in HEADS if values(rows, f"{TARGETS}{name}")}
        if not heads or not _seeds((ours, theirs)):
            continue
        gap = mean_difference(paired(ours, theirs))
        wanted = value_at(run.settings, "algorithm.lam_boundary")
        fixed = wanted if isinstance(wanted, int | float) else math.nan
        yield {
            **study.identity(run.algorithm, condition),
            "seed": run.seed,
            "lam_boundary": str(wanted) if wanted is not None else "",
            "trace": float(fixed) if not math.isnan(fixed) else _mean(rows, TRACE),
            **{name: heads.get(name, math.nan) for name in HEADS},
            **_columns("gap", gap),
            "tasks": gap.tasks,
        }


def _mean(rows: pd.DataFrame | None, metric: str) -> float:
    return mean_and_spread(values(rows, metric))[0]


def critic_gap_table(study: Study) -> Table:
    """One row per run of HiPER."""
    rows, other = critic_gaps(study), baseline(study)
    name = study.label(other) if other else ""
    columns = [
        PLACE[0],
        Column("Seed", ("seed",)),
        CONDITION,
        Column("Trace", ("lam_boundary", "trace"), _trace),
        *(Column(f"EV {head}", (head,), two_digits) for head in HEADS),
        Column(f"Gap to {name}", ("gap",), signed),
        Column("95 % interval", ("gap_tasks_low", "gap_tasks_high"), _signed_interval),
        Column("Tasks", ("tasks",)),
    ]
    return Table(columns, rows, rows, joined(_condition(study), CRITICS.format(baseline=name)), study.setup)


def _trace(wanted: str, found: float) -> str:
    return f"auto, {two_digits(found)}" if wanted == "auto" else two_digits(found)


def _signed_interval(low: float, high: float) -> str:
    return interval(low, high, signed)
