"""Intervals for success rates: Wilson, bootstrap stratified by seed, and differences paired over tasks.

Seeds are treated as given by every interval here: they say how far the tasks and the sampling of actions may have moved
a number, not how much another training seed would. Tables therefore show the spread over seeds beside them.
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
    first: Mapping[int, Mapping[Hashable, float]],
    second: Mapping[int, Mapping[Hashable, float]],
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Mean of `first` minus `second` (training seed → task → success), paired over the tasks that all runs share.

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
