"""One episode of BabyAI at a time: the package's level, told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel

from hiper.benchmarks.babyai.levels import make_level, start_level
from hiper.benchmarks.babyai.settings import BabyaiSettings
from hiper.benchmarks.babyai.view import ACTIONS, Memory, Pose, read, tell
from hiper.benchmarks.game import Game
from hiper.benchmarks.seeded import seed_of
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN
from hiper.trajectory import Task

NUMBERS = {action: number for number, action in enumerate(ACTIONS)}


class BabyaiGame(Game):
    """A level played in words. The six actions reach the package always, whether or not they change something; any
    other text costs a step and changes nothing.

    `missions` has the mission of each task by its id, where tasks come from a data set; `level` is the package's, whose
    limit of steps is ours.
    """

    level: RoomGridLevel

    def __init__(self, settings: BabyaiSettings, missions: Mapping[str, str] | None = None) -> None:
        self._settings, self._missions = settings, missions
        self._levels: dict[str, RoomGridLevel] = {}
        self._memory = Memory()
        self._observation = ""
        self._reward = 0.0

    def start(self, task: Task) -> str:
        """Begin a task; UserError where the package makes another mission of its seed than the data set says."""
        if task.task_type not in self._levels:
            self._levels[task.task_type] = make_level(task.task_type, self._settings.max_turns)
        self.level = self._levels[task.task_type]
        image = start_level(self.level, seed_of(task))
        self.instruction = self.level.mission
        if self._missions is not None and (told := self._missions.get(task.id)) != self.instruction:
            raise UserError(
                f"{task.id}: the mission is {self.instruction!r}, and the data set has {told!r}: it is of another "
                f"version of minigrid; {MAKE_DATA_AGAIN}"
            )
        self.won = self.over = False
        self._reward = 0.0
        self._memory = Memory()
        return self._tell(image)

    def act(self, action: str) -> str:
        """One step; the observation after it."""
        number = NUMBERS.get(action)
        if number is None:
            self.level.step_count += 1
            self._reward = 0.0
            return self._observation
        observation, reward, self.over, _, _ = self.level.step(number)
        self.won = self.over and reward > 0
        self._reward = float(reward if self._settings.reward == "discounted" else self.won)
        return self._tell(observation["image"])

    @property
    def reward(self) -> float:
        return self._reward

    def _tell(self, image: Any) -> str:
        cells = image.tolist()
        view = read(cells)
        self.admissible = view.admissible
        remembered = []
        if self._settings.memory:
            x, y = self.level.agent_pos
            remembered = self._memory.out_of_sight(cells, view, Pose(int(x), int(y), int(self.level.agent_dir)))
        self._observation = tell(view, remembered)
        return self._observation
