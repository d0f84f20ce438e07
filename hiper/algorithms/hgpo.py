"""HGPO (ICLR 2026; verl-agent's recipe `hgpo`): a turn among the turns that share ever more of its history."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from hiper.algorithms.groups import (
    Comparison,
    GroupedSettings,
    Planning,
    anchor_groups,
    broadcast,
    episode_advantages,
    shaped_rewards,
    turn_advantages,
    whole_response,
)
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.algorithms.returns import discounted_returns, masked
from hiper.fields import CountOrZero, NonNegative, Probability

EPSILON = 1e-6  # added to the sum of weights, as in the original


class HistoryComparison(Comparison):
    history_length: CountOrZero  # anchors before a turn's own that may be compared, K
    alpha: NonNegative  # groups of k anchors weigh (k + 1)^alpha
    base_group: bool  # the episode's advantage counts as the group of no anchor


class HgpoSettings(GroupedSettings, Planning):
    gamma: Probability  # discount of a turn
    group: HistoryComparison

    def idle(self) -> Collection[str]:
        return () if self.group.base_group else ("group.by_rank", "group.cross_steps", "group.lone_return")


def credit(turns: Turns, values: Mapping[str, Floats], settings: HgpoSettings) -> Credit:
    """The same advantage for every token of a turn.

        A[i,t] = Σ_k w_k a_k[i,t] / (Σ_k w_k + ε),   w_k = (k + 1)^α,   over the k with a_k[i,t] ≠ 0
        a_k[i,t] = (G[i,t] − mean_k) / (std_k + ε),   G[t] = r[t] + γ · G[t+1]

    k = 1 … min(K + 1, t + 1), K = `group.history_length`; mean_k and std_k (of the population) over the turns of the
    task group whose last k anchors, the turn's own included, are the same texts; a group of one has a_k = 0.
    `group.base_group` adds the episode's advantage as in GRPO as k = 0, `group.mode: mean_norm` leaves out all
    divisions by std.
    """
    group, present, reward = settings.group, turns.present, shaped_rewards(turns, settings)
    returns = discounted_returns(reward, present, settings.gamma)
    total, weight = np.zeros(present.shape), np.zeros(present.shape)
    if group.base_group:
        total = broadcast(episode_advantages(turns, reward, group), present)
        weight = masked(1.0 * (total != 0), present)
    for k, (members, labels) in enumerate(anchor_groups(turns, group.history_length + 1), start=1):
        step = turn_advantages(returns, members, labels, divide=group.mode == "mean_std_norm", unbiased=False)
        total += (k + 1) ** group.alpha * step
        weight += (k + 1) ** group.alpha * (step != 0)
    return whole_response(total / (weight + EPSILON), turns, settings)


ALGORITHM = Algorithm(HgpoSettings, credit)
