"""PPO as the paper's flat baseline has it: one value per token, and a turn that knows nothing of the turns after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiper.algorithms.groups import broadcast, shaped_rewards
from hiper.algorithms.interface import EVERY_TOKEN, Algorithm, AlgorithmSettings, Credit, Floats, Turns
from hiper.algorithms.normalize import standardize
from hiper.algorithms.returns import masked

HEADS: Mapping[str, str] = {"token": EVERY_TOKEN}


def heads(settings: AlgorithmSettings) -> Mapping[str, str]:
    """Value heads to train and their read-out positions."""
    return HEADS


def credit(turns: Turns, values: Mapping[str, Floats], settings: AlgorithmSettings) -> Credit:
    """Token-level generalised advantage estimation inside each turn, with γ = λ = 1 as in verl's `adv=gae`.

        δ[j] = ρ[j] + V[j+1] − V[j],   A[j] = δ[j] + A[j+1],   target[j] = A[j] + V[j]

    j runs over the tokens of one turn's response, V is 0 after the last, and ρ is 0 but at the last token, where it is
    R_i = Σ_t r_t, the return of the *whole* episode, at every turn. The sums telescope to A[j] = R_i − V[j], target[j]
    = R_i: no discount, no bootstrap across turns or at truncation, and no settings for them. Tokens that the guide
    forced have no advantage; leaving them out changes no other. `settings.normalize` whitens over tokens (a long
    response weighs more). `values["token"]` is `[trajectory, turn + 1, token]`; r is the environment's reward less the
    invalid penalty.
    """
    chosen, columns = turns.chosen, turns.present.shape[1]
    returns = broadcast(shaped_rewards(turns, settings).sum(axis=1), turns.present)
    target = masked(returns[:, :, None], chosen)
    advantage = masked(target - values["token"][:, :columns], chosen)
    dealt = standardize(advantage, chosen) if settings.normalize else advantage
    mean = dealt.sum(axis=2) / np.maximum(chosen.sum(axis=2), 1)
    return Credit(
        switch=mean,
        subgoal=mean,
        action=mean,
        other=mean,
        trains_other=True,
        trained_subgoal=turns.present & turns.has_subgoal,
        targets={"token": (target, chosen)},
        tokens=dealt,
        returns=returns,
    )


ALGORITHM = Algorithm(AlgorithmSettings, credit, heads)
