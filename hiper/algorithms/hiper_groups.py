"""HiPER's levels without a critic: what a block led to, against what the group's other blocks of its kind led to.

Returns go on to the end of the episode. Where they stop at the end of a segment, as in a public derivative of HiPER's
code, a reward at the end leaves every segment but the last with the return 0: its tokens learn that they were not the
last, and nothing else. That form is `returns: segment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from hiper.algorithms.groups import GroupedSettings, against_group
from hiper.algorithms.hae import boundaries, segment_ends, segment_returns
from hiper.algorithms.hiper import deal_without_critic
from hiper.algorithms.interface import Algorithm, Bools, Credit, Floats, Turns
from hiper.algorithms.returns import discounted_returns
from hiper.algorithms.shaping import HierarchyPenalties, shape_rewards
from hiper.fields import Probability, Settings


class LevelComparison(Settings):
    mode: Literal["mean_norm", "mean_std_norm"]  # advantages divided by their group's standard deviation, or not


class HiperGroupsSettings(GroupedSettings):
    gamma: Probability
    returns: Literal["episode", "segment"]  # how far the returns of actions and subgoals go
    penalties: HierarchyPenalties
    group: LevelComparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: HiperGroupsSettings) -> Credit:
    """Each level is a return, less the mean of the task group's turns that have such a block.

        A_low[t]    = G[t] among the group's turns
        A_high[b]   = G[b] among the group's boundary turns with a subgoal block
        A_switch[t] = G[t] among the group's turns with a switch block,     G[t] = r[t] + γ · G[t+1]

    r has all of HiPER's penalties; "x among" is (x − mean) / (std + ε) with Bessel's correction, each turn counting
    once, or without the division (`group.mode: mean_norm`). A turn alone gets 0. With `returns: segment` G stops at the
    end of the segment, and the switch level is the return of the whole episode, Σ_t r[t]. `normalize` standardises each
    level over the batch as in HiPER.
    """
    present, group = turns.present, settings.group
    boundary, reward = boundaries(turns.switch, present), shape_rewards(turns, settings.penalties)
    if settings.returns == "episode":
        switch = reached = discounted_returns(reward, present, settings.gamma)
    else:
        none, discount = np.zeros(present.shape), np.where(present, settings.gamma, 0.0)
        reached = segment_returns(reward, none, segment_ends(boundary, present), discount)
        switch = np.where(present, reward.sum(axis=1, keepdims=True), 0.0)
    labels = np.broadcast_to(turns.group[:, None], present.shape)

    def level(gain: Floats, members: Bools) -> Floats:
        advantage = np.zeros(present.shape)
        ones = np.ones(int(members.sum()))
        divide = group.mode == "mean_std_norm"
        advantage[members] = against_group(gain[members], labels[members], ones, divide=divide)
        return advantage

    return deal_without_critic(
        turns,
        level(reached, present),
        level(reached, boundary & turns.has_subgoal),
        level(switch, present & turns.has_switch),
        normalize=settings.normalize,
    )


ALGORITHM = Algorithm(HiperGroupsSettings, credit, hierarchical=True)
