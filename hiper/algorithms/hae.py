"""Hierarchical Advantage Estimation (HiPER, arXiv 2602.16165): advantages of actions, subgoals and switches.

Notation. `r[t]` shaped reward, `V_low[t]` = V_low(s_t, o_t), `V_high[t]` = V_high(s_t), `V_switch[t]` =
V_switch(s_t, o_{t−1}). Turn 0 and every later SWITCH turn are boundaries b_0 < b_1 < …; segment k covers the turns
b_k … b_{k+1} − 1 and follows one subgoal. Everything is a scalar per turn, `[trajectory, turn]`, float64.

Where paper and released code differ:

- Switch level. The paper's `(q − β)(V_high(s_t) − V_low(s_t, o_{t−1}))` with two value heads is here as `paper`; the
  released code's sampled return minus a third head is `return`; `none` gives switch decisions no advantage.
- Regression targets are the λ-returns of the released code (the paper has one-step targets, equal for λ = 0).
- Truncation. The original bootstraps from stale values (the last turn's V_low, the last segment's first V_high); here
  the bootstraps are arguments and mean the real next state.
- The original pads the turn batch with copies of turns before this computation, which doubles rewards; nothing is
  copied here.

Beyond both: `lam_boundary`, λ_b. What follows a segment is worth, to the actions and switch decisions inside it,

    after_segment[b] = V_high(s_b) + λ_b · A_high[b]

at the boundary b that ends it. λ_b = 0 is the published method: V_high alone. A_high is the subgoal level's own
estimate, which does not depend on λ_b. With λ_turn = λ_seg = λ_b = 1 every level is the return less its baseline, and
the policy gradient unbiased whatever the critics are: docs/method.md has the proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiper.algorithms.interface import Bools, Floats
from hiper.algorithms.returns import (
    discounted_returns,
    discounts,
    generalized_advantages,
    last_turns,
    masked,
    next_values,
    reverse_scan,
)


@dataclass(frozen=True)
class Hierarchy:
    """The three levels of one batch, all `[trajectory, turn]` and 0 on padding.

    `boundary` marks segment starts. `low` and `low_return` stand at every turn, `high` and `high_return` at boundaries
    (0 elsewhere), `switch` and `segment_return` at every turn. `segment_return` is the target of the switch head.
    `returns` are the Monte-Carlo returns to go of the episode as it was played: nothing stands for what a truncated one
    would still have earned.
    """

    boundary: Bools
    low: Floats
    low_return: Floats
    high: Floats
    high_return: Floats
    switch: Floats
    segment_return: Floats
    returns: Floats


def boundaries(switch: Bools, present: Bools) -> Bools:
    """True where a segment starts: at turn 0 whatever its switch says, and at every later SWITCH turn."""
    starts = switch & present
    starts[:, :1] = present[:, :1]
    return starts


def segment_ends(boundary: Bools, present: Bools) -> Bools:
    """True at the last turn of each segment: before the next boundary, or at the trajectory's last turn."""
    ends = last_turns(present)
    ends[:, :-1] |= boundary[:, 1:]
    return ends


def low_advantages(
    reward: Floats, value_low: Floats, after_segment: Floats, ends: Bools, discount: Floats, lam: float, present: Bools
) -> Floats:
    """Action level: GAE inside each segment.

    δ[t] = r[t] + γ · next[t] − V_low[t],   next[t] = V_low[t+1] inside a segment, after_segment[t] at its end
    A[t] = δ[t] + γ λ_turn · A[t+1],        A[t+1] := 0 at the end of a segment

    `after_segment` holds V_high(s_b) + λ_b · A_high[b], b = b_{k+1}, at inner segment ends and the low bootstrap at the
    trajectory's last turn; `discount` is γ, 0 where terminated.
    """
    following = np.zeros(present.shape)
    following[:, :-1] = value_low[:, 1:]
    following = np.where(ends, after_segment, following)
    return generalized_advantages(reward, value_low, following, discount, np.where(ends, 0.0, lam), present)


