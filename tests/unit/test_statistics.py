"""Intervals and paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.statistics import Interval, bootstrap_mean, mean_and_spread, paired_difference, wilson


def test_wilson_by_hand() -> None:
    """Half of 4: z = 1.959964, z² = 3.841459."""
    # scale 1 + 3.841459/4 = 1.960365; centre (0.5 + 0.480182)/1.960365 = 0.5
    # half = 1.959964/1.960365 · √(0.0625 + 3.841459/64) = 0.999796 · √0.122523 = 0.349961
    interval = wilson(2, 4)
    assert (interval.low, interval.high) == pytest.approx((0.150039, 0.849961), abs=2e-6)


def test_wilson_at_the_ends_stays_inside_the_unit_interval() -> None:
    """No successes of n: from 0 to z²/(n + z²)."""
    assert wilson(0, 10) == Interval(0.0, pytest.approx(3.841459 / 13.841459, abs=1e-6))
    assert wilson(10, 10).high == 1.0
    assert wilson(0, 0) == Interval(0.0, 1.0)


def test_impossible_counts_are_refused() -> None:
    """More successes than trials."""
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_contains_the_rate_and_narrows_with_more_trials(successes: int, trials: int) -> None:
    """Ten times the data at the same rate gives an interval inside."""
    successes = min(successes, trials)
    few, many = wilson(successes, trials), wilson(10 * successes, 10 * trials)
    assert few.low <= successes / trials <= few.high
    assert many.high - many.low < few.high - few.low


def test_spread_is_the_sample_deviation() -> None:
    """Of 1 and 3: √((1 + 1)/1)."""
    assert mean_and_spread([1.0, 3.0]) == pytest.approx((2.0, math.sqrt(2.0)))
    assert math.isnan(mean_and_spread([1.0])[1]) and math.isnan(mean_and_spread([])[0])


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_tasks() -> None:
    """Two seeds of 1000 tasks at rates 0.3 and 0.7: the strata stay apart, so the variance is that within seeds."""
    strata = [[1.0] * 300 + [0.0] * 700, [1.0] * 700 + [0.0] * 300]
    # mean 0.5; standard error √(0.3 · 0.7 / 2000) = 0.010247; 1.96 of it 0.020084 (pooled it would be 0.0219)
    interval = bootstrap_mean(strata)
    assert (interval.low, interval.high) == pytest.approx((0.479916, 0.520084), abs=1.5e-3)
    assert bootstrap_mean(strata) == interval
    with pytest.raises(ValueError, match="every stratum"):
        bootstrap_mean([[1.0], []])


def test_paired_differences_by_hand() -> None:
    """Two tasks, two seeds: per-seed differences 1 and 0.5."""
    first = {0: {"a": 1.0, "b": 1.0}, 1: {"a": 1.0, "b": 0.0}}
    second = {0: {"a": 0.0, "b": 0.0}, 1: {"a": 0.0, "b": 0.0}}
    # task gains: a: 1, b: 0.5; mean 0.75; per seed: 1.0 and 0.5, sample deviation 0.353553
    result = paired_difference(first, second)
    assert (result.mean, result.seed_spread) == pytest.approx((0.75, 0.353553), abs=1e-6)
    assert (result.tasks, result.seeds) == (2, 2)
    assert result.interval == Interval(0.5, 1.0)  # all draws "b" to all draws "a", each with probability 1/4


def test_only_common_tasks_and_seeds_are_paired() -> None:
    """Seed 7 has no partner and task c was not played by the other side."""
    first = {0: {"a": 1.0, "b": 0.0, "c": 1.0}, 7: {"a": 0.0, "b": 0.0, "c": 0.0}}
    result = paired_difference(first, {0: {"a": 0.0, "b": 0.0}})
    assert (result.mean, result.tasks, result.seeds) == (0.5, 2, 1)
    # without a common seed all runs of both sides are averaged
    unpaired = paired_difference(first, {1: {"a": 0.0, "b": 0.0}})
    assert (unpaired.mean, unpaired.seeds) == (0.25, 0)
    with pytest.raises(ValueError, match="no task"):
        paired_difference({0: {"a": 1.0}}, {0: {"b": 1.0}})


def test_pairing_narrows_the_interval_when_tasks_differ_in_difficulty() -> None:
    """A constant gain over tasks has no uncertainty, however much the tasks differ."""
    first = {0: {task: 0.1 * task + 0.2 for task in range(8)}}
    second = {0: {task: 0.1 * task for task in range(8)}}
    result = paired_difference(first, second)
    assert result.interval.high - result.interval.low < 1e-9
    assert result.mean == pytest.approx(0.2)


def test_the_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 simulated experiments of 150 tasks with a true gain of 0.2: close to 95 % of the intervals contain it."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        easy = rng.uniform(0.1, 0.7, size=150)
        first = {s: dict(enumerate((rng.random(150) < easy + 0.2).astype(float))) for s in (0, 1)}
        second = {s: dict(enumerate((rng.random(150) < easy).astype(float))) for s in (0, 1)}
        interval = paired_difference(first, second, resamples=500).interval
        covered += interval.low <= 0.2 <= interval.high
    assert 178 <= covered <= 200  # binomial(200, 0.95): mean 190, standard deviation 3.1
