"""DVAO (arXiv 2605.25604): several rewards at once, each weighted by how much its group differs in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import (
    EPSILON,
    GroupedSettings,
    Planning,
    against_group,
    broadcast,
    shaped_rewards,
    whole_response,
)
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.algorithms.returns import lengths
from hiper.fields import NonNegative, Settings


class Objectives(Settings):
    """What each objective weighs; 0 leaves it out."""

    reward: NonNegative  # the environment's less the invalid penalty, summed over the episode
    success: NonNegative  # 1 for a won episode
    form: NonNegative  # share of well-formed answers


class DvaoSettings(GroupedSettings, Planning):
    objectives: Objectives


def credit(turns: Turns, values: Mapping[str, Floats], settings: DvaoSettings) -> Credit:
    """The same advantage for every token of every turn of an episode.

        A[i,t] = Σ_k w_k (x_k[i] − mean_g x_k) / (Σ_k w_k std_g x_k + ε)

    over the objectives k and the episodes of group g, population std. It is Σ_k w̃_k A_k with each objective
    standardised by itself and w̃_k = w_k std_k / Σ_l w_l std_l: an objective in which the group agrees takes no part,
    and does not blow up what little it differs.
    """
    present, weights = turns.present, settings.objectives
    objectives = (
        (weights.reward, shaped_rewards(turns, settings).sum(axis=1)),
        (weights.success, turns.won.astype(np.float64)),
        (weights.form, (turns.valid & present).sum(axis=1) / np.maximum(lengths(present), 1)),
    )
    _, group = np.unique(turns.group, return_inverse=True)
    count, ones = np.bincount(group), np.ones(len(group))
    total, spread = np.zeros(len(group)), np.zeros(len(group))
    for weight, outcome in objectives:
        deviation = against_group(outcome, turns.group, ones, divide=False)
        total += weight * deviation
        spread += weight * np.sqrt(np.bincount(group, deviation**2) / count)[group]
    return whole_response(broadcast(total / (spread + EPSILON), present), turns, settings)


ALGORITHM = Algorithm(DvaoSettings, credit)
