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
from hiper.algorithms.hae import Hierarchy, boundaries
from hiper.algorithms.hiper import deal
from hiper.algorithms.interface import Algorithm, Bools, Credit, Floats, Ints, Turns
from hiper.algorithms.normalize import standardize
from hiper.algorithms.returns import masked
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
    episodes = rows.astype(np.int64)
    calls = number[rows, order]
    malformed = np.zeros((len(present), present.shape[1]))
    np.add.at(malformed, (np.nonzero(present)[0], number[present]), ~turns.valid[present])
    earned = np.where(malformed[rows, calls] > 0, 0.0, np.where(turns.won[rows], 1.0, settings.lost_call))
    compared = _weighted(earned, turns.group[rows], episodes, divide=group.mode == "mean_std_norm")
    of_call = np.zeros(present.shape)
    of_call[rows, calls] = compared
    low = np.where(present, np.take_along_axis(of_call, np.maximum(number, 0), axis=1), 0.0)

    def level(advantage: Floats, members: Bools) -> Floats:
        return standardize(advantage, members) if settings.normalize else masked(advantage, members)

    none = np.zeros(present.shape)
    levels = Hierarchy(
        boundary=boundary,
        low=level(low, present),
        low_return=none,
        high=level(episode, boundary & turns.has_subgoal),
        high_return=none,
        switch=level(episode, present & turns.has_switch),
        segment_return=none,
        returns=none,
    )
    return deal(turns, levels, targets={})


def _weighted(earned: Floats, groups: Ints, episodes: Ints, *, divide: bool) -> Floats:
    """Each segment `[n]` against its group, the segments of one episode weighing 1 together."""
    _, episode = np.unique(episodes, return_inverse=True)
    weights = 1.0 / np.bincount(episode)[episode]
    return against_group(earned, groups, weights, divide=divide, unbiased=False)


ALGORITHM = Algorithm(MgrpoSettings, credit, hierarchical=True)
