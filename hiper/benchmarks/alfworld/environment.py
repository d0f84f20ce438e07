"""ALFWorld behind the contract of `hiper.benchmarks.base`: the environment, and the benchmark that owns its tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hiper.benchmarks.alfworld.games import GAME_FILE, Game, GameText, read_game, read_index
from hiper.benchmarks.alfworld.native import NativeEngine, parse_game
from hiper.benchmarks.alfworld.problem import GameSpec
from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.base import Info, no_tasks
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN
from hiper.trajectory import Task

CACHED_GAMES = 2000  # about 60 KB each for rooms as large as the real ones


class Startable(Protocol):
    """A game in the form that an engine starts from."""

    @property
    def instruction(self) -> str: ...


StartableGame = TypeVar("StartableGame", bound=Startable)
StartableGameIn = TypeVar("StartableGameIn", bound=Startable, contravariant=True)


class Engine(Protocol[StartableGameIn]):
    """What plays a game: native or TextWorld. `admissible` and `won` describe the state after the last call."""

    admissible: tuple[str, ...]
    won: bool

    def reset(self, game: StartableGameIn, /) -> str: ...

    def step(self, command: str, /) -> str: ...

    def close(self) -> None: ...


class AlfworldEnvironment:
    """Episodes of at most `max_turns` turns; winning gives `success_reward` and ends the episode, nothing else pays.

    The first observation holds the welcome line, the room and the task sentence, as in the original; spaces around an
    action do not matter. `load` finds the game of a task in the form that `engine` starts from.
    """

    def __init__(
        self,
        engine: Engine[StartableGame],
        load: Callable[[Task], StartableGame],
        max_turns: int,
        success_reward: float,
    ) -> None:
        self._start: Callable[[Task], tuple[str, str]] = lambda task: _started(engine, load(task))
        self._engine: Engine[StartableGame] = engine
        self._max_turns = max_turns
        self._success_reward = success_reward
        self._instruction = ""
        self._turns_left = 0  # 0: no episode is going on

    def reset(self, task: Task) -> tuple[str, Info]:
        """Start the task; UserError when its game cannot be read."""
        self._turns_left = 0
        observation, self._instruction = self._start(task)
        self._turns_left = self._max_turns
        return observation, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        if not self._turns_left:
            raise RuntimeError("no episode is going on: call reset first, and again after the end of an episode")
        self._turns_left -= 1
        observation = self._engine.step(action)
        terminated = self._engine.won
        truncated = not terminated and self._turns_left == 0
        if terminated:
            self._turns_left = 0
        return observation, self._success_reward if terminated else 0.0, terminated, truncated, self._info()

    def close(self) -> None:
        self._turns_left = 0
        self._engine.close()

    def _info(self) -> Info:
        won = self._engine.won
        admissible = () if won else self._engine.admissible
        return Info(self._instruction, admissible, won, 1.0 if won else 0.0)


def _started(engine: Engine[StartableGame], game: StartableGame) -> tuple[str, str]:
    return engine.reset(game), game.instruction


class AlfworldBenchmark:
    """The games of `data_root/<dataset>/dataset.json` of the wanted task types.

    A split is named as in the data (`train`, `valid_seen`, `valid_unseen`). Parsed games are kept, the longest unused
    beyond `cached_games` forgotten; environments share them.
    """

    def __init__(self, settings: AlfworldSettings, data_root: Path, cached_games: int = CACHED_GAMES) -> None:
        self.name: str = settings.name
        self.task_types: tuple[str, ...] = tuple(settings.task_types)
        self._settings = settings
        self._root = data_root / settings.dataset
        self._index = read_index(self._root)
        self._games = {game.id: game for games in self._index.values() for game in games}
        self._cache: OrderedDict[str, GameSpec] = OrderedDict()
        self._cached_games = cached_games

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, sorted by id; UserError when there are none, or when the file of one is missing."""
        games = [game for game in self._index.get(split, []) if game.task_type in self.task_types]
        if not games:
            counts = {name: len(found) for name, found in self._index.items()}
            raise no_tasks(self._root, split, self.task_types, counts)
        missing = [game for game in games if not (game.folder / GAME_FILE).is_file()]
        if missing:
            raise UserError(
                f"{missing[0].folder / GAME_FILE}: no such file, but dataset.json lists it ({len(missing)} of "
                f"{len(games)} games of split {split!r} are missing); {MAKE_DATA_AGAIN}"
            )
        return [Task(game.id, game.split, game.task_type) for game in games]

    def environment(self) -> AlfworldEnvironment:
        """A new environment with an engine of its own."""
        turns, reward = self._settings.max_turns, self._settings.success_reward
        if self._settings.game_engine == "native":
            return AlfworldEnvironment(NativeEngine(), self._spec, turns, reward)
        from hiper.benchmarks.alfworld.textworld import TextWorldEngine

        return AlfworldEnvironment(TextWorldEngine(), self._text, turns, reward)

    def _game(self, task: Task) -> Game:
        try:
            return self._games[task.id]
        except KeyError:
            raise UserError(f"{self._root}: no game {task.id!r} in dataset.json") from None

    def _text(self, task: Task) -> GameText:
        return read_game(self._game(task).folder)

    def _spec(self, task: Task) -> GameSpec:
        spec = self._cache.get(task.id)
        if spec is None:
            spec = parse_game(self._text(task), str(self._game(task).folder / GAME_FILE))
            self._cache[task.id] = spec
            if len(self._cache) > self._cached_games:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(task.id)
        return spec
