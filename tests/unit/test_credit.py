"""What an algorithm returns is checked before a token is trained with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from credit_arrays import make_turns, random_turns, random_values, settings_of

from hiper.algorithms.interface import EVERY_TOKEN, Credit, require_credit
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.returns import discounted_returns
from hiper.errors import UserError
from hiper.runs.summary import explained_variance
from hiper.stages.assessment import Assessment

HEADS = {"state": "prompt"}
SHAPE = (3, 4)


TURNS = make_turns([4, 2, 1])
TOKENS = make_turns([4, 2, 1], chosen=np.repeat(TURNS.present[:, :, None], 5, axis=2))


def _token_credit() -> Credit:
    zeros = np.zeros((*SHAPE, 5))
    return replace(_credit(), tokens=zeros, targets={"state": (zeros, TOKENS.chosen)})


def _credit() -> Credit:
    zeros = np.zeros(SHAPE)
    return Credit(zeros, zeros, zeros, zeros, True, TURNS.present, {"state": (zeros, TURNS.present)}, returns=zeros)


def test_a_fitting_credit_passes() -> None:
    """Arrays of the batch's shape and a target for every head are all that is asked."""
    require_credit(_credit(), TURNS, HEADS, "mine")


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda c: replace(c, action=np.zeros((3, 5))), "Credit.action has shape (3, 5), but"),
        (lambda c: replace(c, other=0.0), "Credit.other has shape None"),
        (lambda c: replace(c, switch=np.full(SHAPE, np.nan)), "Credit.switch is not finite"),
        (lambda c: replace(c, returns=None), "Credit.returns has shape None"),
        (lambda c: replace(c, targets={}), "is for the heads [], heads() names ['state']"),
        (lambda c: replace(c, targets={"state": (np.zeros((3, 5)), TURNS.present)}), "Credit.targets['state'], return"),
    ],
)
def test_a_credit_that_does_not_fit_is_explained(spoil: Callable[[Credit], Credit], wanted: str) -> None:
    """A wrong shape, a NaN and a forgotten head are named, with the algorithm."""
    with pytest.raises(UserError, match=f"algorithm mine: .*{re.escape(wanted)}"):
        require_credit(spoil(_credit()), TURNS, HEADS, "mine")


def test_a_fitting_credit_of_tokens_passes() -> None:
    """A head that is read at every token has targets for every token."""
    require_credit(_token_credit(), TOKENS, {"state": EVERY_TOKEN}, "mine")


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda c: replace(c, tokens=np.zeros(SHAPE)), "Credit.tokens has shape (3, 4), but [trajectory, turn, token]"),
        (lambda c: replace(c, tokens=np.full((*SHAPE, 5), np.inf)), "Credit.tokens is not finite"),
        (lambda c: replace(c, targets=_credit().targets), "Credit.targets['state'], return has shape (3, 4)"),
        (
            lambda c: replace(c, targets={"state": (np.zeros((*SHAPE, 5)), ~TOKENS.chosen)}),
            "Credit.targets['state'], mask: must be Turns.chosen",
        ),
    ],
)
def test_a_credit_of_tokens_that_does_not_fit_is_explained(spoil: Callable[[Credit], Credit], wanted: str) -> None:
    """As above, and the mask of a head that is read at every token is where it was read."""
    with pytest.raises(UserError, match=f"algorithm mine: .*{re.escape(wanted)}"):
        require_credit(spoil(_token_credit()), TOKENS, {"state": EVERY_TOKEN}, "mine")


@pytest.mark.parametrize("name", ["hiper", "ppo_turn", "ppo"])
def test_value_heads_are_measured_against_what_episodes_earned(name: str) -> None:
    """The returns are those of the rewards alone, truncated episodes included: no value stands in them, while targets
    bootstrap; heads that say the returns explain all of them, wherever each is read."""
    rng = np.random.default_rng(0)
    turns = random_turns(rng, [6, 4, 5, 6])
    turns = replace(turns, chosen=np.repeat(turns.present[:, :, None], 3, axis=2))
    settings = settings_of(name, gamma=0.9, penalties={"invalid": 0.1})
    heads = ALGORITHMS[name].heads(settings)
    earned = turns.reward - 0.1 * (turns.present & ~turns.valid)
    returns = discounted_returns(earned, turns.present, 0.9)
    if name == "ppo":  # the whole episode's at every turn, not discounted
        returns = np.where(turns.present, earned.sum(axis=1, where=turns.present, keepdims=True), 0.0)
    for right in (True, False):
        values = random_values(rng, turns, list(heads))
        if right:
            values = {head: np.pad(returns, ((0, 0), (0, 1)), constant_values=5.0) for head in heads}
        if name == "ppo":
            values = {head: np.repeat(array[:, :, None], 3, axis=2) for head, array in values.items()}
        credit = ALGORITHMS[name].credit(turns, values, settings)
        read = Assessment([], values, credit).read()
        for head, found in read.items():
            mask = credit.targets[head][1]
            expected = np.broadcast_to(returns if mask.ndim == 2 else returns[:, :, None], mask.shape)
            np.testing.assert_allclose(found.returns, expected[mask], atol=1e-12)
            np.testing.assert_array_equal(found.targets, credit.targets[head][0][mask])
        metrics = explained_variance(read)
        assert metrics.keys() == {f"critic/{kind}explained_variance_{h}" for h in heads for kind in ("", "target_")}
        for head in heads:
            explained = metrics[f"critic/explained_variance_{head}"]
            assert explained == pytest.approx(1.0) if right else explained < 0.9
            if name != "ppo":
                assert metrics[f"critic/target_explained_variance_{head}"] != pytest.approx(explained)
