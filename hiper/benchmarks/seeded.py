"""What benchmarks share whose tasks are made from seeds: the data set and its reading.

The data set is `dataset.json` alone, which lists the tasks of each split. A task's id is `<task type>/<seed>`, and the
seed is all that a game needs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hiper.benchmarks.archives import building
from hiper.benchmarks.base import TextEnvironment, no_tasks
from hiper.benchmarks.game import Game, GameEnvironment
from hiper.benchmarks.record import BenchmarkRecord, Contents, Origin
from hiper.config.benchmark import SeededSettings
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, read_json, require, write_json
from hiper.trajectory import Task

INDEX = "dataset.json"
FORMAT = 1
SeededT = TypeVar("SeededT", bound=SeededSettings)


class SeededBenchmark:
    """The tasks of `data_root/<dataset>/dataset.json` of the wanted types; `make` makes an environment."""

    def __init__(self, settings: SeededSettings, data_root: Path, make: Callable[[], TextEnvironment]) -> None:
        self.name, self.task_types = settings.name, tuple(settings.task_types)
        self._folder = data_root / settings.dataset
        self._tasks = read_tasks(self._folder)
        self._make = make

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, sorted by id; UserError when there are none."""
        tasks = [task for task in self._tasks.get(split, []) if task.task_type in self.task_types]
        if not tasks:
            counts = {name: len(found) for name, found in self._tasks.items()}
            raise no_tasks(self._folder, split, self.task_types, counts)
        return sorted(tasks, key=lambda task: task.id)

    def environment(self) -> TextEnvironment:
        return self._make()


class SeededRecord(BenchmarkRecord[SeededT]):
    """A record whose data, tasks and environment are made here: subclasses make a `game` and an `expert`."""

    @abstractmethod
    def game(self, settings: SeededT) -> Game: ...

    def tasks_of(self, settings: SeededT) -> dict[str, list[Task]]:
        """The tasks of each split of the data set: the types in turn, no seed twice."""
        found: dict[str, list[Task]] = {}
        number = settings.data.seed * 1_000_000
        for split, count in settings.data.tasks.items():
            types = [settings.task_types[place % len(settings.task_types)] for place in range(count)]
            found[split] = [Task(f"{kind}/{number + place:09d}", split, kind) for place, kind in enumerate(types)]
            number += count
        return found

    def make_data(self, settings: SeededT, output: Path) -> None:
        with building(output) as folder:
            write_tasks(folder, settings, self.tasks_of(settings))

    def open(self, settings: SeededT, data_root: Path) -> SeededBenchmark:
        return SeededBenchmark(
            settings,
            data_root,
            lambda: GameEnvironment(self.game(settings), settings.max_turns, settings.success_reward),
        )

    def contents(self, settings: SeededT, folder: Path, used: Sequence[str]) -> Contents:
        tasks = read_tasks(folder)
        wanted = {task.split for found in tasks.values() for task in found if task.task_type in settings.task_types}
        total = sum(map(len, tasks.values()))
        return Contents(f"{total} tasks", empty=[split for split in used if split not in wanted])

    def origin(self, settings: SeededT, root: Path) -> Origin:
        return Origin("generation", True)


def seed_of(task: Task) -> int:
    """The seed that a task is made from."""
    return int(task.id.rpartition("/")[2])


def write_tasks(folder: Path, settings: SeededSettings, tasks: Mapping[str, Sequence[Task]]) -> None:
    """Write the index of a data set; UserError where no task is in it."""
    if not any(tasks.values()):
        raise UserError(f"{settings.dataset}: data.tasks makes no task; make at least one")
    index = {
        "benchmark": settings.name,
        "dataset": settings.dataset,
        "format": FORMAT,
        "source": {"kind": "generate", "settings": settings.data.model_dump(mode="json")},
        "tasks": {split: [[task.id, task.task_type] for task in found] for split, found in tasks.items()},
    }
    write_json(folder / INDEX, index)


def read_tasks(folder: Path) -> dict[str, list[Task]]:
    """The tasks of a data set by split; UserError where it is missing or damaged."""
    path = folder / INDEX
    if not path.exists():
        raise UserError(f"{path}: no such file; make the data set first (`hiper data repro {folder.name}`)")
    index = require(read_json(path, MAKE_DATA_AGAIN), {"format": int, "tasks": dict}, str(path))
    if index["format"] != FORMAT:
        raise UserError(f"{path}: format {index['format']}, and this version reads {FORMAT}; {MAKE_DATA_AGAIN}")
    found: dict[str, list[Task]] = {}
    for split, rows in index["tasks"].items():
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise UserError(f"{path}, tasks, {split}: must be a list of [id, task type]; {MAKE_DATA_AGAIN}")
        found[split] = [Task(identity, split, kind) for identity, kind in rows]
    return found


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) for part in row)
