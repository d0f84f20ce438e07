"""What an algorithm returns is checked before a token is trained with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from credit_arrays import make_turns

from hiper.algorithms.interface import Credit, require_credit
from hiper.errors import UserError

HEADS = {"state": "prompt"}
SHAPE = (3, 4)


TURNS = make_turns([4, 2, 1])


def _credit() -> Credit:
    zeros = np.zeros(SHAPE)
    return Credit(zeros, zeros, zeros, zeros, True, TURNS.present, {"state": (zeros, TURNS.present)})


def test_a_fitting_credit_passes() -> None:
    """Arrays of the batch's shape and a target for every head are all that is asked."""
    require_credit(_credit(), TURNS, HEADS, "mine")


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda c: replace(c, action=np.zeros((3, 5))), "Credit.action has shape (3, 5), but"),
        (lambda c: replace(c, other=0.0), "Credit.other has shape None"),
        (lambda c: replace(c, switch=np.full(SHAPE, np.nan)), "Credit.switch is not finite"),
        (lambda c: replace(c, targets={}), "is for the heads [], heads() names ['state']"),
        (lambda c: replace(c, targets={"state": (np.zeros((3, 5)), TURNS.present)}), "Credit.targets['state'], return"),
    ],
)
def test_a_credit_that_does_not_fit_is_explained(spoil: Callable[[Credit], Credit], wanted: str) -> None:
    """A wrong shape, a NaN and a forgotten head are named, with the algorithm."""
    with pytest.raises(UserError, match=f"algorithm mine: .*{re.escape(wanted)}"):
        require_credit(spoil(_credit()), TURNS, HEADS, "mine")
