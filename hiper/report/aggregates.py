"""What an algorithm does over all its seeds and kinds of tasks: interquartile means, probabilities of improvement.

A score is the success rate of one seed on one task type. Single games would not do as tasks: of wins and losses the
middle half says little, and the probability of improvement only repeats the difference of the rates.
"""

from __future__ import annotations

from collections.abc import Sequence

from hiper.report.table_formats import Table, headline, joined, percent, reach
from hiper.runs.conditions import Condition, columns, explain
from hiper.runs.results import Run, Study, cell_name, describe
from hiper.statistics import Aggregate, Scores, aggregate, grid, probability_of_improvement

AGGREGATE_CAPTION = (
    "Interquartile mean in percent: the middle half of the success rates of all seeds and task types. Mean: of the "
    "same rates, every task type counting alike. Task types that a seed did not play are left out of both."
)

Task = tuple[str, str]  # type and name


def outcomes(
    runs: Sequence[Run], condition: Condition, task_type: str | None = None
) -> dict[int, dict[Task, list[float]]]:
    """Seed → task → won or not, of each of its episodes there; seeds without any are left out."""
    found: dict[int, dict[Task, list[float]]] = {}
    for run in runs:
        for episode in run.played(condition):
            if task_type in (None, episode["task_type"]):
                task = episode["task_type"], episode["task"]
                found.setdefault(run.seed, {}).setdefault(task, []).append(float(episode["won"]))
    return found


def type_scores(study: Study, algorithm: str, condition: Condition) -> Scores:
    """Seed → task type → success rate, of the runs that played there."""
    found: dict[int, dict[str, list[float]]] = {}
    for seed, tasks in outcomes(study.of(algorithm), condition).items():
        for (name, _), wins in tasks.items():
            found.setdefault(seed, {}).setdefault(name, []).extend(wins)
    return {seed: {name: sum(wins) / len(wins) for name, wins in by_type.items()} for seed, by_type in found.items()}


def overall(study: Study, algorithm: str, condition: Condition) -> Aggregate | None:
    """The interquartile mean; None where no task type was played by all seeds."""
    played = outcomes(study.of(algorithm), condition)
    if not played or not set.intersection(*({name for name, _ in tasks} for tasks in played.values())):
        return None
    found = grid(played)
    return aggregate(found, [task[0] for task in found.tasks])


def chance(study: Study, algorithm: str, baseline: str, condition: Condition) -> Aggregate | None:
    """The probability of improvement over `baseline`; None without a common seed or a common task type."""
    ours, theirs = (type_scores(study, name, condition) for name in (algorithm, baseline))
    paired = [side[seed] for side in (ours, theirs) for seed in ours.keys() & theirs.keys()]
    return probability_of_improvement(ours, theirs) if paired and set.intersection(*map(set, paired)) else None


def aggregate_table(study: Study) -> Table:
    """One row per algorithm and main condition; percent."""
    rows, links, where, seeds = [], [], columns(study.main_conditions), set()
    for algorithm in study.algorithms:
        for condition in study.main_conditions:
            if (found := overall(study, algorithm, condition)) is None:
                continue
            rows.append(
                (
                    *(study.label(algorithm), *condition.cells(where)),
                    *(percent(found.value), headline(found), percent(found.mean)),
                    *(str(found.kinds), str(found.seeds)),
                )
            )
            seeds.add(found.seeds)
            links.append({"Algorithm": cell_name(study, algorithm, condition)})
    header = ("Algorithm", *where, "IQM", "95 % interval", "Mean", "Task types", "Seeds")
    explained = study.main_note, explain(study.main_conditions), describe(study), study.gaps()
    caption = joined(AGGREGATE_CAPTION, reach(seeds), *explained)
    return Table(caption, header, tuple(rows), tuple(links))
