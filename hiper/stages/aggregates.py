"""What an algorithm does over all its seeds and kinds of tasks: interquartile means, probabilities of improvement.

A score is the success rate of one seed on one task type. Single games would not do as tasks: of wins and losses the
middle half says little, and the probability of improvement only repeats the difference of the rates.
"""

from __future__ import annotations

from hiper.stages.conditions import Condition, columns, explain
from hiper.stages.results import Study, cell_name, describe
from hiper.stages.table_formats import Table, interval_text, joined, percent
from hiper.statistics import Aggregate, Scores, aggregate, mean_and_spread, probability_of_improvement

AGGREGATE_CAPTION = (
    "Interquartile mean in percent: the middle half of the success rates of all seeds and task types, with the 95 % "
    "interval of a bootstrap that draws seeds within each task type (one seed: none; of fewer than five seeds it says "
    "little). Mean: of the same rates, every task type counting alike."
)


def type_scores(study: Study, algorithm: str, condition: Condition) -> Scores:
    """Seed → task type → success rate, of the runs that played there."""
    found: dict[int, dict[str, list[float]]] = {}
    for run in study.of(algorithm):
        for episode in run.played(condition):
            found.setdefault(run.seed, {}).setdefault(episode["task_type"], []).append(float(episode["won"]))
    return {seed: {name: mean_and_spread(wins)[0] for name, wins in by_type.items()} for seed, by_type in found.items()}


def overall(study: Study, algorithm: str, condition: Condition) -> Aggregate | None:
    """The interquartile mean; None where no task type was played by all seeds."""
    scores = type_scores(study, algorithm, condition)
    return aggregate(scores) if scores and set.intersection(*map(set, scores.values())) else None


def chance(study: Study, algorithm: str, baseline: str, condition: Condition) -> Aggregate | None:
    """The probability of improvement over `baseline`; None without a common seed or a common task type."""
    ours, theirs = (type_scores(study, name, condition) for name in (algorithm, baseline))
    paired = [side[seed] for side in (ours, theirs) for seed in ours.keys() & theirs.keys()]
    return probability_of_improvement(ours, theirs) if paired and set.intersection(*map(set, paired)) else None


def aggregate_table(study: Study) -> Table:
    """One row per algorithm and main condition; percent."""
    rows, links, where = [], [], columns(study.main_conditions)
    for algorithm in study.algorithms:
        for condition in study.main_conditions:
            if (found := overall(study, algorithm, condition)) is None:
                continue
            scores = type_scores(study, algorithm, condition)
            mean, _ = mean_and_spread([rate for by_type in scores.values() for rate in by_type.values()])
            rows.append(
                (
                    *(study.label(algorithm), *condition.cells(where)),
                    *(percent(found.value), interval_text(found.interval), percent(mean)),
                    *(str(found.tasks), str(found.seeds)),
                )
            )
            links.append({"Algorithm": cell_name(study, algorithm, condition)})
    header = ("Algorithm", *where, "IQM", "95 % interval", "Mean", "Task types", "Seeds")
    caption = joined(AGGREGATE_CAPTION, study.main_note, explain(study.main_conditions), describe(study), study.gaps())
    return Table(caption, header, tuple(rows), tuple(links))
