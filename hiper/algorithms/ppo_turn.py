"""Flat baseline: PPO with generalised advantage estimation over turns, one value and one advantage per turn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import shaped_rewards, whole_response
from hiper.algorithms.interface import Algorithm, Credit, Floats, Turns
from hiper.algorithms.returns import (
    GaeSettings,
    bootstraps,
    discounted_returns,
    discounts,
    generalized_advantages,
    masked,
    next_values,
)

HEADS: Mapping[str, str] = {"state": "prompt"}


def heads(settings: GaeSettings) -> Mapping[str, str]:
    """Value heads to train and their read-out positions."""
    return HEADS


def credit(turns: Turns, values: Mapping[str, Floats], settings: GaeSettings) -> Credit:
    """The same advantage for every token of a response, the end token included.

        δ[t] = r[t] + γ · V[t+1] − V[t],   A[t] = δ[t] + γ λ_turn · A[t+1],   target[t] = A[t] + V[t]

    r is the environment's reward less the invalid penalty: the other penalties belong to the hierarchy and are not
    applied, whatever the prompt. `values["state"]` is `[trajectory, turn + 1]`, the column at a trajectory's length
    holding the value of the real next state of a truncated trajectory.
    """
    present = turns.present
    value = masked(values["state"][:, : present.shape[1]], present)
    bootstrap = bootstraps(values["state"], present, turns.terminated, settings.bootstrap_truncated)
    reward = shaped_rewards(turns, settings)
    advantage = generalized_advantages(
        reward,
        value,
        next_values(value, bootstrap, present),
        discounts(present, turns.terminated, settings.gamma),
        np.full(present.shape, settings.lam_turn),
        present,
    )
    returns = discounted_returns(reward, present, settings.gamma)
    return whole_response(advantage, turns, settings, {"state": (advantage + value, present)}, returns)


ALGORITHM = Algorithm(GaeSettings, credit, heads, bootstraps=lambda settings: settings.bootstrap_truncated)
