"""What an algorithm returns is checked before a token is trained with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from credit_arrays import make_turns

from hiper.algorithms.interface import EVERY_TOKEN, Credit, require_credit
from hiper.errors import UserError

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
