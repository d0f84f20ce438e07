"""ADORA (released code without a paper): GRPO that trusts a group less where its successes do not look like effort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from hiper.algorithms.groups import (
    Comparison,
    GroupedSettings,
    Planning,
    broadcast,
    episode_advantages,
    shaped_rewards,
    whole_response,
)
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.algorithms.returns import lengths
from hiper.fields import Probability


class AdoraSettings(GroupedSettings, Planning):
    prefer: Literal["longer", "shorter"]  # what a success should be, next to the group's failures
    discount: Probability  # weight of a group whose successes are not
    group: Comparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: AdoraSettings) -> Credit:
    """GRPO's advantage times its group's weight, for every token of every turn of an episode.

        A[i,t] = w_g · (R_i − mean_g) / (std_g + ε)

    `prefer: longer`, the source's for reasoning: w_g is 1 if the group's longest won episode has more turns than its
    lost ones on average, else `discount`. `prefer: shorter`, for agents, whose better episode is the quicker one: 1 if
    the shortest won one has fewer. The source leaves truncated failures out of the mean; agents fail by running out of
    turns, so they count here. A group without a success, or without a failure, has the weight 1.
    """
    turns_of, weight = lengths(turns.present), np.ones(len(turns.present))
    longer, discount = settings.prefer == "longer", settings.discount
    for label in np.unique(turns.group):
        members = turns.group == label
        won, lost = turns_of[members & turns.won], turns_of[members & ~turns.won]
        if not len(won) or not len(lost):
            continue
        as_preferred = won.max() > lost.mean() if longer else won.min() < lost.mean()
        weight[members] = 1.0 if as_preferred else discount
    advantage = weight * episode_advantages(turns, shaped_rewards(turns, settings), settings.group)
    return whole_response(broadcast(advantage, turns.present), turns, settings)


ALGORITHM = Algorithm(AdoraSettings, credit)
