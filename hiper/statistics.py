"""Means over seeds and tasks with their intervals, aggregates over task types, and what reaching a level took.

A table of results has seeds × tasks, and both are samples: of the models that training could have made, and of the
tasks that could have been drawn. A headline interval is for new seeds and new tasks. What all seeds share
(demonstrations, tokenizer, splits) is in no interval. With one seed there is none for new seeds: only `over_tasks`.

The tests simulate how often the intervals hold. They fall short, at some 85 %, where most seeds are near 0 or 1 and a
few are far from them (a rate of 0.05 with a deviation of 0.09): a handful of seeds seldom has one of the few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]
Outcomes = Mapping[int, Mapping[Hashable, Sequence[float]]]
"""Training seed → task → results of its episodes."""
Scores = Mapping[int, Mapping[Hashable, float]]
"""Training seed → task type → score."""


@dataclass(frozen=True)
class Interval:
    """`low` and `high` end of a confidence interval, in the unit of the estimate; NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Grid:
    """`means` [seed, task] of the results there, 0 where none is, and of how many `episodes` [seed, task] they are. A
    seed may lack tasks, or have played one more often than another did; it has at least one episode."""

    tasks: tuple[Hashable, ...]
    means: Floats
    episodes: Floats


@dataclass(frozen=True)
class Mean:
    """Mean over seeds of each seed's mean over episodes, and the sample standard deviation of the latter (NaN below two
    seeds). `interval` is for new seeds and new tasks (none below two seeds), `over_tasks` for new tasks alone, played
    by these seeds' models."""

    mean: float
    spread: float
    interval: Interval
    over_tasks: Interval
    seeds: int
    tasks: int

    @property
    def known(self) -> Interval:
        """What there is: with one seed only `over_tasks`."""
        return self.interval if self.seeds > 1 else self.over_tasks


@dataclass(frozen=True)
class Aggregate:
    """A number that summarises scores of `seeds` × `task_types`, and the plain mean of the same scores, with intervals
    as those of `Mean`."""

    value: float
    mean: float
    interval: Interval
    over_tasks: Interval
    seeds: int
    task_types: int

    @property
    def known(self) -> Interval:
        """What there is: with one seed only `over_tasks`."""
        return self.interval if self.seeds > 1 else self.over_tasks


@dataclass(frozen=True)
class Needed:
    """What reaching a level took, as mean and sample standard deviation over `runs`, of which `reached` got there.

    A run that did not counts with all it used: where `reached` < `runs`, the mean is a lower bound.
    """

    mean: float
    spread: float
    reached: int
    runs: int


def grid(outcomes: Outcomes) -> Grid:
    """Every seed's every task; ValueError when a seed has no episode, or there is no seed."""
    rows = [outcomes[seed] for seed in sorted(outcomes)]
    return _grid([{task: (_average(wins), len(wins)) for task, wins in row.items()} for row in rows])


def paired(first: Outcomes, second: Outcomes) -> Grid:
    """`first` minus `second` on each task that both played with the same seed; of a task that was drawn several times,
    as many pairs as both have episodes. ValueError when they have no seed and task in common."""
    rows = []
    for seed in sorted(first.keys() & second.keys()):
        ours, theirs = first[seed], second[seed]
        row = {
            task: (_average(ours[task]) - _average(theirs[task]), min(len(ours[task]), len(theirs[task])))
            for task in sorted(ours.keys() & theirs.keys(), key=str)
        }
        rows += [row] if row else []
    return _grid(rows)


def mean_rate(found: Grid) -> Mean:
    """The mean of results in [0, 1], such as wins; its intervals have Wilson's form. `over_tasks` is that of as many
    episodes as have the variance of the mean over tasks: of one seed that plays each task once, their number."""

    def over_tasks(mean: float, square: float) -> Interval:
        return _over_tasks(mean, square, found)

    return _mean(found, over_tasks, _wilson_form)


