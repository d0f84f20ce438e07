"""The contract between a text benchmark and everything above it: Gymnasium's verbs over strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN
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


def no_tasks(folder: Path, split: str, task_types: Sequence[str], counts: Mapping[str, int]) -> UserError:
    """The error for a split of the data set in `folder` that has no task of the wanted types; `counts` are the tasks of
    each split there is, whatever their type."""
    there = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
    return UserError(
        f"{folder}: no tasks in split {split!r} with task types {', '.join(task_types)}; splits there are: {there}. "
        f"Change benchmark.splits or benchmark.task_types, or {MAKE_DATA_AGAIN}"
    )
