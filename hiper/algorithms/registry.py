"""The algorithms by the name they have in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hiper.algorithms import gigpo, graphhca, grpo, hgpo, hiper, hiper_potentials, ppo, ppo_turn, rloo, vetta
from hiper.algorithms.groups import no_heads
from hiper.algorithms.interface import Credit, Floats, Turns
from hiper.algorithms.settings import AlgorithmSettings
from hiper.algorithms.unexplained import Unexplained


@dataclass(frozen=True)
class Estimator:
    """`heads(settings)`: value heads and where they read; `credit(turns, values, settings)`: the advantages. `grouped`:
    it learns from differences within a group, so a group must have two episodes at least. `unexplained(turns, values,
    settings)`: what `lam_boundary: auto` goes by; None: the algorithm has no use for it. `hierarchical`: it tells
    switch, subgoal and action blocks apart, so the prompt must ask for them."""

    heads: Callable[[AlgorithmSettings], Mapping[str, str]]
    credit: Callable[[Turns, Mapping[str, Floats], AlgorithmSettings], Credit]
    grouped: bool = False
    unexplained: Callable[[Turns, Mapping[str, Floats], AlgorithmSettings], Unexplained] | None = None
    hierarchical: bool = False


ALGORITHMS: dict[str, Estimator] = {
    "hiper": Estimator(hiper.heads, hiper.credit, unexplained=hiper.unexplained, hierarchical=True),
    "hiper_potentials": Estimator(no_heads, hiper_potentials.credit, grouped=True, hierarchical=True),
    "ppo": Estimator(ppo.heads, ppo.credit),
    "ppo_turn": Estimator(ppo_turn.heads, ppo_turn.credit),
    "vetta": Estimator(vetta.heads, vetta.credit),
    "rloo": Estimator(no_heads, rloo.credit, grouped=True),
    "grpo": Estimator(no_heads, grpo.credit, grouped=True),
    "gigpo": Estimator(no_heads, gigpo.credit, grouped=True),
    "hgpo": Estimator(no_heads, hgpo.credit, grouped=True),
    "graphhca": Estimator(no_heads, graphhca.credit, grouped=True),
}
