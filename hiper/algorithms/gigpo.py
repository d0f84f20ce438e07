"""GiGPO (arXiv 2505.10978): an episode's advantage in its group, plus each turn's among the turns at the same state."""

from __future__ import annotations

from collections.abc import Mapping

from hiper.algorithms.groups import (
    GroupedSettings,
    Planning,
    StepComparison,
    anchor_groups,
    broadcast,
    episode_advantages,
    shaped_rewards,
    turn_advantages,
    whole_response,
)
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.algorithms.returns import discounted_returns
from hiper.fields import Probability


class GigpoSettings(GroupedSettings, Planning):
    gamma: Probability  # discount of a turn
    group: StepComparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: GigpoSettings) -> Credit:
    """The same advantage for every token of a turn.

        A[i,t] = A_episode[i] + ω · A_step[i,t],   A_episode as in GRPO
        A_step[i,t] = (G[i,t] − mean) / (std + ε),   G[t] = r[t] + γ · G[t+1]

    mean and std (Bessel) over the step group: the turns of task group g whose anchor, the raw observation without
    history, is the same text. A turn alone in its step group gets A_step = 0. `group.mode: mean_norm` leaves out both
    divisions. The published numbers have `group.cross_steps`, and one benchmark `mean_std_norm`, the other
    `mean_norm` (configs/experiment/paper.yaml).
    """
    group, present, reward = settings.group, turns.present, shaped_rewards(turns, settings)
    returns = discounted_returns(reward, present, settings.gamma)
    advantage = broadcast(episode_advantages(turns, reward, group), present)
    for members, labels in anchor_groups(turns, 1):
        step = turn_advantages(returns, members, labels, divide=group.mode == "mean_std_norm", unbiased=True)
        advantage = advantage + group.omega * step
    return whole_response(advantage, turns, settings)


ALGORITHM = Algorithm(GigpoSettings, credit)
