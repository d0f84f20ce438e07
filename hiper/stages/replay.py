"""Past episodes that help groups in which nobody differs: the replay of R³ (arXiv 2601.19620)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from hiper.algorithms.sampling import Replay
from hiper.learning.batches import TurnRow
from hiper.trajectory import Generation, Task, TokenSpan, Trajectory, Turn, without_features

ARRAYS = ("prompt_tokens", "response_tokens", "logprobs")  # of a generation
SPANS = ("switch_span", "subgoal_span", "action_span")


class Memory:
    """The newest won and lost episodes of each task, as many of each as would ever join a group, and `capacity` of all
    tasks together. What no update reads of an episode is not kept."""

    def __init__(self, settings: Replay) -> None:
        self.settings = settings
        self.episodes: list[Trajectory] = []  # oldest first

    def joining(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Stored episodes for the groups of `trajectories`, with their group's number: successes of its task for a
        group that lost as a whole, failures for one that won."""
        found = []
        for group in dict.fromkeys(one.group for one in trajectories):
            members = [one for one in trajectories if one.group == group]
            if len({one.won for one in members}) == 1:
                won = not members[0].won
                stored = [one for one in self.episodes if one.task == members[0].task and one.won == won]
                found += [replace(one, group=group) for one in stored[len(stored) - self._wanted(won) :]]
        return found

    def remember(self, trajectories: Sequence[Trajectory]) -> None:
        """Add an iteration's episodes."""
        kept: list[Trajectory] = []
        counts: dict[tuple[str, bool], int] = {}
        for one in reversed([*self.episodes, *map(_bare, trajectories)]):
            key = (one.task.id, one.won)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= self._wanted(one.won):
                kept.append(one)
        self.episodes = kept[: self.settings.capacity][::-1]

    def _wanted(self, won: bool) -> int:
        return self.settings.successes if won else self.settings.failures

    def state(self) -> list[dict[str, Any]]:
        """Tensors and plain values."""
        return [_packed(one) for one in self.episodes]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        self.episodes = [_unpacked(one) for one in state]


def replayed_rows(rows: Sequence[TurnRow], weight: float, weighed: bool) -> list[TurnRow]:
    """The rows of stored episodes, their advantages times `weight`. Their old log probabilities stay those of the
    policy that played them, so that ratios correct for its age. `weighed`: other rows have importance weights."""
    return [
        replace(
            row, advantage=row.advantage * np.float32(weight), importance=np.ones_like(row.logprob) if weighed else None
        )
        for row in rows
    ]


def _bare(trajectory: Trajectory) -> Trajectory:
    """Without what no update reads, and without hidden states, which are those of older weights."""
    turns = tuple(replace(without_features(turn), prompt="", response="", admissible=()) for turn in trajectory.turns)
    return replace(trajectory, turns=turns, info={})


def packed_turn(turn: Turn) -> dict[str, Any]:
    """Tensors and plain values, for a checkpoint."""
    values = asdict(turn)
    if (generation := values["generation"]) is not None:
        generation |= {name: torch.from_numpy(generation[name]) for name in ARRAYS}
    return values


def unpacked_turn(values: Mapping[str, Any]) -> Turn:
    spans = {name: None if values[name] is None else TokenSpan(**values[name]) for name in SPANS}
    generation = values["generation"]
    if generation is not None:
        generation = Generation(**generation | {name: generation[name].numpy().copy() for name in ARRAYS})
    return Turn(**{**values, **spans, "generation": generation})


def _packed(trajectory: Trajectory) -> dict[str, Any]:
    turns = [packed_turn(turn) for turn in trajectory.turns]
    return asdict(replace(trajectory, turns=())) | {"turns": turns}


def _unpacked(values: Mapping[str, Any]) -> Trajectory:
    turns = tuple(unpacked_turn(turn) for turn in values["turns"])
    return Trajectory(**{**values, "task": Task(**values["task"]), "turns": turns})
