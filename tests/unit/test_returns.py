"""Discounted sums and generalised advantages."""

from __future__ import annotations

import numpy as np
from credit_arrays import prefix
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms.returns import (
    bootstraps,
    discounted_returns,
    discounts,
    generalized_advantages,
    last_turns,
    next_values,
    reverse_scan,
)


def test_a_scan_is_the_recursion_written_out() -> None:
    """y[t] = gain[t] + decay[t] · y[t+1]."""
    gain, decay = np.array([[1.0, 2.0, 4.0]]), np.array([[0.5, 0.25, 9.0]])
    # y2 = 4 (its decay multiplies nothing); y1 = 2 + 0.25 · 4 = 3; y0 = 1 + 0.5 · 3 = 2.5
    np.testing.assert_allclose(reverse_scan(gain, decay), [[2.5, 3.0, 4.0]])


def test_returns_ignore_padding_even_when_it_is_not_a_number() -> None:
    """Entries beyond a trajectory's length contribute nothing."""
    reward = np.array([[1.0, 2.0, np.nan], [0.0, 0.0, 8.0]])
    # first: G1 = 2, G0 = 1 + 0.5 · 2 = 2; second: 8, 4, 2
    np.testing.assert_allclose(discounted_returns(reward, prefix([2, 3]), 0.5), [[2.0, 2.0, 0.0], [2.0, 4.0, 8.0]])


def test_only_termination_stops_the_discount() -> None:
    """The discount at the last turn is 0 when terminated and γ when truncated."""
    result = discounts(prefix([2, 2], width=3), np.array([True, False]), 0.9)
    np.testing.assert_allclose(result, [[0.9, 0.0, 0.0], [0.9, 0.9, 0.0]])


def test_bootstraps_come_from_the_column_behind_the_last_turn_of_truncated_trajectories() -> None:
    """Column = length; terminated trajectories, and all if bootstrapping is off, get 0."""
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, np.nan]])
    present, terminated = prefix([1, 2, 2]), np.array([False, False, True])
    np.testing.assert_allclose(bootstraps(values, present, terminated, True), [2.0, 6.0, 0.0])
    np.testing.assert_allclose(bootstraps(values, present, terminated, False), [0.0, 0.0, 0.0])


def test_the_last_turn_is_followed_by_the_bootstrap() -> None:
    """V[t+1] inside, the bootstrap at the end."""
    result = next_values(np.array([[1.0, 2.0, 99.0]]), np.array([7.0]), prefix([2], width=3))
    np.testing.assert_allclose(result, [[2.0, 7.0, 0.0]])


def test_last_turns_of_empty_trajectories_do_not_exist() -> None:
    """A trajectory without turns (an episode that broke at once) has no last turn."""
    assert last_turns(prefix([0, 2])).tolist() == [[False, False], [False, True]]


def test_generalized_advantages_of_two_turns_by_hand() -> None:
    """Worked example with γ = 0.5, λ = 0.5, once terminated and once truncated before a state worth 4."""
    present = prefix([2, 2])
    reward, value = np.array([[1.0, 2.0]] * 2), np.array([[3.0, 1.0]] * 2)
    following = next_values(value, np.array([4.0, 4.0]), present)
    discount = discounts(present, np.array([True, False]), 0.5)
    # terminated: δ1 = 2 − 1 = 1; δ0 = 1 + 0.5 · 1 − 3 = −1.5; A0 = −1.5 + 0.25 · 1 = −1.25
    # truncated:  δ1 = 2 + 0.5 · 4 − 1 = 3;                    A0 = −1.5 + 0.25 · 3 = −0.75
    advantage = generalized_advantages(reward, value, following, discount, 0.5 * present, present)
    np.testing.assert_allclose(advantage, [[-1.25, 1.0], [-0.75, 3.0]])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_with_lambda_one_and_termination_an_advantage_is_return_minus_value(
    seed: int, gamma: float, lengths: list[int]
) -> None:
    """λ = 1: the values of later turns cancel."""
    rng = np.random.default_rng(seed)
    present = prefix(lengths)
    reward, value = rng.normal(size=present.shape), rng.normal(size=present.shape)
    terminated = np.ones(len(lengths), dtype=bool)
    advantage = generalized_advantages(
        reward,
        value,
        next_values(value, np.zeros(len(lengths)), present),
        discounts(present, terminated, gamma),
        1.0 * present,
        present,
    )
    np.testing.assert_allclose(
        advantage, np.where(present, discounted_returns(reward, present, gamma) - value, 0.0), atol=1e-12
    )
