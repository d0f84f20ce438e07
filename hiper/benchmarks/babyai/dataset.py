"""The tasks of a data set: a level and a seed each, no two of them the same layout and mission."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel

from hiper.benchmarks.archives import building
from hiper.benchmarks.babyai.levels import make_level, start_level
from hiper.benchmarks.babyai.settings import BabyaiSettings
from hiper.benchmarks.seeded import write_tasks
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, read_jsonl, require, write_jsonl
from hiper.trajectory import Task

MISSIONS = "missions.jsonl"  # one line per task: id, level, seed, mission
REPEATS = 1000  # seeds in a row that give nothing new: the level has no more layouts


def enumerate_tasks(settings: BabyaiSettings) -> tuple[dict[str, list[Task]], dict[str, str]]:
    """The tasks of each split, and the mission of each task by its id.

    The levels take turns, and no seed is used twice. Small levels repeat themselves: a seed whose episode begins
    like an earlier one's is passed over, so that no split has a task of another. UserError where a level has fewer
    layouts than are asked for.
    """
    levels = {name: make_level(name) for name in settings.task_types}
    seen: set[bytes] = set()
    tasks: dict[str, list[Task]] = {}
    missions: dict[str, str] = {}
    seed = settings.data.seed * 1_000_000
    for split, count in settings.data.tasks.items():
        tasks[split] = []
        for place in range(count):
            name = settings.task_types[place % len(settings.task_types)]
            for _ in range(REPEATS):
                start_level(levels[name], seed)
                seed += 1
                if (start := _start(name, levels[name])) not in seen:
                    break
            else:
                raise UserError(
                    f"data.tasks: {name} has no further layouts after {len(missions)} tasks; ask for fewer, or leave "
                    "the level out of task_types"
                )
            seen.add(start)
            task = Task(f"{name}/{seed - 1:09d}", split, name)
            tasks[split].append(task)
            missions[task.id] = levels[name].mission
    return tasks, missions


def _start(name: str, level: RoomGridLevel) -> bytes:
    """What tells the beginnings of two episodes apart."""
    x, y = level.agent_pos
    agent: list[Any] = [name, level.mission, int(x), int(y), int(level.agent_dir)]
    return hashlib.sha256(repr(agent).encode() + level.grid.encode().tobytes()).digest()


def make_dataset(settings: BabyaiSettings, output: Path) -> None:
    """Make the folder `output` anew, whole or not at all: the index that all sets of seeds have, and the missions."""
    tasks, missions = enumerate_tasks(settings)
    with building(output) as folder:
        write_tasks(folder, settings, tasks)
        _write_missions(folder, missions)


def _write_missions(folder: Path, missions: Mapping[str, str]) -> None:
    rows = ((identity, *identity.split("/"), mission) for identity, mission in missions.items())
    write_jsonl(
        folder / MISSIONS,
        ({"id": identity, "level": level, "seed": int(seed), "mission": text} for identity, level, seed, text in rows),
    )


def read_missions(folder: Path) -> dict[str, str]:
    """The mission of each task by its id; UserError where the file is missing or damaged."""
    path = folder / MISSIONS
    if not path.exists():
        raise UserError(f"{path}: no such file; {MAKE_DATA_AGAIN}")
    rows = [require(row, {"id": str, "mission": str}, str(path)) for row in read_jsonl(path)]
    return {row["id"]: row["mission"] for row in rows}
