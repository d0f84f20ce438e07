"""The `native` engine against TextWorld: the same games, the same commands, both behind `GameEnvironment`.

A step includes the observation, the list of admissible commands and whether the task is won. TextWorld has two kinds of
reset: of the game it has just played, and of another one, which it parses first; training resets to another game nearly
always. `native` keeps parsed games, so its resets are timed for known games and for games never seen before.

Times are processor time of one core.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.alfworld.games import read_index, write_index
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.base import TextEnvironment
from hiper.compose import configuration_file, load_benchmark
from hiper.trajectory import Task

OURS, ORIGINAL = "native", "TextWorld"
KNOWN, UNSEEN = "native, a game played before", "native, a game never seen"
STEPS_RATIO, RESETS_PER_SECOND = 1000.0, 5000.0
COPIES = 20  # episodes that native plays per round: one is over in less than a millisecond
GENERATED = "alfworld_test"  # the benchmark file that names the default games

Walks = Mapping[Task, Sequence[str]]


@contextmanager
def games(data: Path | None, root: Path) -> Iterator[tuple[AlfworldSettings, Path]]:
    """Settings and data root of the games in the folder `data` (default: `data/alfworld_test`, generated into a
    temporary folder when it is not there)."""
    settings = load_benchmark(configuration_file("benchmark", GENERATED, root))
    settings = settings.model_copy(update={"max_turns": 50})
    folder = data if data is not None else root / "data" / GENERATED
    if data is not None or folder.exists():
        yield settings.model_copy(update={"dataset": folder.name}), folder.parent
        return
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / GENERATED
        made.mkdir()
        found = generate_games(made, settings.task_types, settings.data.generate)
        write_index(made, GENERATED, {"kind": "generate"}, found)
        yield settings, Path(temporary)


def pick_tasks(benchmark: AlfworldBenchmark, folder: Path, count: int) -> list[Task]:
    """`count` tasks spread evenly over the last split there is (rooms unseen in training, where the data has such)."""
    tasks = benchmark.tasks(sorted(read_index(folder))[-1])
    return [tasks[round(i * (len(tasks) - 1) / max(count - 1, 1))] for i in range(min(count, len(tasks)))]


def walk(environment: TextEnvironment, tasks: Sequence[Task], steps: int, seed: int) -> dict[Task, list[str]]:
    """Random admissible commands for each task, ending where the episode does; one in ten is not admissible."""
    walks: dict[Task, list[str]] = {}
    for number, task in enumerate(tasks):
        random = np.random.default_rng([seed, number])
        _, info = environment.reset(task)
        commands: list[str] = []
        over = False
        while not over and len(commands) < steps:
            odd = random.random() < 0.1
            choices = info.admissible_actions
            commands.append("put it there" if odd else choices[int(random.integers(len(choices)))])
            _, _, terminated, truncated, info = environment.step(commands[-1])
            over = terminated or truncated
        walks[task] = commands
    return walks


def require_equal(ours: TextEnvironment, original: TextEnvironment, walks: Walks) -> str:
    """Disagreement unless every reset and step gives the same observation, reward, ending and info."""
    points = 0
    for task, commands in walks.items():
        _same(f"{task.id} reset", ours.reset(task), original.reset(task))
        for number, command in enumerate(commands, start=1):
            _same(f"{task.id} step {number} {command!r}", ours.step(command), original.step(command))
        points += 1 + len(commands)
    return f"{points} resets and steps: observation, admissible commands, reward, ending"


def _same(where: str, own: tuple, other: tuple) -> None:
    if own != other:
        raise Disagreement(f"{where}: {own!r} here, {other!r} in TextWorld")


def measure(
    budget: Budget,
    *,
    data: Path | None = None,
    root: Path = Path(),
    count: int = 4,
    steps: int = 30,
    seed: int = 0,
    original: TextEnvironment | None = None,
) -> Result:
    """Play `count` games in both engines. `original` replaces TextWorld (for tests of the refusal)."""
    with games(data, root) as (settings, data_root):
        native = AlfworldBenchmark(settings, data_root)
        if original is None:
            textworld = settings.model_copy(update={"game_engine": "textworld"})
            original = AlfworldBenchmark(textworld, data_root).environment()
        tasks = pick_tasks(native, data_root / settings.dataset, count)
        walks = walk(native.environment(), tasks, steps, seed)
        checks = [require_equal(native.environment(), original, walks)]
        stepping = _steps(native, original, walks, budget)
        resetting = _resets(native, settings, data_root, original, tasks, budget)
        targets = _targets(stepping, resetting, native, walks)
    sizes = {"games": len(tasks), "of": settings.dataset, "commands": sum(map(len, walks.values())), "threads": 1}
    return Result("alfworld", {**sizes, "seed": seed}, checks, [stepping, resetting], targets)


def _steps(native: AlfworldBenchmark, original: TextEnvironment, walks: Walks, budget: Budget) -> Comparison:
    """Each round is one game: TextWorld plays its commands once, native in twenty episodes."""
    order = list(walks)
    environments = [native.environment() for _ in range(COPIES)]

    def task(number: int) -> Task:
        return order[number % len(order)]

    def begin(number: int) -> None:
        for environment in environments:
            environment.reset(task(number))

    def play_native(number: int) -> float:
        for environment in environments:
            for command in walks[task(number)]:
                environment.step(command)
        return COPIES * len(walks[task(number)])

    def play_original(number: int) -> float:
        for command in walks[task(number)]:
            original.step(command)
        return len(walks[task(number)])

    sides = [
        Side(OURS, play_native, begin),
        Side(ORIGINAL, play_original, lambda number: _discard(original.reset(task(number)))),
    ]
    return interleave("steps", "step", sides, {ORIGINAL: OURS}, budget, time.process_time)


def _resets(
    native: AlfworldBenchmark,
    settings: AlfworldSettings,
    data_root: Path,
    original: TextEnvironment,
    tasks: Sequence[Task],
    budget: Budget,
) -> Comparison:
    environment = native.environment()
    again, other = f"{ORIGINAL}, the same game again", f"{ORIGINAL}, another game"
    fresh: list[AlfworldBenchmark] = []

    def known(number: int) -> float:
        for _ in range(COPIES):
            for task in tasks:
                environment.reset(task)
        return COPIES * len(tasks)

    def unseen(number: int) -> float:
        unread = fresh.pop().environment()
        for task in tasks:
            unread.reset(task)
        return len(tasks)

    def reset(number: int) -> float:
        original.reset(tasks[number % len(tasks)])
        return 1

    sides = [
        Side(KNOWN, known),
        Side(UNSEEN, unseen, lambda number: fresh.append(AlfworldBenchmark(settings, data_root))),
        Side(other, reset),
        Side(again, reset),
    ]
    return interleave("resets", "reset", sides, {other: KNOWN, again: KNOWN}, budget, time.process_time)


def _discard(value: object) -> None:
    """For callbacks that must return nothing."""


def _targets(stepping: Comparison, resetting: Comparison, native: AlfworldBenchmark, walks: Walks) -> list[Target]:
    ratio, rate = stepping.ratio(ORIGINAL).median, 1 / resetting.spread(KNOWN).median
    environment = native.environment()

    def play() -> None:
        for task, commands in walks.items():
            environment.reset(task)
            for command in commands:
                environment.step(command)

    def reset() -> None:
        for task in walks:
            environment.reset(task)

    return [
        Target(
            "steps, times TextWorld's",
            f"at least {STEPS_RATIO:,.0f}",
            ratio,
            ratio >= STEPS_RATIO,
            "" if ratio >= STEPS_RATIO else python_shares(play, COPIES),
        ),
        Target(
            "resets per second of games played before",
            f"at least {RESETS_PER_SECOND:,.0f}",
            rate,
            rate >= RESETS_PER_SECOND,
            "" if rate >= RESETS_PER_SECOND else python_shares(reset, COPIES),
        ),
    ]
