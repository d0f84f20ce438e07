"""The environment around a game: turns, the end of an episode and what is paid, in the same way for all benchmarks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from hiper.benchmarks.base import Info
from hiper.trajectory import Task


class Game(ABC):
    """One episode of one task at a time, without a turn limit. These attributes tell the state after `start` and `act`;
    `over`: the task itself has ended, won or not; `cut`: a limit of the game's own has ended the episode."""

    instruction: str = ""  # the task sentence; observations need not say it
    admissible: tuple[str, ...] = ()
    over: bool = False
    won: bool = False
    cut: bool = False

    @abstractmethod
    def start(self, task: Task) -> str:
        """Begin a task anew; returns the first observation."""

    @abstractmethod
    def act(self, action: str) -> str:
        """Returns the next observation. An action that is not admissible changes nothing."""

    @property
    def reward(self) -> float:
        """What the last action earned, as a share of the success reward."""
        return float(self.won)

    @property
    def score(self) -> float:
        """The benchmark's own task score in [0, 1]."""
        return float(self.won)

    @property
    def details(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:  # noqa: B027 (most games hold nothing)
        """Give back what the game holds."""


class GameEnvironment:
    """Episodes of a game of at most `max_turns` turns; keeps the contract of `TextEnvironment`."""

    def __init__(self, game: Game, max_turns: int, success_reward: float) -> None:
        self._game, self._max_turns, self._success_reward = game, max_turns, success_reward
        self._turns_left = 0  # 0: no episode is going on

    def reset(self, task: Task) -> tuple[str, Info]:
        self._turns_left = 0
        observation = self._game.start(task)
        self._turns_left = self._max_turns
        return observation, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        if not self._turns_left:
            raise RuntimeError("no episode is going on: call reset first, and again after the end of an episode")
        self._turns_left -= 1
        observation = self._game.act(action)
        terminated = self._game.over or self._game.won
        truncated = not terminated and (self._game.cut or not self._turns_left)
        if terminated or truncated:
            self._turns_left = 0
        return observation, self._success_reward * self._game.reward, terminated, truncated, self._info()

    def close(self) -> None:
        self._turns_left = 0
        self._game.close()

    def _info(self) -> Info:
        game = self._game
        admissible = () if game.over or game.won else game.admissible
        return Info(game.instruction, admissible, game.won, game.score, dict(game.details))
