"""The scripted players that demonstrations come from, one per benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Decision:
    """One turn: `switch` says that `subgoal` is a new one; `action` is an admissible command."""

    switch: bool
    subgoal: str
    action: str


class Expert(Protocol):
    """Plays one episode: `act` once per turn, first with the first observation."""

    def act(self, observation: str, admissible: Sequence[str]) -> Decision: ...


def make_expert(benchmark: str, instruction: str, random: np.random.Generator, hesitation: float) -> Expert:
    """The expert of `benchmark` for one episode with the task sentence `instruction`. `hesitation` is the chance that a
    needless command comes before the next useful one."""
    if benchmark == "alfworld":
        from hiper.benchmarks.alfworld.expert import AlfworldExpert

        return AlfworldExpert(instruction, random, hesitation)
    from hiper.benchmarks.webshop.expert import WebshopExpert

    return WebshopExpert(instruction, random, hesitation)
