"""The ALFWorld environment keeps the contract, with both engines; and the check of the contract notices violations."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.alfworld.games import find_games, write_index
from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.base import Info
from hiper.benchmarks.conformance import check_environment
from hiper.benchmarks.game import GameEnvironment
from hiper.errors import UserError
from hiper.trajectory import Task

PROBLEM = (Path(__file__).parents[1] / "rooms" / "quirks.pddl").read_text()
WIN = ("go to desk 1", "take mug 2 from desk 1", "move mug 2 to shelf 2")
TASK_TYPES = ("pick_and_place_simple", "pick_two_obj_and_place")


def settings(engine: str = "native", task_types: tuple[str, ...] = TASK_TYPES, max_turns: int = 8) -> AlfworldSettings:
    generate = {"seed": 0, "receptacles": 6, "objects": 6, "train": 1, "valid_seen": 1, "valid_unseen": 1}
    return AlfworldSettings.model_validate(
        {
            "name": "alfworld",
            "dataset": "quirks",
            "game_engine": engine,
            "task_types": list(task_types),
            "max_turns": max_turns,
            "success_reward": 10.0,
            "splits": {"train": "train", "evaluation": {"seen": "valid_seen", "unseen": "valid_unseen"}},
            "data": {"source": "generate", "folder": None, "archives": [], "generate": generate},
        }
    )


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set `quirks` of three games in one room: two to put, one to put two."""
    root = tmp_path_factory.mktemp("data")
    for task_type, trial in ((TASK_TYPES[0], "trial_2"), (TASK_TYPES[0], "trial_1"), (TASK_TYPES[1], "trial_3")):
        folder = root / "quirks" / "train" / f"{task_type}-Mug-None-Shelf-1" / trial
        folder.mkdir(parents=True)
        grammar = 'grammar :: """{"task": [{"rhs": "Your task is to: put a mug in shelf."}]}"""'
        game = {"pddl_domain": "", "grammar": grammar, "pddl_problem": PROBLEM, "solvable": True}
        (folder / "game.tw-pddl").write_text(json.dumps(game))
        (folder / "traj_data.json").write_text(json.dumps({"task_type": task_type}))
    write_index(root / "quirks", "quirks", {"source": "test"}, find_games(root / "quirks", "train", TASK_TYPES))
    return root


def test_the_native_environment_conforms(data_root: Path) -> None:
    """Every clause of the contract, on every task."""
    benchmark = AlfworldBenchmark(settings(), data_root)
    check_environment(benchmark.environment, benchmark.tasks("train"), seed=1)


def test_the_textworld_environment_conforms(data_root: Path) -> None:
    """The same clauses with the original engine behind them."""
    benchmark = AlfworldBenchmark(settings("textworld", max_turns=4), data_root)
    check_environment(benchmark.environment, benchmark.tasks("train")[:1], seed=1)


def test_winning_terminates_with_the_reward_and_the_score(data_root: Path) -> None:
    """Reward and score come with the winning step only; afterwards nothing may be done."""
    benchmark = AlfworldBenchmark(settings(), data_root)
    environment = benchmark.environment()
    _, info = environment.reset(benchmark.tasks("train")[0])
    assert (info.instruction, info.won, info.score) == ("put a mug in shelf.", False, 0.0)
    steps = [environment.step(action) for action in WIN]
    assert [step[1:4] for step in steps] == [(0.0, False, False), (0.0, False, False), (10.0, True, False)]
    assert [step[4].score for step in steps] == [0.0, 0.0, 1.0]
    assert steps[-1][4].won and steps[-1][4].admissible_actions == ()


@pytest.mark.parametrize(("max_turns", "ending"), [(3, (10.0, True, False)), (2, (0.0, False, True))])
def test_the_turn_limit_truncates_only_what_is_not_won(
    data_root: Path, max_turns: int, ending: tuple[Any, ...]
) -> None:
    """Winning needs three turns: with a limit of three the last turn wins, with two the second one truncates."""
    benchmark = AlfworldBenchmark(settings(max_turns=max_turns), data_root)
    environment = benchmark.environment()
    environment.reset(benchmark.tasks("train")[0])
    assert [environment.step(action) for action in WIN[:max_turns]][-1][1:4] == ending


