"""The contract between a text benchmark and everything above it: Gymnasium's verbs over strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hiper.trajectory import Task


@dataclass(frozen=True)
class Info:
    """What an environment tells besides the observation.

    `instruction` is the task sentence, `admissible_actions` what may be done in this state: empty once the
    task itself is over, not in the last state of a truncated episode, whose value is bootstrapped from;
    `score` the benchmark's own task score in [0, 1]; `details` what else it tells about task and score, as JSON values.
    """

    instruction: str
    admissible_actions: tuple[str, ...]
    won: bool
    score: float
    details: Mapping[str, Any] = field(default_factory=dict)


class TextEnvironment(Protocol):
    """One episode at a time. Any string is accepted as an action; an inadmissible one costs a turn.

    `terminated` means the task itself ended the episode, `truncated` that the turn limit did; they are never both True.
    `step` before `reset` or after the end raises RuntimeError.
    """

    def reset(self, task: Task) -> tuple[str, Info]: ...

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Returns (observation, reward, terminated, truncated, info)."""
        ...

    def close(self) -> None: ...


class Benchmark(Protocol):
    """A set of tasks and the environments that play them. `tasks(split)` is sorted by id and never changes."""

    name: str
    task_types: tuple[str, ...]

    def tasks(self, split: str) -> Sequence[Task]: ...

    def environment(self) -> TextEnvironment: ...
