"""Flat baseline: PPO with generalised advantage estimation over turns, one value and one advantage per turn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import Planning, shaped_rewards, whole_response
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


class PpoTurnSettings(GaeSettings, Planning):
    """Generalised advantages, which may be composed with HICRA's weight."""


def heads(settings: GaeSettings) -> Mapping[str, str]:
    """Value heads to train and their read-out positions."""
    return HEADS


def credit(turns: Turns, values: Mapping[str, Floats], settings: GaeSettings) -> Credit:
    """The same advantage for every token of a response, the end token included.

        δ[t] = r[t] + γ · V[t+1] − V[t],   A[t] = δ[t] + γ λ_turn · A[t+1],   target[t] = A[t] + V[t]

    where the A of the target has `target_lambda` in place of λ_turn, if that is a number: with 1 the target is the
    return, or what stands for it at truncation (VC-PPO, arXiv 2503.01491).

    r is the environment's reward less the invalid penalty: the other penalties belong to the hierarchy and are not
    applied, whatever the prompt. `values["state"]` is `[trajectory, turn + 1]`, the column at a trajectory's length
    holding the value of the real next state of a truncated trajectory.
    """
    present = turns.present
    value = masked(values["state"][:, : present.shape[1]], present)
    advantage = advantages(turns, values["state"], settings, settings.lam_turn)
    target = advantage + value
    if settings.target_lambda is not None:
        target = advantages(turns, values["state"], settings, settings.target_lambda) + value
    returns = discounted_returns(shaped_rewards(turns, settings), present, settings.gamma)
    return whole_response(advantage, turns, settings, {"state": (target, present)}, returns)


def advantages(turns: Turns, values: Floats, settings: GaeSettings, lam: float) -> Floats:
    """A of these values `[trajectory, turn + 1]` with λ = `lam`, 0 on padding."""
    present = turns.present
    value = masked(values[:, : present.shape[1]], present)
    bootstrap = bootstraps(values, present, turns.terminated, settings.bootstrap_truncated)
    return generalized_advantages(
        shaped_rewards(turns, settings),
        value,
        next_values(value, bootstrap, present),
        discounts(present, turns.terminated, settings.gamma),
        np.full(present.shape, lam),
        present,
    )


ALGORITHM = Algorithm(PpoTurnSettings, credit, heads, bootstraps=lambda settings: settings.bootstrap_truncated)