def test_tasks_are_sorted_and_filtered_and_an_empty_split_names_the_others(data_root: Path) -> None:
    """Ids in order, only the wanted types; asking for what is not there says what is."""
    tasks = AlfworldBenchmark(settings(task_types=TASK_TYPES[:1]), data_root).tasks("train")
    assert [task.id.rsplit("/", 1)[1] for task in tasks] == ["trial_1", "trial_2"]
    assert {task.task_type for task in tasks} == {"pick_and_place_simple"}
    with pytest.raises(UserError, match=r"'valid_seen'.*train \(3\)"):
        AlfworldBenchmark(settings(), data_root).tasks("valid_seen")
    with pytest.raises(UserError, match="no game 'elsewhere'"):
        AlfworldBenchmark(settings(), data_root).environment().reset(Task("elsewhere", "train", "x"))


def test_parsed_games_are_kept_up_to_the_limit_longest_unused_first_out(data_root: Path) -> None:
    """With room for two games: playing 0, 1, 0, 2 leaves 0 and 2."""
    benchmark = AlfworldBenchmark(settings(), data_root, cached_games=2)
    tasks = benchmark.tasks("train")
    environment = benchmark.environment()
    for number in (0, 1, 0, 2):
        environment.reset(tasks[number])
    assert list(benchmark._cache) == [tasks[0].id, tasks[2].id]


class Broken:
    """A conforming environment with one fault put into it."""

    def __init__(self, inner: GameEnvironment, fault: str) -> None:
        self.inner = inner
        self.fault = fault
        self.resets = 0

    def reset(self, task: Task) -> tuple[str, Info]:
        self.resets += 1
        observation, info = self.inner.reset(task)
        if self.fault == "differs":
            observation += str(self.resets)
        if self.fault == "no actions":
            info = dataclasses.replace(info, admissible_actions=())
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        if self.fault == "crashes" and not action:
            raise ValueError("empty action")
        try:
            observation, reward, terminated, truncated, info = self.inner.step(action)
        except RuntimeError:
            if self.fault != "never refuses":
                raise
            return "", 0.0, False, True, Info("x", (), False, 0.0)
        over = terminated or truncated
        if self.fault == "both ends" and over:
            terminated = truncated = True
        if self.fault == "forgets the truncated state" and truncated:
            info = dataclasses.replace(info, admissible_actions=())
        if self.fault == "no limit" and truncated:
            self.inner._turns_left, truncated = 5, False
            info = dataclasses.replace(info, admissible_actions=("look",))
        if self.fault == "score":
            info = dataclasses.replace(info, score=2.0)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("differs", "same task and actions"),
        ("no actions", "some action is admissible"),
        ("never refuses", "must raise RuntimeError"),
        ("both ends", "exclude each other"),
        ("forgets the truncated state", "some action is admissible"),
        ("no limit", "no turn limit"),
        ("score", "outside"),
    ],
)
def test_the_check_names_the_clause_that_is_violated(data_root: Path, fault: str, message: str) -> None:
    """Each fault must be found, and be found as what it is."""
    benchmark = AlfworldBenchmark(settings(), data_root)
    with pytest.raises(AssertionError, match=message):
        check_environment(lambda: Broken(benchmark.environment(), fault), benchmark.tasks("train"), seed=1)


def test_the_check_notices_crashes_and_shared_state(data_root: Path) -> None:
    """An action that raises is no "costs a turn"; two environments on one engine disturb each other."""
    benchmark = AlfworldBenchmark(settings(), data_root)
    with pytest.raises(ValueError, match="empty action"):
        check_environment(lambda: Broken(benchmark.environment(), "crashes"), benchmark.tasks("train"), seed=1)
    shared = benchmark.environment()
    shared._max_turns = 40
    with pytest.raises(AssertionError, match="must not change another"):
        check_environment(_sharing(shared), benchmark.tasks("train"), seed=1)


def _sharing(environment: GameEnvironment) -> Callable[[], GameEnvironment]:
    return lambda: environment


def test_textworld_leaves_no_files_behind(data_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the original engine writes is gone once it is closed, and the process keeps its arguments."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    benchmark = AlfworldBenchmark(settings("textworld"), data_root)
    arguments = ["hiper", "something"]
    monkeypatch.setattr("sys.argv", arguments)
    environment = benchmark.environment()
    environment.reset(benchmark.tasks("train")[0])
    environment.close()
    environment.close()
    import sys

    assert sys.argv is arguments
    assert os.listdir(tmp_path) == []
