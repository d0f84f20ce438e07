"""The paper's flat PPO, with a value for every token."""

from __future__ import annotations

import numpy as np
import pytest
from credit_arrays import make_turns, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms import ppo
from hiper.algorithms.interface import EVERY_TOKEN
from hiper.algorithms.returns import generalized_advantages

SEEDS = st.integers(0, 2**32 - 1)

# Two turns; of three response tokens the guide forced the second, the second response has two tokens.
CHOSEN = np.array([[[True, False, True], [True, True, False]]])
TURNS = make_turns([2], reward=[[1.0, 4.0]], valid=[[False, True]], chosen=CHOSEN)
VALUES = {"token": np.array([[[1.0, 77.0, 2.0], [3.0, 9.0, 77.0], [77.0, 77.0, 77.0]]])}


def test_two_turns_by_hand() -> None:
    """The whole return at every turn, less the value before each token; forced tokens and padding have nothing."""
    settings = settings_of("ppo", penalties={"invalid": 0.5})
    credit = ppo.credit(TURNS, VALUES, settings)
    # R = 1 − 0.5 + 4 = 4.5, undiscounted
    np.testing.assert_allclose(credit.tokens, [[[3.5, 0.0, 2.5], [1.5, -4.5, 0.0]]])
    np.testing.assert_allclose(credit.other, [[3.0, -1.5]])
    target, mask = credit.targets["token"]
    np.testing.assert_allclose(target, [[[4.5, 0.0, 4.5], [4.5, 4.5, 0.0]]])
    np.testing.assert_array_equal(mask, CHOSEN)
    assert credit.trains_other and dict(ppo.heads(settings)) == {"token": EVERY_TOKEN}


@given(SEEDS, st.integers(1, 6))
def test_it_is_generalised_advantage_estimation_within_the_response(seed: int, tokens: int) -> None:
    """γ = λ = 1 over the tokens of a turn, the episode's return as the reward of the last one."""
    rng = np.random.default_rng(seed)
    chosen = np.ones((1, 2, tokens), bool)
    turns = make_turns([2], reward=rng.normal(size=(1, 2)), chosen=chosen)
    values = rng.normal(size=(1, 3, tokens))
    reward, one = np.zeros((2, tokens)), np.ones((2, tokens))
    reward[:, -1] = turns.reward.sum()
    following = np.concatenate([values[0, :2, 1:], np.zeros((2, 1))], axis=1)
    expected = generalized_advantages(reward, values[0, :2], following, one, one, one.astype(bool))
    np.testing.assert_allclose(ppo.credit(turns, {"token": values}, settings_of("ppo")).tokens, [expected], atol=1e-9)


def test_advantages_are_whitened_over_tokens_and_targets_are_not() -> None:
    """Long responses weigh more than short ones."""
    rng = np.random.default_rng(1)
    lengths = np.array([[7, 2, 1], [3, 5, 0]])
    chosen = np.arange(7) < lengths[:, :, None]
    turns = make_turns([3, 2], reward=rng.normal(size=(2, 3)), chosen=chosen)
    values = {"token": rng.normal(size=(2, 4, 7))}
    plain, white = (ppo.credit(turns, values, settings_of("ppo", normalize=wanted)) for wanted in (False, True))
    assert white.tokens is not None and plain.tokens is not None
    expected = (plain.tokens[chosen] - plain.tokens[chosen].mean()) / plain.tokens[chosen].std()
    np.testing.assert_allclose(white.tokens[chosen], expected, atol=1e-6)
    assert white.tokens[chosen].mean() == pytest.approx(0.0, abs=1e-9) and not white.tokens[~chosen].any()
    np.testing.assert_array_equal(white.targets["token"][0], plain.targets["token"][0])
