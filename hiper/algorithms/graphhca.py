"""GraphHCA (arXiv 2609.35084): an episode's advantage in its group, plus the change of potential in each turn.

The episodes of a group are merged into one graph: its nodes are states, its edges the turns that were played. A state
is an observation without history, as for GiGPO; an episode's last turn leads to one of two ends, success or failure. An
episode that ran out of turns, or broke, has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

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
from hiper.algorithms.interface import Algorithm, Bools, Credit, Floats, Ints, Turns
from hiper.algorithms.returns import last_turns
from hiper.declarations import Before
from hiper.fields import Probability

END = -1  # the place of a state where there is none: an end, or padding


class PotentialComparison(StepComparison):
    # lower potentials count as this in logarithms
    potential_floor: Annotated[float, Field(gt=0.0, lt=1.0), Before(0.01)]


class GraphHcaSettings(GroupedSettings, Planning):
    gamma: Probability  # discounts potentials, turn by turn
    group: PotentialComparison


def credit(turns: Turns, values: Mapping[str, Floats], settings: GraphHcaSettings) -> Credit:
    """The same advantage for every token of a turn.

        A[i,t] = A_episode[i] + ω · A_step[i,t],   A_episode as in GRPO
        A_step[i,t] = (ℓ[i,t] − mean) / (std + ε),   ℓ[t] = Ψ(s[t+1]) − Ψ(s[t]),   Ψ = log max(Φ, floor)

    Φ are the group's `potentials`, with γ = `gamma`; floor is `group.potential_floor`. mean and std (Bessel) are over
    the turns of the task group that leave the same state, each turn counting once; a turn alone there gets A_step = 0.
    `group.mode: mean_norm` leaves out both divisions. Where every episode of a group failed all potentials are 0 and so
    is A_step; where all succeeded, ways that are shorter still have the higher potential.
    """
    group, present = settings.group, turns.present
    state = states(turns)
    before, after = potentials(turns, state, settings.gamma)
    signal = logarithm(after, group) - logarithm(before, group)
    advantage = broadcast(episode_advantages(turns, shaped_rewards(turns, settings), group), present)
    return whole_response(advantage + group.omega * among_alike(signal, present, state, group), turns, settings)


def states(turns: Turns) -> Ints:
    """A number for each turn's state `[trajectory, turn]`: equal for turns of one task group with equal observations,
    END on padding."""
    return next((labels for _, labels in anchor_groups(turns, 1)), np.full(turns.present.shape, END))


def potentials(turns: Turns, state: Ints, gamma: float) -> tuple[Floats, Floats]:
    """Φ of the state of each turn and of the state that it leads to, `[trajectory, turn]` in [0, 1], 0 on padding.

        Φ(s) = γ · Σ_a q(a|s) · Φ(s'_a),   Φ(success) = 1,   Φ(failure) = 0

    q(a|s) is the share of a among the turns that leave s. The sum is therefore the mean of Φ(s') over those turns,
    whether a is known by its text or by where it leads, and also where the same action led to different states. So Φ(s)
    is E[γ^turns · success] of a walk that at each state does what a random member of the group did there. Cycles are
    allowed for γ = 1 as well: from every state some episode went on to its end.
    """
    last = last_turns(turns.present)
    following = np.full(state.shape, END)
    following[:, :-1] = state[:, 1:]
    won = last & turns.won[:, None]
    potential = np.zeros(state.max(initial=END) + 2)  # by state; the last one is END's
    for group in np.unique(turns.group):
        inside = turns.present & (turns.group == group)[:, None]
        nodes, leaves = np.unique(state[inside], return_inverse=True)
        enters = np.where(last[inside], END, np.searchsorted(nodes, following[inside]))
        potential[nodes] = _solve(leaves, enters, won[inside], gamma)
    return potential[state], np.where(won, 1.0, potential[following])


def logarithm(potential: Floats, group: PotentialComparison) -> Floats:
    """Ψ = log max(Φ, floor)."""
    psi: Floats = np.log(np.maximum(potential, group.potential_floor))
    return psi


def among_alike(signal: Floats, members: Bools, state: Ints, group: PotentialComparison) -> Floats:
    """The signal of the `members` against that of the members in the same state, 0 elsewhere; `[trajectory, turn]`."""
    return turn_advantages(signal, members, state, divide=group.mode == "mean_std_norm", unbiased=True)


def _solve(leaves: Ints, enters: Ints, won: Bools, gamma: float) -> Floats:
    """Φ `[node]` of one graph whose edges `[edge]` leave and enter these nodes; an edge to END has `won` or not.

    Gauss-Jordan elimination of Φ = γ (P Φ + p). Nodes are replaced by what follows them, so every term is a probability
    and nothing cancels. In place of a library's solver, whose last bits depend on its number of threads.
    """
    size = int(leaves.max()) + 1
    system = np.zeros((size, size + 1))  # P, and p as the last column
    counted = (enters != END) | won
    np.add.at(system, (leaves[counted], enters[counted]), 1.0)  # END is the last column
    system *= gamma / np.bincount(leaves)[:, None]
    for node in reversed(range(size)):  # from the ends backwards, as far as states are numbered in the order of play
        loop, system[node, node] = system[node, node], 0.0
        system[node] /= 1.0 - loop
        sources = np.flatnonzero(system[:, node])
        share = system[sources, node, None]
        system[sources, node] = 0.0
        system[sources] += share * system[node]
    return np.minimum(system[:, size], 1.0)


ALGORITHM = Algorithm(GraphHcaSettings, credit)
