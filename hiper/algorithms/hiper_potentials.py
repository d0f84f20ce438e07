"""Ablation: HiPER's three levels with the potentials of GraphHCA in place of its critic.

What a block did is read from the states of the task group, and compared with what was done in the same state by the
group's other episodes. Who gets which level, and the penalties, are HiPER's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from hiper.algorithms.graphhca import PotentialComparison, among_alike, logarithm, potentials, states
from hiper.algorithms.groups import GroupedSettings, broadcast, episode_advantages
from hiper.algorithms.hae import boundaries, segment_ends, segment_returns
from hiper.algorithms.hiper import deal_without_critic
from hiper.algorithms.interface import Algorithm, Bools, Credit, Floats, Turns
from hiper.algorithms.shaping import HierarchyPenalties, shape_rewards
from hiper.fields import Probability


class HiperPotentialsSettings(GroupedSettings):
    gamma: Probability  # discount of a turn
    switch_advantage: Literal["return", "none"]
    penalties: HierarchyPenalties
    group: PotentialComparison

    @field_validator("switch_advantage", mode="before")
    @classmethod
    def without_values(cls, value: Any) -> Any:
        if value == "paper":
            raise ValueError(
                "'paper' compares V_high with V_low, and algorithm hiper_potentials learns neither: use 'return' or "
                "'none'"
            )
        return value


def credit(turns: Turns, values: Mapping[str, Floats], settings: HiperPotentialsSettings) -> Credit:
    """Actions are compared by the state they lead to, subgoals and switch decisions by where the segment ended.

        A_low[t]    = A_episode + ω · (log Φ(s[t+1]) among the turns in state s[t])
        A_high[b]   = A_episode + ω · (log F[b] among the boundary turns in s[b] with a subgoal block)
        A_switch[t] = A_episode + ω · (log F[t] among the turns in s[t] with a switch block)

        F[t] = γ · Φ(s[t+1]) at the end of a segment,   F[t] = γ · F[t+1] inside one

    Φ are the group's `graphhca.potentials`, 1 after a success and 0 after a failure, γ = `gamma`, and logarithms have
    `group.potential_floor`. F is HiPER's return of a segment with Φ for V_high and no reward of its own: γ^d Φ at the
    state where the segment ended d turns later, so that a subgoal does not win by lasting longer. "x among" is
    (x − mean) / (std + ε) as in GraphHCA: 0 for a turn that is alone, and Ψ(s[t]), the same for all, cancels.

    SWITCH and KEEP are told apart by where the segments ended in which the turns with either lay, as in HiPER's return
    form; with `switch_advantage: none` the switch level is 0. The paper's form would be 0, too: a potential knows
    states, not the subgoal that is followed in them. A_episode is GRPO's, over rewards with all of HiPER's penalties.
    `normalize` standardises each level over the batch as in HiPER.
    """
    group, present = settings.group, turns.present
    state, boundary = states(turns), boundaries(turns.switch, present)
    none, discount = np.zeros(present.shape), np.where(present, settings.gamma, 0.0)
    _, after = potentials(turns, state, settings.gamma)
    segment = segment_returns(none, after, segment_ends(boundary, present), discount)
    episode = broadcast(episode_advantages(turns, shape_rewards(turns, settings.penalties), group), present)

    def level(reached: Floats, members: Bools) -> Floats:
        return episode + group.omega * among_alike(logarithm(reached, group), members, state, group)

    return deal_without_critic(
        turns,
        level(after, present),
        level(segment, boundary & turns.has_subgoal),
        None if settings.switch_advantage == "none" else level(segment, present & turns.has_switch),
        normalize=settings.normalize,
    )


ALGORITHM = Algorithm(HiperPotentialsSettings, credit, hierarchical=True)
