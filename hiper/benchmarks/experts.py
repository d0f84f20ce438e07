"""The contract of the scripted players that demonstrations come from; a benchmark's record makes its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Decision:
    """One turn: `switch` says that `subgoal` is a new one; `action` is an admissible command."""

    switch: bool
    subgoal: str
    action: str


class Expert(Protocol):
    """Plays one episode: `act` once per turn, first with the first observation."""

    def act(self, observation: str, admissible: Sequence[str]) -> Decision: ...
