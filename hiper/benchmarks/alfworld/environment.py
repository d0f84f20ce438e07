"""ALFWorld behind the contract of `hiper.benchmarks.base`: its games, and the benchmark that owns its tasks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hiper.benchmarks.alfworld.games import GAME_FILE, GameText, read_game, read_index
from hiper.benchmarks.alfworld.games import Game as ListedGame
from hiper.benchmarks.alfworld.native import NativeEngine, parse_game
from hiper.benchmarks.alfworld.problem import GameSpec
from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.base import no_tasks
from hiper.benchmarks.game import Game, GameEnvironment
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


class AlfworldGame(Game):
    """The first observation holds the welcome line, the room and the task sentence, as in the original; spaces around
    an action do not matter. `load` finds the game of a task in the form that `engine` starts from.
    """

    def __init__(self, engine: Engine[StartableGame], load: Callable[[Task], StartableGame]) -> None:
        self._start: Callable[[Task], tuple[str, str]] = lambda task: _started(engine, load(task))
        self._engine: Engine[StartableGame] = engine

    def start(self, task: Task) -> str:
        """UserError when the task's game cannot be read."""
        observation, self.instruction = self._start(task)
        self.admissible, self.won = self._engine.admissible, self._engine.won
        return observation

    def act(self, action: str) -> str:
        observation = self._engine.step(action)
        self.admissible, self.won = self._engine.admissible, self._engine.won
        return observation

    def close(self) -> None:
        self._engine.close()


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

    def environment(self) -> GameEnvironment:
        """A new environment with an engine of its own; winning pays and ends the episode, nothing else does."""
        return GameEnvironment(self._played(), self._settings.max_turns, self._settings.success_reward)

    def _played(self) -> AlfworldGame:
        if self._settings.game_engine == "native":
            return AlfworldGame(NativeEngine(), self._spec)
        from hiper.benchmarks.alfworld.textworld import TextWorldEngine

        return AlfworldGame(TextWorldEngine(), self._text)

    def _listed(self, task: Task) -> ListedGame:
        try:
            return self._games[task.id]
        except KeyError:
            raise UserError(f"{self._root}: no game {task.id!r} in dataset.json") from None

    def _text(self, task: Task) -> GameText:
        return read_game(self._listed(task).folder)

    def _spec(self, task: Task) -> GameSpec:
        spec = self._cache.get(task.id)
        if spec is None:
            spec = parse_game(self._text(task), str(self._listed(task).folder / GAME_FILE))
            self._cache[task.id] = spec
            if len(self._cache) > self._cached_games:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(task.id)
        return spec