def segment_returns(reward: Floats, after_segment: Floats, ends: Bools, discount: Floats) -> Floats:
    """Monte-Carlo return to the end of the segment, then what `after_segment` says:

    R[t] = r[t] + γ · R[t+1],   R[t+1] := after_segment[t] at the end of a segment

    that is Σ_{j=t}^{b_{k+1}−1} γ^{j−t} r_j + γ^{b_{k+1}−t} after_segment. With V_high(s_{b_{k+1}}) there it is at
    a boundary r̃_k + γ̃_k V_high of the next boundary: the one-step target of the segment.
    """
    gain = reward + np.where(ends, discount * after_segment, 0.0)
    return reverse_scan(gain, np.where(ends, 0.0, discount))


def high_advantages(one_step: Floats, value_high: Floats, boundary: Bools, discount: Floats, lam: float) -> Floats:
    """Subgoal level: GAE over segments as steps of a semi-Markov process, γ̃_k = γ^{d_k} over d_k turns.

    δ_k = r̃_k + γ̃_k · V_high(s_{b_{k+1}}) − V_high(s_{b_k})
    A_k = δ_k + γ̃_k λ_seg · A_{k+1}

    `one_step` holds r̃_k + γ̃_k · V_high(s_{b_{k+1}}) at boundaries. Run turn by turn: the carry is multiplied by γ at
    every turn and by λ_seg at boundaries only, and δ_k is added at boundaries. The result is 0 off boundaries.
    """
    delta = np.where(boundary, one_step - value_high, 0.0)
    carried = reverse_scan(delta, discount * np.where(boundary, lam, 1.0))
    return np.where(boundary, carried, 0.0)


def termination_advantages(
    switch: Bools, switch_probability: Floats, value_high: Floats, value_low_previous: Floats, present: Bools
) -> Floats:
    """Switch level of the paper: `(q[t] − β[t]) · (V_high(s_t) − V_low(s_t, o_{t−1}))`.

    q is 1 for SWITCH, β the policy's probability of SWITCH: the exact advantage of both choices when the values are.
    """
    gain = np.asarray(value_high, dtype=np.float64) - value_low_previous
    return masked((switch - switch_probability) * gain, present)


def hierarchical_advantages(
    reward: Floats,
    switch: Bools,
    present: Bools,
    terminated: Bools,
    value_low: Floats,
    value_high: Floats,
    *,
    gamma: float,
    lam_turn: float,
    lam_seg: float,
    lam_boundary: float,
    bootstrap_low: Floats,
    bootstrap_high: Floats,
    switch_advantage: str,
    value_switch: Floats | None = None,
    value_low_previous: Floats | None = None,
    switch_probability: Floats | None = None,
) -> Hierarchy:
    """All three levels of a batch.

    `bootstrap_low` and `bootstrap_high` `[trajectory]` are the values of the real state after the last turn; they are
    ignored where `terminated` `[trajectory]`. `switch_advantage` is `return` (needs `value_switch`), `paper` (needs
    `value_low_previous`, V_low(s_t, o_{t−1}), and `switch_probability`; λ_b does not reach it) or `none`. All other
    arrays are `[trajectory, turn]`. Raises ValueError when a form is unknown or its values are missing.
    """
    reward, value_low, value_high = (masked(array, present) for array in (reward, value_low, value_high))
    boundary = boundaries(switch, present)
    ends = segment_ends(boundary, present)
    discount = discounts(present, terminated, gamma)
    one_step = segment_returns(reward, next_values(value_high, bootstrap_high, present), ends, discount)
    high = high_advantages(one_step, value_high, boundary, discount, lam_seg)
    traced = value_high + lam_boundary * high
    low = low_advantages(
        reward, value_low, next_values(traced, bootstrap_low, present), ends, discount, lam_turn, present
    )
    segment_return = segment_returns(reward, next_values(traced, bootstrap_high, present), ends, discount)
    if switch_advantage == "return" and value_switch is not None:
        chosen = masked(segment_return - value_switch, present)
    elif switch_advantage == "paper" and value_low_previous is not None and switch_probability is not None:
        chosen = termination_advantages(switch, switch_probability, value_high, value_low_previous, present)
    elif switch_advantage == "none":
        chosen = np.zeros(present.shape)
    else:
        raise ValueError(f"switch_advantage {switch_advantage!r}: unknown form, or one of its value arrays is missing")
    return Hierarchy(
        boundary=boundary,
        low=low,
        low_return=low + value_low,
        high=high,
        high_return=np.where(boundary, high + value_high, 0.0),
        switch=chosen,
        segment_return=segment_return,
        returns=discounted_returns(reward, present, gamma),
    )
