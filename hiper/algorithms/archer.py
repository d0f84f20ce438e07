"""ArCHer (arXiv 2402.19446; code YifeiZhou02/ArCHer): two critics of turns, off-policy, and an actor that learns from
fresh answers to stored states.

With stored turns (o, a, r, o'), a fresh answer ã ~ π(·|o) to each, and a copy of the critics (bar) that follows them,
bar ← bar + τ (critic − bar):

    Q_i(o, a) → r + γ · V̄_i(o'), nothing of V̄ where the episode ended,   V_i(o) → Q̄_i(o, ã),   i = 1, 2
    A = min_i Q_i(o, ã) − min_i V_i(o),   loss −A · log π(ã | o)

The training loop does this (`hiper.stages.off_policy`). Below is the same estimate for the turns of one batch, which
pretraining and the records of played episodes read, and no later update.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import shaped_rewards, whole_response
from hiper.algorithms.interface import Algorithm, AlgorithmSettings, Credit, Floats, Turns
from hiper.algorithms.off_policy import OffPolicy
from hiper.algorithms.returns import bootstraps, discounted_returns, discounts, masked, next_values
from hiper.fields import Probability

HEADS: Mapping[str, str] = {"q_1": "answer", "q_2": "answer", "v_1": "prompt", "v_2": "prompt"}


class ArcherSettings(AlgorithmSettings):
    gamma: Probability
    bootstrap_truncated: bool  # the value of the real next state stands for what a truncated episode would still earn
    off_policy: OffPolicy


def heads(settings: ArcherSettings) -> Mapping[str, str]:
    return HEADS


def credit(turns: Turns, values: Mapping[str, Floats], settings: ArcherSettings) -> Credit:
    """A[t] = min_i Q_i[t] − min_i V_i[t] for every token of the answer; targets r[t] + γ V_i[t+1] of Q_i, Q_i[t] of
    V_i.

    r is the environment's reward less the invalid penalty.
    """
    present, reward = turns.present, shaped_rewards(turns, settings)
    value = {head: masked(values[head][:, : present.shape[1]], present) for head in HEADS}
    advantage = np.minimum(value["q_1"], value["q_2"]) - np.minimum(value["v_1"], value["v_2"])
    discount, targets = discounts(present, turns.terminated, settings.gamma), {}
    for number in (1, 2):
        last = bootstraps(values[f"v_{number}"], present, turns.terminated, settings.bootstrap_truncated)
        following = next_values(value[f"v_{number}"], last, present)
        targets[f"q_{number}"] = (masked(reward + discount * following, present), present)
        targets[f"v_{number}"] = (value[f"q_{number}"], present)
    returns = discounted_returns(reward, present, settings.gamma)
    return whole_response(masked(advantage, present), turns, settings, targets, returns)


ALGORITHM = Algorithm(ArcherSettings, credit, heads, bootstraps=lambda settings: settings.bootstrap_truncated)
