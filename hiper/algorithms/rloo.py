"""RLOO (arXiv 2402.14740): the return of an episode less the mean return of the others of its group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import (
    Counting,
    GroupedSettings,
    Planning,
    against_group,
    broadcast,
    episode_weights,
    shaped_rewards,
    whole_response,
)
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns


class RlooSettings(GroupedSettings, Planning):
    group: Counting


def credit(turns: Turns, values: Mapping[str, Floats], settings: RlooSettings) -> Credit:
    """The same advantage for every token of every turn of an episode.

        A[i,t] = R_i − Σ_{j≠i} R_j / (n − 1) = n / (n − 1) · (R_i − mean_g)

    over the n trajectories of group g. With `group.cross_steps` n and the mean count turns, as in verl-agent: what is
    "left out" is then one turn, and the baseline contains the trajectory's own others.
    """
    returns = shaped_rewards(turns, settings).sum(axis=1)
    weights = episode_weights(turns.present, settings.group)
    _, index = np.unique(turns.group, return_inverse=True)
    n = np.bincount(index, weights)[index]
    difference = against_group(returns, turns.group, weights, divide=False, lone_return=settings.group.lone_return)
    advantage = np.where(n > 1, n / np.maximum(n - 1, 1), 1.0) * difference
    return whole_response(broadcast(advantage, turns.present), turns, settings)


ALGORITHM = Algorithm(RlooSettings, credit)
