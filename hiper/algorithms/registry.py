"""The algorithms by the name they have in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hiper.algorithms import hiper, ppo_turn
from hiper.algorithms.interface import Credit, Floats, Turns
from hiper.algorithms.settings import AlgorithmSettings


@dataclass(frozen=True)
class Estimator:
    """`heads(settings)`: value heads and where they read; `credit(turns, values, settings)`: the advantages."""

    heads: Callable[[AlgorithmSettings], Mapping[str, str]]
    credit: Callable[[Turns, Mapping[str, Floats], AlgorithmSettings], Credit]


ALGORITHMS: dict[str, Estimator] = {
    "hiper": Estimator(hiper.heads, hiper.credit),
    "ppo_turn": Estimator(ppo_turn.heads, ppo_turn.credit),
}
