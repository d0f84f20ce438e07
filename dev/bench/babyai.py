"""BabyAI in words against the bare package: the same levels, seeds and actions, each with its own observation.

A step of ours is a step of the package, whose image is put into words with what is remembered and what may be done. The
walks are random, over the six actions whether or not they change something.

Times are processor time of one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from hiper.benchmarks.babyai.game import BabyaiGame
from hiper.benchmarks.babyai.levels import make_level, start_level
from hiper.benchmarks.babyai.settings import BabyaiSettings
from hiper.benchmarks.babyai.view import ACTIONS
from hiper.benchmarks.seeded import seed_of
from hiper.compose import configuration_file, load_benchmark
from hiper.trajectory import Task

OURS, BARE = "in words", "minigrid alone"
RATIO = 1.5
RESET_ROUNDS = 5  # of all episodes each
CONFIGURATION = "babyai"  # whose levels are played

Walks = Mapping[Task, Sequence[int]]


def measure(budget: Budget, *, root: Path, episodes: int = 4, steps: int = 40, seed: int = 0) -> Result:
    """Play `episodes` episodes of each level, of `steps` steps at most."""
    settings = load_benchmark(configuration_file("benchmark", CONFIGURATION, root))
    assert isinstance(settings, BabyaiSettings)
    settings = settings.model_copy(update={"memory": True})
    levels = {name: make_level(name, settings.max_turns) for name in settings.task_types}
    walks = _walks(settings, levels, episodes, steps, seed)
    game = BabyaiGame(settings)
    checks = [_require_equal(game, levels, walks)]
    stepping = _steps(game, levels, walks, budget)
    resetting = _resets(game, levels, walks, Budget(min(RESET_ROUNDS, budget.rounds), budget.seconds))
    ratio = stepping.ratio(OURS).median
    bound = "" if ratio <= RATIO else python_shares(lambda: _replay(game, walks))
    return Result(
        "babyai",
        {"levels": len(levels), "episodes": len(walks), "steps": sum(map(len, walks.values())), "seed": seed},
        checks,
        [stepping, resetting],
        [Target("time per step, times minigrid's", f"at most {RATIO:g}", ratio, ratio <= RATIO, bound)],
    )


def _walks(
    settings: BabyaiSettings, levels: Mapping[str, Any], episodes: int, steps: int, seed: int
) -> dict[Task, list[int]]:
    """Random actions for some tasks of each level, ending where the episode does."""
    walks: dict[Task, list[int]] = {}
    for place, name in enumerate(settings.task_types):
        for number in range(episodes):
            task = Task(f"{name}/{number:09d}", "train", name)
            chance = np.random.default_rng([seed, place, number])
            start_level(levels[name], number)
            walks[task], over = [], False
            while not over and len(walks[task]) < steps:
                walks[task].append(int(chance.integers(len(ACTIONS))))
                _, _, terminated, truncated, _ = levels[name].step(walks[task][-1])
                over = terminated or truncated
    return walks


def _require_equal(game: BabyaiGame, levels: Mapping[str, Any], walks: Walks) -> str:
    """Disagreement unless every reset and step gives the same mission, reward and ending."""
    for task, actions in walks.items():
        level = levels[task.task_type]
        start_level(level, seed_of(task))
        game.start(task)
        if game.instruction != level.mission:
            raise Disagreement(f"{task.id}: {game.instruction!r} here, {level.mission!r} in minigrid")
        for number, action in enumerate(actions, start=1):
            game.act(ACTIONS[action])
            _, reward, terminated, _, _ = level.step(action)
            ours, bare = (game.won, game.over), (reward > 0, terminated)
            if ours != bare:
                raise Disagreement(f"{task.id} step {number}: {ours} here, {bare} in minigrid")
    return f"{sum(1 + len(actions) for actions in walks.values())} resets and steps: mission, success, ending"


def _steps(game: BabyaiGame, levels: Mapping[str, Any], walks: Walks, budget: Budget) -> Comparison:
    """Each round is one walk, begun before the clock runs."""
    order = list(walks.items())

    def begin_ours(number: int) -> None:
        game.start(order[number % len(order)][0])

    def begin_bare(number: int) -> None:
        task, _ = order[number % len(order)]
        start_level(levels[task.task_type], seed_of(task))

    def play_ours(number: int) -> float:
        _, actions = order[number % len(order)]
        for action in actions:
            game.act(ACTIONS[action])
        return len(actions)

    def play_bare(number: int) -> float:
        task, actions = order[number % len(order)]
        level = levels[task.task_type]
        for action in actions:
            level.step(action)
        return len(actions)

    sides = [Side(OURS, play_ours, begin_ours), Side(BARE, play_bare, begin_bare)]
    return interleave("steps", "step", sides, {OURS: BARE}, budget, process_time)


def _resets(game: BabyaiGame, levels: Mapping[str, Any], walks: Walks, budget: Budget) -> Comparison:
    def reset_ours(number: int) -> float:
        for task in walks:
            game.start(task)
        return len(walks)

    def reset_bare(number: int) -> float:
        for task in walks:
            start_level(levels[task.task_type], seed_of(task))
        return len(walks)

    sides = [Side(OURS, reset_ours), Side(BARE, reset_bare)]
    return interleave("resets", "reset", sides, {OURS: BARE}, budget, process_time)


def _replay(game: BabyaiGame, walks: Walks) -> None:
    for task, actions in walks.items():
        game.start(task)
        for action in actions:
            game.act(ACTIONS[action])
