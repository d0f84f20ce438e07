"""Discounted sums and generalised advantages over padded `[trajectory, turn]` arrays, vectorised over trajectories.

Everything comes down to one linear recursion run backwards over the turns, `reverse_scan`. Padding needs no special
case there: gain and decay are 0 beyond a trajectory's last turn.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from hiper.algorithms.interface import AlgorithmSettings, Bools, Floats, Ints
from hiper.declarations import Before
from hiper.fields import Probability


class GaeSettings(AlgorithmSettings):
    """What an algorithm has that estimates generalised advantages over turns."""

    gamma: Probability  # discount of a turn
    lam_turn: Probability  # λ of the advantages from turn to turn
    # every λ of the values' targets; None: those of the advantages. VC-PPO's (arXiv 2503.01491) is 1
    target_lambda: Annotated[Probability | None, Before(None)]
    bootstrap_truncated: bool  # the value of the real next state stands for what a truncated episode would still earn


def lengths(present: Bools) -> Ints:
    """Number of turns of each trajectory, `[trajectory]`; `present` must be a prefix of each row."""
    return np.asarray(present.sum(axis=1), dtype=np.int64)


def last_turns(present: Bools) -> Bools:
    """True at the last turn of each trajectory, `[trajectory, turn]`."""
    last = present.copy()
    last[:, :-1] &= ~present[:, 1:]
    return last


def masked(values: Floats, mask: Bools) -> Floats:
    """`values` as float64, 0 where `mask` is False (whatever stood there, NaN included)."""
    return np.where(mask, np.asarray(values, dtype=np.float64), 0.0)


def reverse_scan(gain: Floats, decay: Floats) -> Floats:
    """The recursion `y[t] = gain[t] + decay[t] · y[t+1]` with `y` = 0 after the last column.

    `gain`, `decay` and the result are `[trajectory, turn]`.
    """
    # Turn-major copies: each step of the loop then reads and writes contiguous rows.
    rows = np.array(gain.T, dtype=np.float64, order="C")
    factors = np.ascontiguousarray(decay.T, dtype=np.float64)
    for turn in range(len(rows) - 2, -1, -1):
        rows[turn] += factors[turn] * rows[turn + 1]
    return np.ascontiguousarray(rows.T)


def discounted_returns(reward: Floats, present: Bools, gamma: float) -> Floats:
    """Returns to go `G[t] = r[t] + γ · G[t+1]`, 0 beyond the trajectory; `[trajectory, turn]`."""
    return reverse_scan(masked(reward, present), np.where(present, gamma, 0.0))


def discounts(present: Bools, terminated: Bools, gamma: float) -> Floats:
    """The discount of what follows each turn: γ, but 0 at the last turn of a terminated trajectory and on padding.

    A truncated trajectory keeps γ at its last turn, so that the value of the real next state can stand there.
    `terminated` is `[trajectory]`, the result `[trajectory, turn]`.
    """
    ends = last_turns(present) & terminated[:, None]
    return np.where(present & ~ends, gamma, 0.0)


def bootstraps(values: Floats, present: Bools, terminated: Bools, bootstrap_truncated: bool) -> Floats:
    """Value of the real next state of each trajectory, `[trajectory]`.

    `values` is `[trajectory, turn + 1]`: the column at a trajectory's length holds that value. It is read only for
    trajectories that are not terminated and only when `bootstrap_truncated`; everywhere else the result is 0.
    """
    after_last = np.take_along_axis(np.asarray(values, dtype=np.float64), lengths(present)[:, None], axis=1)[:, 0]
    return np.where(bootstrap_truncated & ~terminated, after_last, 0.0)


def next_values(values: Floats, bootstrap: Floats, present: Bools) -> Floats:
    """`V[t+1]` for every turn, the trajectory's `bootstrap` at its last turn; `[trajectory, turn]`."""
    following = np.zeros(present.shape)
    following[:, :-1] = masked(values, present)[:, 1:]
    return np.where(last_turns(present), bootstrap[:, None], following)


def generalized_advantages(
    reward: Floats, value: Floats, next_value: Floats, discount: Floats, trace: Floats, present: Bools
) -> Floats:
    """Generalised advantage estimation with a discount and a trace decay per turn.

    δ[t] = reward[t] + discount[t] · next_value[t] − value[t]
    A[t] = δ[t] + discount[t] · trace[t] · A[t+1]

    `discount` is 0 where the episode terminated; `trace` is λ, or 0 at a turn whose successor must not be looked
    through (the end of a segment). All arrays and the result are `[trajectory, turn]`.
    """
    delta = masked(reward + discount * next_value - value, present)
    return reverse_scan(delta, np.where(present, discount * trace, 0.0))
