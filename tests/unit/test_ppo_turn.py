"""The flat baseline."""

from __future__ import annotations

import numpy as np
import pytest
from credit_arrays import make_turns, random_turns, random_values, settings_of

from hiper.algorithms import ppo_turn


def test_two_turns_by_hand() -> None:
    """GAE over turns with the invalid penalty as the only shaping."""
    turns = make_turns([2], reward=[[0.0, 10.0]], valid=[[False, True]], switch=[[False, False]])
    settings = settings_of("ppo_turn", gamma=0.5, lam_turn=0.5, penalties={"invalid": 1.0})
    credit = ppo_turn.credit(turns, {"state": np.array([[2.0, 4.0, 99.0]])}, settings)
    # δ1 = 10 − 4 = 6; δ0 = −1 + 0.5 · 4 − 2 = −1; A0 = −1 + 0.25 · 6 = 0.5
    np.testing.assert_allclose(credit.action, [[0.5, 6.0]])
    target, mask = credit.targets["state"]
    np.testing.assert_allclose(target, [[2.5, 10.0]])
    assert mask.all()


def test_the_targets_lambda_leaves_the_advantages_alone() -> None:
    """As above with γ = ½ and no penalty: with λ = 1 the targets are the returns 0 + ½ · 10 and 10, with λ = 0 one step
    and the value after it, ½ · 4 and 10; null means λ_turn."""
    turns = make_turns([2], reward=[[0.0, 10.0]])
    values = {"state": np.array([[2.0, 4.0, 99.0]])}
    for lam, expected in ((1.0, [[5.0, 10.0]]), (0.0, [[2.0, 10.0]]), (0.5, [[3.5, 10.0]]), (None, [[3.5, 10.0]])):
        credit = ppo_turn.credit(turns, values, settings_of("ppo_turn", gamma=0.5, lam_turn=0.5, target_lambda=lam))
        np.testing.assert_allclose(credit.targets["state"][0], expected)
        np.testing.assert_allclose(credit.action, [[1.5, 6.0]])


def test_every_token_of_a_turn_gets_the_same_advantage() -> None:
    """Blocks and the rest alike, and all of them are trained."""
    rng = np.random.default_rng(0)
    turns = random_turns(rng, [3, 5])
    credit = ppo_turn.credit(turns, random_values(rng, turns, ("state",)), settings_of("ppo_turn"))
    for tokens in (credit.switch, credit.subgoal, credit.action):
        np.testing.assert_array_equal(tokens, credit.other)
    assert credit.trains_other
    np.testing.assert_array_equal(credit.trained_subgoal, turns.has_subgoal)
    assert dict(ppo_turn.heads(settings_of("ppo_turn"))) == {"state": "prompt"}


def test_truncation_bootstraps_and_termination_does_not() -> None:
    """The column behind the last turn counts for the truncated trajectory only."""
    turns = make_turns([1, 1], terminated=[True, False])
    values = {"state": np.array([[1.0, 8.0], [1.0, 8.0]])}
    # terminated: 0 − 1; truncated: 0 + 0.5 · 8 − 1
    np.testing.assert_allclose(
        ppo_turn.credit(turns, values, settings_of("ppo_turn", gamma=0.5)).action, [[-1.0], [3.0]]
    )


def test_advantages_are_normalised_over_all_turns_and_targets_are_not() -> None:
    """Per turn, over the batch."""
    rng = np.random.default_rng(1)
    turns = random_turns(rng, [4, 6])
    values = random_values(rng, turns, ("state",))
    plain = ppo_turn.credit(turns, values, settings_of("ppo_turn"))
    credit = ppo_turn.credit(turns, values, settings_of("ppo_turn", normalize=True))
    assert credit.other[turns.present].mean() == pytest.approx(0.0, abs=1e-9)
    assert credit.other[turns.present].std() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(credit.targets["state"][0], plain.targets["state"][0])
