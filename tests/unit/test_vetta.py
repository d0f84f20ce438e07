"""VETTA: worked numbers, and what each of its two values is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from credit_arrays import make_turns, random_turns, random_values, settings_of
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms import ppo_turn, vetta
from hiper.algorithms.interface import EVERY_TOKEN, Floats, Turns

SEEDS = st.integers(0, 2**32 - 1)

# Two turns; of three response tokens the guide forced the second, the second response has two tokens.
CHOSEN = np.array([[[True, False, True], [True, True, False]]])
TURNS = make_turns([2], reward=[[0.0, 10.0]], valid=[[False, True]], chosen=CHOSEN)
VALUES = {
    "turn": np.array([[2.0, 4.0, 99.0]]),
    "token": np.array([[[1.0, 77.0, 3.0], [5.0, 8.0, 77.0], [77.0, 77.0, 77.0]]]),
}


def random_batch(seed: int, tokens: int = 4) -> tuple[Turns, dict[str, Floats]]:
    rng = np.random.default_rng(seed)
    turns = random_turns(rng, [3, 1, 5])
    chosen = (rng.random((*turns.present.shape, tokens)) < 0.7) & turns.present[:, :, None]
    values = {**random_values(rng, turns, ("turn",)), "token": rng.normal(size=(3, 6, tokens))}
    return replace(turns, chosen=chosen), values


def test_two_turns_by_hand() -> None:
    """Token values that differ by 2 and 3 put their tokens 1 and 1.5 to both sides of the turn's advantage, times α."""
    settings = settings_of("vetta", gamma=0.5, lam_turn=0.5, token_weight=2.0, penalties={"invalid": 1.0})
    credit = vetta.credit(TURNS, VALUES, settings)
    # turns as in PPO's: δ = −1 + 0.5 · 4 − 2 = −1 and 10 − 4 = 6, A = −1 + 0.25 · 6 = 0.5 and 6, returns 2.5 and 10
    # tokens: 2.5 − (1, 3) = (1.5, −0.5), mean 0.5: ±1;  10 − (5, 8) = (5, 2), mean 3.5: ±1.5
    np.testing.assert_allclose(credit.tokens, [[[0.5 + 2, 0.0, 0.5 - 2], [6 + 3, 6 - 3, 0.0]]])
    np.testing.assert_allclose(credit.other, [[0.5, 6.0]])
    (turn, present), (token, chosen) = credit.targets["turn"], credit.targets["token"]
    np.testing.assert_allclose(turn, [[2.5, 10.0]])
    np.testing.assert_allclose(token, [[[2.5, 0.0, 2.5], [10.0, 10.0, 0.0]]])
    assert present.all() and chosen.tolist() == CHOSEN.tolist()
    assert credit.trains_other and dict(vetta.heads(settings)) == {"turn": "prompt", "token": EVERY_TOKEN}


@given(SEEDS, st.floats(0, 5))
def test_tokens_share_their_turns_advantage_and_add_up_to_it(seed: int, weight: float) -> None:
    """Their mean is turn-level PPO's advantage, whatever α; with α = 0 each of them has it."""
    turns, values = random_batch(seed)
    settings = settings_of("vetta", gamma=0.95, lam_turn=0.95, token_weight=weight)
    flat = ppo_turn.credit(turns, {"state": values["turn"]}, settings_of("ppo_turn", gamma=0.95, lam_turn=0.95))
    credit = vetta.credit(turns, values, settings)
    some = turns.chosen.any(axis=2)
    np.testing.assert_allclose(credit.other[some], flat.other[some], atol=1e-9)
    np.testing.assert_array_equal(credit.targets["turn"][0], flat.targets["state"][0])
    alike = vetta.credit(turns, values, settings.model_copy(update={"token_weight": 0.0})).tokens
    np.testing.assert_allclose(alike, np.where(turns.chosen, flat.other[:, :, None], 0.0), atol=1e-9)


@given(SEEDS)
def test_only_differences_of_token_values_within_a_turn_count(seed: int) -> None:
    """A critic that is wrong about all tokens of a turn by the same amount changes no advantage."""
    turns, values = random_batch(seed)
    shift = np.random.default_rng(seed).normal(size=(3, 6, 1))
    shifted = {**values, "token": values["token"] + shift}
    before, after = (vetta.credit(turns, v, settings_of("vetta")).tokens for v in (values, shifted))
    np.testing.assert_allclose(before, after, atol=1e-9)


def test_the_targets_lambda_leaves_the_advantages_alone() -> None:
    """With λ = 1 both heads learn turn-level PPO's returns; tokens get what they got."""
    turns, values = random_batch(2)
    plain = {"gamma": 0.9, "lam_turn": 0.3}
    before, after = (
        vetta.credit(turns, values, settings_of("vetta", **plain, target_lambda=lam)) for lam in (None, 1.0)
    )
    assert before.tokens is not None and after.tokens is not None
    np.testing.assert_array_equal(before.tokens, after.tokens)
    whole = settings_of("ppo_turn", **{**plain, "lam_turn": 1.0})
    one = ppo_turn.credit(turns, {"state": values["turn"]}, whole).targets["state"][0]
    np.testing.assert_allclose(after.targets["turn"][0], one)
    np.testing.assert_allclose(after.targets["token"][0], np.where(turns.chosen, one[:, :, None], 0.0))
    assert not np.allclose(before.targets["turn"][0], one)


def test_advantages_are_whitened_over_tokens_and_targets_are_not() -> None:
    """As for PPO with a value per token."""
    turns, values = random_batch(1)
    plain, white = (vetta.credit(turns, values, settings_of("vetta", normalize=wanted)) for wanted in (False, True))
    assert white.tokens is not None and not white.tokens[~turns.chosen].any()
    chosen = white.tokens[turns.chosen]
    assert (chosen.mean(), chosen.std()) == (pytest.approx(0.0, abs=1e-9), pytest.approx(1.0, abs=1e-6))
    for head in ("turn", "token"):
        np.testing.assert_array_equal(white.targets[head][0], plain.targets[head][0])
