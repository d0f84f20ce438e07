"""M-GRPO (arXiv 2511.13288), its two levels read as subgoals and segments: what plans is compared by episodes, what is
called by calls.

In the paper a main agent calls subagents, and both are compared within the rollouts of one task. Here a segment is a
call: switch and subgoal tokens are the main agent's, action tokens the subagent's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import (
    Comparison,
    GroupedSettings,
    against_group,
    broadcast,
    episode_advantages,
    shaped_rewards,
)
from hiper.algorithms.hae import boundaries
from hiper.algorithms.hiper import deal_without_critic
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.fields import Probability


class MgrpoSettings(GroupedSettings):
    lost_call: Probability  # what a well-formed call earns in a lost episode; one in a won episode earns 1
    group: Comparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: MgrpoSettings) -> Credit:
    """Two group-relative advantages, of the episode for what plans and of the call for what acts.

        A_switch[t] = A_high[b] = (R_i − mean_g) / (std_g + ε)                 over the episodes of a group, as in GRPO
        A_low[t]    = (R_k − mean) / (std + ε)                                 over the segments of a group

    R_k of a segment is 0 if one of its turns is malformed, else 1 in a won episode and `lost_call` in a lost one. The
    paper gives every rollout the same number of calls, by repeating some and dropping others at random; here each
    episode's segments weigh as much together as another's, which is what that comes to on average. std is the
    population's. `group.mode: mean_norm` leaves out both divisions.
    """
    present, group = turns.present, settings.group
    boundary = boundaries(turns.switch, present)
    episode = broadcast(episode_advantages(turns, shaped_rewards(turns, settings), group), present)
    number = np.cumsum(boundary, axis=1) - 1  # of each turn's segment in its episode
    rows, order = np.nonzero(boundary)
    calls = number[rows, order]
    malformed = np.zeros(present.shape)
    np.add.at(malformed, (np.nonzero(present)[0], number[present]), ~turns.valid[present])
    earned = np.where(malformed[rows, calls] > 0, 0.0, np.where(turns.won[rows], 1.0, settings.lost_call))
    weights, divide = 1.0 / boundary.sum(axis=1)[rows], group.mode == "mean_std_norm"
    of_call = np.zeros(present.shape)
    of_call[rows, calls] = against_group(earned, turns.group[rows], weights, divide=divide, unbiased=False)
    low = np.where(present, np.take_along_axis(of_call, np.maximum(number, 0), axis=1), 0.0)
    return deal_without_critic(turns, low, episode, episode, normalize=settings.normalize)


ALGORITHM = Algorithm(MgrpoSettings, credit, hierarchical=True)
