"""GRPO (DeepSeekMath, arXiv 2402.03300): the return of an episode, standardised within its group."""

from __future__ import annotations

from collections.abc import Mapping

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


class GrpoSettings(GroupedSettings, Planning):
    group: Comparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: GrpoSettings) -> Credit:
    """The same advantage for every token of every turn of an episode.

        A[i,t] = (R_i − mean_g) / (std_g + ε)

    over the trajectories of group g, std with Bessel's correction; `group.mode: mean_norm` leaves out the division
    (Dr.GRPO, arXiv 2503.20783). `group.by_rank` puts `normal_scores` in its place. `group.cross_steps` takes
    mean and std over the group's turns, as verl-agent does.
    """
    advantage = episode_advantages(turns, shaped_rewards(turns, settings), settings.group)
    return whole_response(broadcast(advantage, turns.present), turns, settings)


ALGORITHM = Algorithm(GrpoSettings, credit)
