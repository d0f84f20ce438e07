"""Intervals and paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.statistics import (
    Interval,
    Needed,
    Scores,
    aggregate,
    bootstrap_mean,
    first_reaching,
    interquartile_mean,
    mean_and_spread,
    needed,
    paired_difference,
    probability_of_improvement,
    wilson,
)

RATES = st.floats(0.0, 1.0, allow_nan=False)
SCORES = st.dictionaries(st.integers(0, 3), st.fixed_dictionaries({"a": RATES, "b": RATES}), min_size=1)


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


def test_the_interquartile_mean_by_hand() -> None:
    """Of 8 values two fall off at each end, of 5 one, of 3 none."""
    assert interquartile_mean([7.0, 0.0, 3.0, 2.0, 4.0, 5.0, 1.0, 100.0]) == 3.5  # of 2, 3, 4, 5
    assert interquartile_mean([0.0, 1.0, 2.0, 3.0, 100.0]) == 2.0
    assert interquartile_mean([0.0, 1.0, 5.0]) == 2.0
    assert math.isnan(interquartile_mean([]))


@given(st.lists(RATES, min_size=4, max_size=40), st.floats(1.0, 1e6))
def test_the_interquartile_mean_ignores_how_extreme_the_best_value_is(values: list[float], factor: float) -> None:
    """With four values or more the largest is left out."""
    best = max(values)
    stretched = [*sorted(values)[:-1], best * factor]
    assert interquartile_mean(stretched) == pytest.approx(interquartile_mean(values))


def test_aggregates_resample_seeds_within_each_task() -> None:
    """Two seeds, two tasks: the sixteen draws have means of their middle halves from 0.3 to 0.7."""
    scores = {0: {"a": 0.2, "b": 0.4}, 1: {"a": 0.6, "b": 0.8}}
    found = aggregate(scores)
    # middle of 0.2, 0.4, 0.6, 0.8; seed 0 throughout (1 draw in 16, more than 2.5 %) gives 0.2, 0.2, 0.4, 0.4
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx((0.5, 0.3, 0.7))
    assert (found.seeds, found.tasks) == (2, 2)
    assert aggregate(scores) == found
    # seed 1 is better on one task and worse on the other by as much: drawn whole, it could not move the mean
    mixed = {0: {"a": 0.0, "b": 1.0}, 1: {"a": 1.0, "b": 0.0}}
    assert aggregate(mixed).interval == Interval(0.0, 1.0)


def test_one_seed_has_no_interval_over_seeds() -> None:
    """NaN rather than an interval of no width; tasks that not all seeds have are left out."""
    found = aggregate({3: {"a": 0.25, "b": 0.75}})
    assert found.value == 0.5 and math.isnan(found.interval.low) and math.isnan(found.interval.high)
    assert aggregate({0: {"a": 0.5, "b": 0.0}, 1: {"a": 0.5}}).tasks == 1
    for nothing in ({}, {0: {"a": 1.0}, 1: {"b": 1.0}}):
        with pytest.raises(ValueError, match="no task"):
            aggregate(nothing)


def test_the_interval_over_seeds_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 simulated algorithms of 10 seeds and 6 tasks with symmetric scores around 0.5."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        rates = rng.normal(0.5, 0.1, size=(10, 6))
        interval = aggregate({s: dict(enumerate(row)) for s, row in enumerate(rates)}, resamples=500).interval
        covered += interval.low <= 0.5 <= interval.high
    assert 172 <= covered <= 200  # percentile intervals of ten seeds are a little too narrow


def test_the_probability_of_improvement_by_hand() -> None:
    """Task a: a win and a draw; task b: a loss and a win."""
    first = {0: {"a": 0.5, "b": 0.5}, 1: {"a": 0.7, "b": 0.5}}
    second = {0: {"a": 0.4, "b": 0.6}, 1: {"a": 0.7, "b": 0.1}, 2: {"a": 0.0, "b": 0.0}}
    found = probability_of_improvement(first, second)
    assert (found.value, found.seeds, found.tasks) == (0.625, 2, 2)  # (1 + ½ + 0 + 1) / 4
    # per task the mean of two drawn seeds: a from ½ to 1, b from 0 to 1; each extreme 1 draw in 16
    assert found.interval == Interval(0.25, 1.0)
    with pytest.raises(ValueError, match="no run"):
        probability_of_improvement(first, {7: {"a": 0.0, "b": 0.0}})


@given(SCORES, SCORES)
def test_the_probabilities_of_both_directions_add_up(first: Scores, second: Scores) -> None:
    """Draws count half on each side."""
    if first.keys() & second.keys():
        there, back = (probability_of_improvement(*pair, resamples=10) for pair in ((first, second), (second, first)))
        assert there.value + back.value == pytest.approx(1.0)


def test_on_single_wins_and_losses_the_probability_repeats_the_difference() -> None:
    """Why scores should be rates: P = (1 + difference) / 2."""
    rng = np.random.default_rng(0)
    first, second = ({0: dict(enumerate(rng.integers(0, 2, 50).astype(float)))} for _ in range(2))
    difference = paired_difference(first, second).mean
    assert probability_of_improvement(first, second).value == pytest.approx((1 + difference) / 2)


def test_a_level_is_reached_where_the_last_values_average_to_it() -> None:
    """Window 2: (0.1 + 0.5)/2 = 0.3 is the first mean of at least 0.3, though 0.5 comes later and 0.4 earlier."""
    values = [0.4, 0.1, 0.5, 0.0]
    assert first_reaching(values, 0.3, window=2) == 2
    assert first_reaching(values, 0.4) == 0
    assert first_reaching(values, 0.6) is None
    assert first_reaching(values, 0.1, window=5) is None  # fewer values than the mean needs
    assert first_reaching([0.1] * 10, 0.1, window=3) == 2  # sums of 0.1 are not exact


@given(st.lists(st.integers(0, 8), max_size=20), st.integers(1, 5), st.integers(0, 8))
def test_reaching_a_level_is_the_first_window_that_averages_to_it(counts: list[int], window: int, level: int) -> None:
    """As the definition says, looked up one by one."""
    places = [i for i in range(window - 1, len(counts)) if sum(counts[i - window + 1 : i + 1]) >= level * window]
    found = first_reaching([count / 8 for count in counts], level / 8, window)
    assert found == (places[0] if places else None)


def test_runs_that_never_got_there_count_with_all_they_used() -> None:
    """10 and at least 30: a mean of at least 20, deviation √(10² + 10²)."""
    found = needed([[5.0, 10.0, 15.0], [10.0, 20.0, 30.0]], [1, None])
    assert found == Needed(20.0, pytest.approx(math.sqrt(200.0)), 1, 2)