def mean_difference(found: Grid) -> Mean:
    """The mean of paired differences in [−1, 1]. `over_tasks` is Agresti and Min's: Student's interval with two tasks
    more, half of one for each outcome of a pair (2005, "Simple improved confidence intervals for comparing matched
    proportions"), so that results which all agree are no certainty."""
    count = len(found.tasks)

    def over_tasks(mean: float, square: float) -> Interval:
        centre = mean * count / (count + 2)
        squares = count * count * square + count * mean * mean + 1
        half = student(count + 1) * math.sqrt(squares / (count + 2) - centre * centre) / math.sqrt(count + 2)
        return Interval(max(-1.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))

    return _mean(found, over_tasks, lambda mean, half: Interval(max(-1.0, mean - half), min(1.0, mean + half)))


def mean_change(later: Grid, earlier: Grid) -> Mean:
    """How much larger the mean difference is on the tasks of `later` than on those, all others, of `earlier`, with the
    same seeds in the same order; `tasks`: of both.

    A seed's two differences share its model, so the headline interval is Student's over the seeds' changes, and over
    what their tasks have in common, added in quadrature. `over_tasks` joins both intervals (Zou and Donner 2008,
    "Construction of confidence limits about effect measures"): tasks are independent. ValueError for different seeds.
    """
    if len(later.means) != len(earlier.means):
        raise ValueError(f"{len(later.means)} seeds against {len(earlier.means)}")
    one, other = mean_difference(later), mean_difference(earlier)
    change = one.mean - other.mean
    low = math.hypot(one.mean - one.over_tasks.low, other.over_tasks.high - other.mean)
    high = math.hypot(one.over_tasks.high - one.mean, other.mean - other.over_tasks.low)
    over_tasks = Interval(max(-2.0, change - low), min(2.0, change + high))
    changes = (_of_seeds(later) - _of_seeds(earlier)).tolist()
    spread, interval = mean_and_spread(changes)[1], NO_INTERVAL
    if len(changes) > 1:
        half = math.hypot(over_seeds(changes).high - change, _common(later), _common(earlier))
        interval = _hull(Interval(max(-2.0, change - half), min(2.0, change + half)), over_tasks)
    return Mean(change, spread, interval, over_tasks, one.seeds, one.tasks + other.tasks)


