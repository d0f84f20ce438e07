"""VETTA (arXiv 2610.08402): a value per turn says how good the turn was, a value per token which of its tokens were.

This is its credit. Its critic, the first two blocks of the pretrained model with both heads on top, all trainable, is
`training.critic` with `backbone: separate` and `trunk_blocks: 2`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np

from hiper.algorithms import ppo_turn
from hiper.algorithms.interface import EVERY_TOKEN, Algorithm, Bools, Credit, Floats, Turns
from hiper.algorithms.normalize import standardize
from hiper.algorithms.returns import GaeSettings, masked
from hiper.declarations import Before
from hiper.fields import NonNegative


class VettaSettings(GaeSettings):
    token_weight: Annotated[NonNegative, Before(1.0)]  # of what tells the tokens of a turn apart


HEADS: Mapping[str, str] = {"turn": "prompt", "token": EVERY_TOKEN}


def heads(settings: VettaSettings) -> Mapping[str, str]:
    """Value heads to train and their read-out positions."""
    return HEADS


def credit(turns: Turns, values: Mapping[str, Floats], settings: VettaSettings) -> Credit:
    """Every token has its turn's advantage and, centred within the turn, one of its own.

        A[t,u] = A_turn[t] + α · (A_token[t,u] − mean_u A_token[t,u]),   α = `token_weight`

    A_turn and the target G[t] = A_turn[t] + V_turn[t] are turn-level PPO's, with `gamma` and `lam_turn`. Within a turn
    γ = λ = 1, and its last token is paid G[t], which is thus the target of V_token at every token: both heads learn
    what the turn leads to, one before its first token, the other along the way. So A_token[t,u] = G[t] − V_token[t,u],
    and the centred part is mean_u V_token − V_token[t,u]: what the turn is paid cancels in it. With `target_lambda`
    both heads learn turn-level PPO's target with that λ; the advantages stay.

    u runs over the tokens that the policy chose; r is the environment's reward less the invalid penalty.
    `settings.normalize` standardises A over tokens.
    """
    chosen, columns = turns.chosen, turns.present.shape[1]
    by_turn = ppo_turn.credit(turns, {"state": values["turn"]}, settings)
    learned, present = by_turn.targets["state"]
    turn_value = masked(values["turn"][:, :columns], present)
    target = ppo_turn.advantages(turns, values["turn"], settings, settings.lam_turn) + turn_value
    own = masked(target[:, :, None] - values["token"][:, :columns], chosen)
    advantage = (target - values["turn"][:, :columns])[:, :, None] + settings.token_weight * (own - _mean(own, chosen))
    dealt = standardize(advantage, chosen) if settings.normalize else masked(advantage, chosen)
    mean = _mean(dealt, chosen)[:, :, 0]
    targets = {"turn": (learned, present), "token": (masked(learned[:, :, None], chosen), chosen)}
    return replace(by_turn, switch=mean, subgoal=mean, action=mean, other=mean, targets=targets, tokens=dealt)


def _mean(values: Floats, chosen: Bools) -> Floats:
    """Of values that are 0 off `chosen`, over each turn's tokens; `[trajectory, turn, 1]`, 0 where there are none."""
    mean: Floats = values.sum(axis=2, keepdims=True) / np.maximum(chosen.sum(axis=2, keepdims=True), 1)
    return mean


ALGORITHM = Algorithm(VettaSettings, credit, heads, bootstraps=lambda settings: settings.bootstrap_truncated)
