"""Turn rewards as the estimators see them: the environment's reward plus the penalties that keep the hierarchy alive.

The original applies them to the raw environment reward, in the order in which the functions stand here; they are sums,
so the order does not matter. All arrays are `[trajectory, turn]`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hiper.algorithms.interface import Bools, Floats, Penalties, Turns
from hiper.algorithms.returns import last_turns, lengths, masked
from hiper.fields import NonNegative, Probability


class HierarchyPenalties(Penalties):
    """Those of the plan-execute interface; the functions below say what each number does."""

    keep: Annotated[float, Field(le=0.0)]  # added on KEEP turns
    keep_mode: Literal["fixed", "normalized", "none"]  # normalized: divided by the number of turns
    keep_skip_first: bool  # turn 0 is neither charged nor counted
    consistency: Annotated[float, Field(le=0.0)]  # added where KEEP comes with an altered subgoal
    consistency_requires_both: bool  # exempt where this subgoal or the last is missing
    switch_floor: NonNegative  # coefficient of the switch-rate floor of the authors' logged runs
    switch_floor_rate: Probability  # share of SWITCH turns below which it is paid


def shape_rewards(turns: Turns, penalties: HierarchyPenalties) -> Floats:
    """Environment reward plus every penalty of the plan-execute interface; 0 on padding."""
    keeps = turns.present & ~turns.switch
    reward = masked(turns.reward, turns.present)
    reward += keep_penalty(keeps, turns.present, penalties.keep, penalties.keep_mode, penalties.keep_skip_first)
    reward += invalid_penalty(turns.valid, turns.present, penalties.invalid)
    reward += consistency_penalty(
        keeps, turns.copied, turns.has_subgoal, penalties.consistency, penalties.consistency_requires_both
    )
    reward += switch_floor_penalty(turns.switch, turns.present, penalties.switch_floor, penalties.switch_floor_rate)
    return reward


def keep_penalty(keeps: Bools, present: Bools, amount: float, mode: str, skip_first: bool) -> Floats:
    """What KEEP turns cost, so that the policy does not stop switching; `amount` ≤ 0.

    `fixed` adds `amount` on every KEEP turn. `normalized` adds `amount / T`, T being the number of turns, so that a
    trajectory's total is `amount` times its share of KEEP turns; trajectories of one turn are exempt (as in the
    original). `skip_first` leaves out turn 0, where there is nothing to keep, from the turns and from T (the authors'
    logged runs: fixed, first turn skipped). `none` adds nothing, whatever `amount` is.
    """
    counted = present.copy()
    charged = keeps & present
    if skip_first:
        counted[:, :1] = False
        charged[:, :1] = False
    if mode == "fixed":
        return np.where(charged, amount, 0.0)
    if mode == "normalized":
        share = amount / np.maximum(lengths(counted), 1)
        return np.where(charged & (lengths(present) > 1)[:, None], share[:, None], 0.0)
    if mode == "none":
        return np.zeros(present.shape)
    raise ValueError(f"keep_mode {mode!r}: must be 'fixed', 'normalized' or 'none'")


def invalid_penalty(valid: Bools, present: Bools, amount: float) -> Floats:
    """`−amount` on malformed turns."""
    return np.where(present & ~valid, -amount, 0.0)


def consistency_penalty(keeps: Bools, copied: Bools, has_subgoal: Bools, amount: float, requires_both: bool) -> Floats:
    """`amount` ≤ 0 on KEEP turns t ≥ 1 whose subgoal tokens differ from the previous turn's.

    With `requires_both` a turn is exempt when its own subgoal block or the previous turn's is missing; without, a
    missing block counts as different (even when both are missing).
    """
    altered = keeps & ~copied
    altered[:, :1] = False
    if requires_both:
        altered[:, 1:] &= has_subgoal[:, 1:] & has_subgoal[:, :-1]
    return np.where(altered, amount, 0.0)


def switch_floor_penalty(switch: Bools, present: Bools, coefficient: float, floor: float) -> Floats:
    """`−coefficient · (floor − rate)` at the last turn of a trajectory that switched too rarely.

    rate = number of SWITCH turns after turn 0, divided by T − 1; trajectories of one turn are exempt. Part of the
    authors' logged runs (coefficient 5, floor 0.25), removed from the released code.
    """
    later = present.copy()
    later[:, :1] = False
    chances = lengths(later)
    rate = lengths(switch & later) / np.maximum(chances, 1)
    missing = np.where(chances > 0, np.maximum(floor - rate, 0.0), 0.0)
    return -coefficient * missing[:, None] * last_turns(present)
