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
    "pretraining": 14,
    "pretraining tasks": 15,
    "pretraining update": 16,
    "resampling": 17,
    "execution": 18,
    "replay": 19,
    "fresh answers": 20,
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
            f"{settings.benchmark.dataset!r} has {len(tasks)}; lower the one, or give the split more tasks"
        )
    order = np.random.default_rng([settings.demonstrations.seed, STREAMS["tasks"]]).permutation(len(tasks))
    shuffled = [tasks[i] for i in order]
    return TrainTasks(shuffled[:shown], shuffled[shown:end], shuffled[end:])


def all_draws(settings: RunSettings, spent: int = 0) -> int:
    """How many tasks all iterations together may draw: as many as `iterations` × `episodes` less the episodes `spent`
    before the first are groups."""
    return (settings.training.iterations * settings.training.episodes - spent) // settings.algorithm.group_size


def draws_of(settings: RunSettings, iteration: int, spent: int = 0, resampled: int = 0) -> range:
    """Numbers of the task draws of one iteration. All iterations together play `iterations` × `episodes` less the
    episodes `spent` before the first, shared out evenly: whatever the critic learned on, an algorithm has as many
    episodes and as many updates as one without a critic. The draws that groups were `resampled` with in the iterations
    before it are taken from the end, where iterations then have none left."""
    draws, iterations = all_draws(settings, spent), settings.training.iterations
    start, stop = (number * draws // iterations + resampled for number in (iteration, iteration + 1))
    return range(min(start, draws), min(stop, draws))


def draw_tasks(
    tasks: Sequence[Task], settings: RunSettings, draws: range, purpose: str = "tasks", first: int = 0
) -> tuple[list[Task], list[int]]:
    """The tasks of these draws and their group numbers [episodes], from `first` on.

    Tasks come in seeded epochs without repetition, so a draw depends on its number alone and a resumed run sees what
    an uninterrupted one would.
    """
    chosen: list[Task] = []
    for index in draws:
        epoch, place = divmod(index, len(tasks))
        order = generator(stream(settings, purpose, epoch)).permutation(len(tasks))
        chosen.append(tasks[order[place]])
    groups = [group for group in range(len(draws)) for _ in range(settings.algorithm.group_size)]
    return [chosen[group] for group in groups], [first + group for group in groups]
