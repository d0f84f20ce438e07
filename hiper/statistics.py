"""Intervals for success rates, differences paired over tasks, aggregates over seeds, and what reaching a level took.

Two questions, two kinds of intervals. `wilson`, `bootstrap_mean` and `paired_difference` take the seeds as given: they
say how far the tasks and the sampling of actions may have moved a number. `aggregate` and `probability_of_improvement`
resample seeds: they say how far another set of training seeds may move it, and need several seeds to say anything.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
CONFIDENCE = 0.95

Draws = npt.NDArray[np.float64]
Scores = Mapping[int, Mapping[Hashable, float]]
"""Training seed → task → score."""


@dataclass(frozen=True)
class Interval:
    """`low` and `high` end of a confidence interval, in the unit of the estimate."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Mean of A minus B: the estimate, its interval over tasks, its sample standard deviation over paired seeds (NaN
    below two), and how many tasks and seed pairs it rests on."""

    mean: float
    interval: Interval
    seed_spread: float
    tasks: int
    seeds: int


@dataclass(frozen=True)
class Aggregate:
    """A number that summarises `seeds` × `tasks` scores, with its interval over seeds (NaN below two)."""

    value: float
    interval: Interval
    seeds: int
    tasks: int


@dataclass(frozen=True)
class Needed:
    """What reaching a level took, as mean and sample standard deviation over `runs`, of which `reached` got there.

    A run that did not counts with all it used: where `reached` < `runs`, the mean is a lower bound.
    """

    mean: float
    spread: float
    reached: int
    runs: int


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
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


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """(mean, sample standard deviation) of one number per seed; NaN for a mean of none, a spread of less than two."""
    mean = float(np.mean(values)) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def bootstrap_mean(
    strata: Sequence[Sequence[float]], seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Interval:
    """Percentile bootstrap interval of the mean over all values, resampled within each stratum (a seed's tasks).

    Deterministic in `seed`. Raises ValueError when a stratum is empty or there is none.
    """
    if not strata or not all(len(values) for values in strata):
        raise ValueError("bootstrap_mean needs at least one value in every stratum")
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for values in strata:
        total += _resampled_means(np.asarray(values, dtype=np.float64), rng, resamples) * len(values)
    return _percentiles(total / sum(len(values) for values in strata), confidence)


def paired_difference(
    first: Scores,
    second: Scores,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Mean of `first` minus `second`, paired over the tasks that all runs share.

    Seeds that both have are compared with each other; if there are none, all seeds of each side are averaged. The
    interval is a percentile bootstrap over tasks: a task's results under all seeds are drawn together, because they are
    not independent. Raises ValueError when no task is shared.
    """
    seeds = sorted(first.keys() & second.keys())
    ours = [first[s] for s in seeds] or list(first.values())
    theirs = [second[s] for s in seeds] or list(second.values())
    if not ours or not theirs:
        raise ValueError("paired_difference needs at least one run on each side")
    tasks = sorted(set.intersection(*(set(run) for run in [*ours, *theirs])), key=str)
    if not tasks:
        raise ValueError("no task was played by all runs: nothing to pair")
    a, b = (np.array([[run[task] for task in tasks] for run in side]) for side in (ours, theirs))
    gains = a.mean(axis=0) - b.mean(axis=0)
    draws = _resampled_means(gains, np.random.default_rng(seed), resamples)
    _, spread = mean_and_spread((a - b).mean(axis=1).tolist() if seeds else [])
    return Difference(float(gains.mean()), _percentiles(draws, confidence), spread, len(tasks), len(seeds))


def interquartile_mean(values: Sequence[float] | Draws) -> float:
    """Mean of the middle half: of n values the ⌊n/4⌋ smallest and as many of the largest are left out; NaN for none."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return float(_middle(ordered).mean()) if ordered.size else math.nan


def aggregate(scores: Scores, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Aggregate:
    """Interquartile mean over all seeds and the tasks they share, with the percentile interval of a stratified
    bootstrap: each task is a stratum, within which seeds are drawn with replacement (Agarwal et al. 2021, "Deep
    reinforcement learning at the edge of the statistical precipice").

    Scores should be means of many episodes: of single wins and losses the middle half says little. Raises ValueError
    when no task is shared.
    """
    table = _table(list(scores.values()))
    draws = np.sort(_seeds_drawn(table, seed, resamples).reshape(resamples, -1), axis=1)
    interval = _over_seeds(_middle(draws).mean(axis=1), len(table), confidence)
    return Aggregate(interquartile_mean(table.ravel()), interval, *table.shape)


def probability_of_improvement(
    first: Scores, second: Scores, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Aggregate:
    """How often `first` scores higher than `second` on the same task with the same seed, draws counting one half.

    P = mean over tasks and seeds of [a > b] + ½ [a = b]; the interval is that of `aggregate`, a seed's two runs drawn
    together. As there, scores should be means of many episodes: for single wins and losses P is just (1 + difference
    of the rates) / 2. Raises ValueError when no seed or no task is shared.
    """
    seeds = sorted(first.keys() & second.keys())
    table = _table([side[s] for side in (first, second) for s in seeds])
    a, b = table[: len(seeds)], table[len(seeds) :]
    better = (a > b) + 0.5 * (a == b)
    draws = _seeds_drawn(better, seed, resamples).mean(axis=(1, 2))
    return Aggregate(float(better.mean()), _over_seeds(draws, len(seeds), confidence), *better.shape)


def first_reaching(values: Sequence[float] | Draws, level: float, window: int = 1) -> int | None:
    """Where the mean of the last `window` values is at least `level` for the first time; None if it never is.

    Later values do not count: at that place training could have been stopped.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    if len(sums) <= window:
        return None
    # cumulative sums of rates like 0.1 are off by some 1e-16
    reached = np.flatnonzero((sums[window:] - sums[:-window]) / window >= level - 1e-9)
    return int(reached[0]) + window - 1 if reached.size else None


def needed(spent: Sequence[Sequence[float] | Draws], places: Sequence[int | None]) -> Needed:
    """What the runs had spent where they reached a level; `spent` `[run][place]` is cumulative, `places` as
    `first_reaching` gives them."""
    amounts = [float(run[-1 if place is None else place]) for run, place in zip(spent, places, strict=True)]
    return Needed(*mean_and_spread(amounts), sum(place is not None for place in places), len(amounts))


def _table(runs: Sequence[Mapping[Hashable, float]]) -> Draws:
    """Scores `[run, task]` of the tasks that all runs share."""
    tasks = sorted(set.intersection(*map(set, runs)), key=str) if runs else []
    if not tasks:
        raise ValueError("no task with a score in all runs, or no run")
    return np.array([[run[task] for task in tasks] for run in runs], dtype=np.float64)


def _seeds_drawn(table: Draws, seed: int, resamples: int) -> Draws:
    """`[resamples, seed, task]`: the column of each task drawn with replacement, independently of the others."""
    rows = np.random.default_rng(seed).integers(len(table), size=(resamples, *table.shape))
    return np.asarray(np.take_along_axis(table[None], rows, axis=1))


def _middle(ordered: Draws) -> Draws:
    """The middle half of the last axis, which is in order."""
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut]


def _over_seeds(draws: Draws, seeds: int, confidence: float) -> Interval:
    return _percentiles(draws, confidence) if seeds > 1 else Interval(math.nan, math.nan)


def _resampled_means(values: Draws, rng: np.random.Generator, resamples: int) -> Draws:
    """Means of `resamples` samples with replacement, `[resamples]`.

    Success rates take few distinct values, so the counts of each value are drawn instead of indices: the same
    distribution, in memory and time that do not grow with the number of tasks.
    """
    distinct, counts = np.unique(np.round(values, 12), return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), size=resamples)
    return np.asarray(drawn @ distinct / len(values), dtype=np.float64)


def _percentiles(draws: Draws, confidence: float) -> Interval:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
