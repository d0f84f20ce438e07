"""Which tasks each stage plays: demonstrations and RL share the train split without sharing a game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiper.benchmarks.base import Benchmark
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.randomness import generator
from hiper.trajectory import Task

# Streams of random numbers, one per purpose, so that a change in one leaves the others as they were.
STREAMS = {
    "demonstrations": 1,
    "tokenizer": 2,
    "initialization": 3,
    "sft": 4,
    "tasks": 5,
    "rollout": 6,
    "update": 7,
    "evaluation": 8,
    "validation": 9,
    "variance": 10,
    "adapters": 11,
    "heads": 12,
    "held out": 13,
}


def stream(settings: RunSettings, purpose: str, *numbers: int) -> list[int]:
    """One purpose of a run as `hiper.randomness` takes it; `numbers` are counters such as the iteration."""
    return [settings.seed, STREAMS[purpose], *numbers]


@dataclass(frozen=True)
class TrainTasks:
    """Disjoint parts of the train split."""

    demonstrations: list[Task]
    reinforcement: list[Task]
    validation: list[Task]


def split_train(settings: RunSettings, benchmark: Benchmark) -> TrainTasks:
    """The train split in its parts, the same for every seed of an experiment."""
    tasks = list(benchmark.tasks(settings.benchmark.splits.train))
    shown, held_out = settings.demonstrations.tasks, settings.training.validation.tasks
    end = len(tasks) - held_out
    if shown >= end:
        further = f" and training.validation.tasks={held_out}" if held_out else ""
        raise UserError(
            f"demonstrations.tasks={shown}{further} leave no task for RL: split {settings.benchmark.splits.train!r} of "
            f"{settings.benchmark.dataset!r} has {len(tasks)}"
        )
    order = np.random.default_rng([settings.demonstrations.seed, STREAMS["tasks"]]).permutation(len(tasks))
    shuffled = [tasks[i] for i in order]
    return TrainTasks(shuffled[:shown], shuffled[shown:end], shuffled[end:])


def draw_tasks(tasks: Sequence[Task], settings: RunSettings, iteration: int) -> tuple[list[Task], list[int]]:
    """The tasks of one iteration and their group numbers [episodes].

    Tasks come in seeded epochs without repetition, so the draw of an iteration depends on its number alone and a
    resumed run sees what an uninterrupted one would.
    """
    draws = settings.training.episodes // settings.algorithm.group_size
    chosen: list[Task] = []
    for index in range(iteration * draws, (iteration + 1) * draws):
        epoch, place = divmod(index, len(tasks))
        order = generator(stream(settings, "tasks", epoch)).permutation(len(tasks))
        chosen.append(tasks[order[place]])
    groups = [group for group in range(draws) for _ in range(settings.algorithm.group_size)]
    return [chosen[group] for group in groups], groups