def wilson(successes: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson score interval of a proportion; [0, 1] without trials. Raises ValueError unless 0 ≤ successes ≤ trials.

    centre = (p + z²/2n) / (1 + z²/n), half width = z/(1 + z²/n) · √(p(1 − p)/n + z²/4n²)
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, scale = successes / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # At the ends the bound is exact; rounding must not put it inside.
    return Interval(centre - half if successes else 0.0, centre + half if successes < trials else 1.0)


@cache
def student(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's distribution. With t = √ν tan θ its density is proportional to cos^(ν−1) θ,
    which is summed up here."""
    angles = np.linspace(0.0, min(math.pi / 2, 20 / math.sqrt(freedom)), 20_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(float(np.interp(confidence * mass[-1], mass, angles)))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """(mean, sample standard deviation) of one number per seed; NaN for a mean of none, a spread of less than two."""
    mean = float(np.mean(values)) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def over_seeds(values: Sequence[float]) -> Interval:
    """Student's interval of the mean of one number per seed; none below two."""
    mean, spread = mean_and_spread(values)
    if len(values) < 2:
        return NO_INTERVAL
    half = student(len(values) - 1) * spread / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


def interquartile_mean(values: Sequence[float] | Floats) -> float:
    """Mean of the middle half: of n values the ⌊n/4⌋ smallest and as many of the largest are left out; NaN for none."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(_middle(ordered).mean()) if ordered.size else math.nan


def aggregate(found: Grid, task_types: Sequence[Hashable]) -> Aggregate:
    """Interquartile mean of the success rates of all seeds and task types (Agarwal et al. 2021, "Deep reinforcement
    learning at the edge of the statistical precipice"); `task_types` [task], of which those count that all seeds
    played.

    The interval adds a jackknife over seeds, each left out with all its types, because they share a model, and one over
    the tasks of each type, each left out for all seeds. ValueError when no type was played by all seeds.
    """
    member = np.array([[one == name for name in dict.fromkeys(task_types)] for one in task_types], dtype=np.float64)
    member = member[:, (found.episodes @ member > 0).all(axis=0)]
    if not member.size:
        raise ValueError("no task type was played by all seeds")
    counts, wins = found.episodes @ member, (found.episodes * found.means) @ member
    table = wins / counts
    value, seeds, tasks = interquartile_mean(table.ravel()), len(table), int(member.sum())
    left = counts - found.episodes.T[:, :, None] * member[:, None, :]  # without each task: [task, seed, type]
    kept = wins - (found.episodes * found.means).T[:, :, None] * member[:, None, :]
    without = np.where(left > 0, kept / np.maximum(left, 1.0), table)
    moved = _middle(np.sort(without.reshape(len(member), -1), axis=1)).mean(axis=1)
    square = sum(_jackknife(moved[column > 0]) for column in member.T)
    over_tasks = _over_tasks(value, square, found)
    interval = NO_INTERVAL
    if seeds > 1:
        of_seeds = _jackknife(np.array([interquartile_mean(np.delete(table, s, axis=0).ravel()) for s in range(seeds)]))
        half = math.hypot(student(seeds - 1) * math.sqrt(of_seeds), student(max(1, tasks - 1)) * math.sqrt(square))
        interval = _hull(_wilson_form(value, half), over_tasks)
    return Aggregate(value, float(table.mean()), interval, over_tasks, seeds, table.shape[1])


def probability_of_improvement(first: Scores, second: Scores) -> Aggregate:
    """How often `first` scores higher than `second` on the same task type with the same seed, draws counting half.

    P = mean over seeds and types of [a > b] + ½ [a = b]. The interval is Student's over each seed's P, in Wilson's
    form; where all seeds agree, it is Wilson's of as many trials as seeds. It is for new seeds on these tasks.
    Scores should be means of many episodes: for single wins and losses P is just (1 + difference of the rates) / 2.
    Raises ValueError when no seed or no type is shared.
    """
    seeds = sorted(first.keys() & second.keys())
    runs = [side[seed] for side in (first, second) for seed in seeds]
    shared = sorted(set.intersection(*map(set, runs)), key=str) if runs else []
    if not shared:
        raise ValueError("no task type with a score in all runs, or no run")
    a, b = np.array([[run[name] for name in shared] for run in runs]).reshape(2, len(seeds), len(shared))
    better = ((a > b) + 0.5 * (a == b)).mean(axis=1)
    value, interval = float(better.mean()), NO_INTERVAL
    if len(seeds) > 1:
        half = over_seeds(better.tolist()).high - value
        interval = _wilson_form(value, half) if half > 1e-6 else wilson(value * len(seeds), len(seeds))
    return Aggregate(value, value, interval, NO_INTERVAL, len(seeds), len(shared))


def first_staying(values: Sequence[float] | Floats, level: float, length: int) -> int | None:
    """The first of `length` places in a row with a value of at least `level`; None where there are none."""
    # rates like 0.3 may be off by some 1e-16
    there = np.concatenate([[0], np.cumsum(np.asarray(values, dtype=np.float64) >= level - 1e-9)])
    found = np.flatnonzero(there[length:] - there[:-length] == length) if len(there) > length else np.array([])
    return int(found[0]) if found.size else None


def needed(spent: Sequence[Sequence[float] | Floats], places: Sequence[int | None]) -> Needed:
    """What the runs had spent where they reached a level; `spent` `[run][place]` is cumulative, `places` as
    `first_staying` gives them."""
    amounts = [float(run[-1 if place is None else place]) for run, place in zip(spent, places, strict=True)]
    return Needed(*mean_and_spread(amounts), sum(place is not None for place in places), len(amounts))


def _average(results: Sequence[float]) -> float:
    return sum(results) / len(results)


def _grid(rows: Sequence[Mapping[Hashable, tuple[float, int]]]) -> Grid:
    tasks = {task: column for column, task in enumerate(dict.fromkeys(task for row in rows for task in row))}
    if not tasks or not all(rows):
        raise ValueError("no episode, or a seed without one")
    cells = np.zeros((2, len(rows), len(tasks)))
    for number, row in enumerate(rows):
        cells[:, number, [tasks[task] for task in row]] = np.array(list(row.values())).T
    return Grid(tuple(tasks), cells[0], cells[1])


def _mean(
    found: Grid, over_tasks: Callable[[float, float], Interval], form: Callable[[float, float], Interval]
) -> Mean:
    """The headline interval is Howe's (1974, "Approximate confidence limits on the mean of X + Y"): Student's over the
    seeds' means, and over what their tasks have in common, added in quadrature. It is never narrower than that over
    tasks alone.

    Of two seeds' means, whose variance contains that of the tasks each played, the tasks that both played make the
    covariance: the mean over pairs of seeds of Σ_t u_st u_s't, u the share of a task in a seed's mean, times how far it
    is from it.
    """
    seeds, tasks = found.means.shape
    of_seeds, moved = _of_seeds(found), _moved(found)
    mean, spread = mean_and_spread(of_seeds.tolist())
    given = over_tasks(mean, float((moved.mean(axis=0) ** 2).sum()))
    interval = NO_INTERVAL
    if seeds > 1:
        half = math.hypot(student(seeds - 1) * spread / math.sqrt(seeds), _common(found))
        interval = _hull(form(mean, half), given)
    return Mean(mean, spread, interval, given, seeds, tasks)


def _of_seeds(found: Grid) -> Floats:
    """The mean of each seed."""
    means: Floats = (found.episodes * found.means).sum(axis=1) / found.episodes.sum(axis=1)
    return means


def _moved(found: Grid) -> Floats:
    """By how much a task moves a seed's mean, [seed, task]."""
    shares = found.episodes / found.episodes.sum(axis=1)[:, None]
    moved: Floats = shares * (found.means - _of_seeds(found)[:, None])
    return moved


def _common(found: Grid) -> float:
    """Half of the interval over what the tasks of two or more seeds have in common."""
    seeds, tasks = found.means.shape
    moved = _moved(found)
    covariance = float((moved.sum(axis=0) ** 2 - (moved**2).sum(axis=0)).sum()) / (seeds * (seeds - 1))
    return student(max(1, tasks - 1)) * math.sqrt(max(0.0, covariance) * tasks / max(1, tasks - 1))


def _hull(*intervals: Interval) -> Interval:
    return Interval(min(one.low for one in intervals), max(one.high for one in intervals))


def _over_tasks(rate: float, square: float, found: Grid) -> Interval:
    """`square`: the variance of the rate over tasks. Where there is none because all results agree, every task counts
    as one episode: whether seeds differ on a task cannot be seen there."""
    tasks, episodes = len(found.tasks), float(found.episodes.sum())
    trials = min(rate * (1 - rate) / square, episodes) if square > 1e-12 else float(tasks)
    return wilson(rate * trials, trials)


def _wilson_form(rate: float, half: float) -> Interval:
    """Wilson's interval of as many trials as give rate ± half in the normal approximation: it stays in [0, 1], and its
    ends are as far away as the variance there asks. A rate of 0 or 1 that varies (of an aggregate) gives no trials."""
    if half < 1e-6 or not 0 < rate < 1:
        return Interval(max(0.0, rate - half), min(1.0, rate + half))
    trials = (NormalDist().inv_cdf((1 + CONFIDENCE) / 2) / half) ** 2 * rate * (1 - rate)
    return wilson(rate * trials, trials)


def _jackknife(without: Floats) -> float:
    """The variance of a statistic, given what it is without each part."""
    return (len(without) - 1) / len(without) * float(((without - without.mean()) ** 2).sum())


def _middle(ordered: Floats) -> Floats:
    """The middle half of the last axis, which is in order."""
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut]
