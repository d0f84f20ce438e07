"""Penalties of the plan-execute interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from credit_arrays import make_turns, prefix, random_turns, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms.shaping import (
    HierarchyPenalties,
    consistency_penalty,
    keep_penalty,
    shape_rewards,
    switch_floor_penalty,
)


def penalties_of(**given: Any) -> HierarchyPenalties:
    penalties: HierarchyPenalties = settings_of("hiper", penalties=given).penalties
    return penalties


KEEP_FIRST_AND_LAST = np.array([[True, False, False, True]])


def test_the_fixed_keep_penalty_falls_on_every_keep_turn() -> None:
    """Turn 0 included, unless it is skipped."""
    present = prefix([4])
    np.testing.assert_allclose(keep_penalty(KEEP_FIRST_AND_LAST, present, -0.3, "fixed", False), [[-0.3, 0, 0, -0.3]])
    np.testing.assert_allclose(keep_penalty(KEEP_FIRST_AND_LAST, present, -0.3, "fixed", True), [[0, 0, 0, -0.3]])


def test_the_normalized_keep_penalty_sums_to_the_share_of_keep_turns() -> None:
    """κ/T per KEEP turn; with the first turn skipped T counts the remaining turns."""
    present = prefix([4])
    # κ = −0.4 over 4 turns: −0.1 each, total −0.4 · 2/4
    np.testing.assert_allclose(
        keep_penalty(KEEP_FIRST_AND_LAST, present, -0.4, "normalized", False), [[-0.1, 0, 0, -0.1]]
    )
    # κ = −0.3 over the 3 later turns: −0.1 on the last
    np.testing.assert_allclose(keep_penalty(KEEP_FIRST_AND_LAST, present, -0.3, "normalized", True), [[0, 0, 0, -0.1]])


def test_a_single_turn_is_exempt_in_normalized_mode_only() -> None:
    """As in the original."""
    keeps = present = prefix([1])
    assert keep_penalty(keeps, present, -0.3, "normalized", False).tolist() == [[0.0]]
    assert keep_penalty(keeps, present, -0.3, "fixed", False).tolist() == [[-0.3]]


def test_keep_mode_none_costs_nothing() -> None:
    """Whatever the amount."""
    assert not keep_penalty(prefix([3]), prefix([3]), -3.5, "none", False).any()


def test_an_unknown_keep_mode_is_refused() -> None:
    """Rather than silently meaning no penalty."""
    with pytest.raises(ValueError, match="keep_mode 'relative'"):
        keep_penalty(prefix([1]), prefix([1]), -0.3, "relative", False)


def test_an_altered_subgoal_on_keep_costs_and_a_missing_block_only_without_requires_both() -> None:
    """Turns: first KEEP (nothing before it), copied, altered, missing, altered after a missing one, missing again is
    SWITCH and free."""
    keeps = np.array([[True, True, True, True, True, False]])
    has_subgoal = np.array([[True, True, True, False, True, False]])
    copied = np.array([[False, True, False, False, False, False]])
    np.testing.assert_allclose(consistency_penalty(keeps, copied, has_subgoal, -0.3, True), [[0, 0, -0.3, 0, 0, 0]])
    np.testing.assert_allclose(
        consistency_penalty(keeps, copied, has_subgoal, -0.3, False), [[0, 0, -0.3, -0.3, -0.3, 0]]
    )


def test_too_few_switches_are_charged_at_the_last_turn() -> None:
    """rate = switches after turn 0 / (T − 1); one-turn trajectories are exempt."""
    present = prefix([5, 5, 1])
    switch = np.array([[1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)
    # first: rate 0/4, missing 0.5, times 2 = 1; second: rate 1/4, missing 0.25, times 2 = 0.5
    expected = [[0, 0, 0, 0, -1.0], [0, 0, 0, 0, -0.5], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(switch_floor_penalty(switch, present, 2.0, 0.5), expected)


def test_a_rate_above_the_floor_costs_nothing() -> None:
    """The floor never rewards."""
    assert not switch_floor_penalty(prefix([4]), prefix([4]), 5.0, 0.25).any()


def test_penalties_add_up_on_the_environment_reward() -> None:
    """One turn can carry several."""
    turns = make_turns(
        [3], reward=[[0.0, 1.0, 10.0]], switch=[[True, False, False]], valid=[[True, False, True]],
        copied=[[False, False, True]],
    )  # fmt: skip
    penalties = penalties_of(invalid=0.1, keep=-0.3, consistency=-0.2, switch_floor=4.0, switch_floor_rate=0.25)
    # turn 1: 1 − 0.3 (KEEP) − 0.1 (invalid) − 0.2 (altered) = 0.4; turn 2: 10 − 0.3 − 4 · (0.25 − 0/2) = 8.7
    np.testing.assert_allclose(shape_rewards(turns, penalties), [[0.0, 0.4, 8.7]])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_penalties_never_raise_a_reward_and_leave_the_input_alone(seed: int, lengths: list[int]) -> None:
    """All penalties are ≤ 0; the arrays handed in stay as they were."""
    turns = random_turns(np.random.default_rng(seed), lengths)
    before = turns.reward.copy(), turns.switch.copy(), turns.copied.copy()
    penalties = penalties_of(
        invalid=0.1,
        keep=-0.3,
        keep_mode="normalized",
        consistency=-0.3,
        consistency_requires_both=False,
        switch_floor=5.0,
        switch_floor_rate=0.25,
    )
    shaped = shape_rewards(turns, penalties)
    assert (shaped[turns.present] <= turns.reward[turns.present]).all()
    assert not shaped[~turns.present].any()
    for old, new in zip(before, (turns.reward, turns.switch, turns.copied), strict=True):
        np.testing.assert_array_equal(old, new)
