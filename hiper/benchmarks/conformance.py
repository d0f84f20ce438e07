"""Checks for any benchmark: that its record is whole (`check_record`, which is all that an author need call), and that
an environment keeps the contract of `hiper.benchmarks.base.TextEnvironment`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hiper.benchmarks.base import Benchmark, Info, TextEnvironment
from hiper.benchmarks.record import BenchmarkRecord
from hiper.config.benchmark import BenchmarkSettings
from hiper.plan_execute import FREE_ACTION
from hiper.plugins import ENVIRONMENTS, known, load
from hiper.trajectory import Task
from hiper.yaml_files import read_yaml

NONSENSE = "no such action"
ODD_ACTIONS = (
    "",
    " ",
    "\n",
    "\x00",
    "LOOK",
    "löök 日本 \U0001f600",
    "\ud800",
    "look\nlook",
    "{}%s<>[]#|",
    "x" * 20_000,
)
TURNS_AT_MOST = 10_000


@dataclass(frozen=True)
class _Step:
    observation: str
    reward: float
    terminated: bool
    truncated: bool
    info: Info


def check_record(name: str, settings: BenchmarkSettings, data_root: Path, played: int = 3, seed: int = 0) -> None:
    """Check the record that `hiper.plugins` has under `name`, with the data set of `settings` in `data_root`: its parts
    go together, and `played` tasks of each split that is used keep the contract, alone and with the expert, which wins
    one of them at least. AssertionError names the first violated clause."""
    assert name in known(ENVIRONMENTS), f"no entry point of the group {ENVIRONMENTS} is called {name!r}"
    record: BenchmarkRecord[BenchmarkSettings] = load(ENVIRONMENTS, name)
    assert record.name == name, f"the record is called {record.name!r} and its entry point {name!r}"
    assert type(settings) is record.settings, "the settings are of the record's own model"
    assert record.own_texts and min(record.tokens) > 0, "an answer has a text of its own, and a turn has tokens"
    splits = [settings.splits.train, *settings.splits.evaluation.values()]
    assert all(settings.split_size(split) > 0 for split in splits[1:]), "every split of evaluation has tasks"
    if record.labels:
        assert set(settings.task_types) <= set(record.labels), "where some task types have labels, all have"
    found = record.contents(settings, data_root / settings.dataset, splits)
    assert found.words and not found.absent and not found.empty, f"the data set is not whole: {found}"
    assert record.origin(settings, data_root.parent).words, "where data would come from is said in words"
    _check_published(record)
    benchmark = record.open(settings, data_root)
    assert benchmark.name == name and benchmark.task_types == tuple(settings.task_types)
    seen: set[str] = set()
    for split in splits:
        tasks = benchmark.tasks(split)
        assert list(tasks) == sorted(tasks, key=lambda task: task.id), "tasks are sorted by id"
        assert list(tasks) == list(record.open(settings, data_root).tasks(split)), "tasks never change"
        assert all(task.split == split and task.task_type in settings.task_types for task in tasks)
        assert not seen & {task.id for task in tasks}, f"tasks of split {split!r} are in another one, too"
        seen |= {task.id for task in tasks}
        check_environment(benchmark.environment, tasks[:played], seed)
    won = [_check_expert(record, benchmark, task, settings) for task in benchmark.tasks(splits[0])[:played]]
    assert any(won), f"the expert wins none of {len(won)} tasks"


def _check_published(record: BenchmarkRecord[BenchmarkSettings]) -> None:
    if record.published is None:
        return
    content = read_yaml(record.published)
    columns = set(content["columns"])
    known_columns = {"all", "score", "success", *record.labels}
    assert columns <= known_columns, f"published columns that are no task types: {sorted(columns - known_columns)}"
    for row in content["rows"]:
        assert set(row["values"]) <= columns and row["source"] in content["sources"], f"a published row is odd: {row}"


def _check_expert(
    record: BenchmarkRecord[BenchmarkSettings], benchmark: Benchmark, task: Task, settings: BenchmarkSettings
) -> bool:
    """Whether the expert wins; its decisions can be carried out, and the words make texts of all that it sees."""
    words = record.words
    with closing(benchmark.environment()) as environment:
        observation, info = _reset(environment, task)
        assert record.first_action in info.admissible_actions, f"{record.first_action!r} is not permitted at first"
        expert = record.expert(task, info.instruction, np.random.default_rng(0), 0.1)
        over = False
        while not over:
            actions = info.admissible_actions
            pages = (
                words.page(observation, info.instruction),
                words.now(observation, info.instruction, actions),
                words.before(observation, info.instruction),
                words.offered(observation, actions),
            )
            assert all(isinstance(page, str) for page in pages), "words make texts"
            decision = expert.act(observation, actions)
            free = FREE_ACTION in actions
            assert decision.action in actions or free, f"the expert's {decision.action!r} is not admissible"
            assert decision.subgoal.strip(), "the expert always has a subgoal"
            step = _step(environment, decision.action)
            observation, info, over = step.observation, step.info, step.terminated or step.truncated
    return info.won


def check_environment(make: Callable[[], TextEnvironment], tasks: Sequence[Task], seed: int) -> None:
    """Play every task with the environments that `make` makes; AssertionError names the first violated clause."""
    assert tasks, "give at least one task"
    with closing(make()) as environment:
        _refuses(environment, "before reset")
    limits = set()
    for task in tasks:
        with closing(make()) as environment:
            _check_odd_actions(environment, task)
            _check_reset_repeats(environment, task, seed)
            limits.add(_turn_limit(environment, task))
            _refuses(environment, "after the turn limit")
            _play(environment, task, seed, TURNS_AT_MOST)
            _refuses(environment, "after the end of an episode")
    assert len(limits) == 1, f"the turn limit differs between tasks: {sorted(limits)}"
    _check_independence(make, tasks, seed)


def _step(environment: TextEnvironment, action: str) -> _Step:
    step = _Step(*environment.step(action))
    assert isinstance(step.observation, str), "an observation is a string"
    assert math.isfinite(step.reward), f"reward {step.reward!r} is not a finite number"
    assert not (step.terminated and step.truncated), "terminated and truncated exclude each other"
    _check_info(step.info, over=step.terminated)
    assert step.terminated or not step.info.won, "a task is won only where it terminates"
    return step


def _check_info(info: Info, over: bool) -> None:
    if over:
        assert info.admissible_actions == (), "no action is admissible once the task is over"
    else:
        assert info.admissible_actions, "some action is admissible until the task is over, in a truncated state too"
    assert len(set(info.admissible_actions)) == len(info.admissible_actions), "admissible actions are unique"
    assert all(isinstance(action, str) and action for action in info.admissible_actions), (
        "actions are non-empty strings"
    )
    assert info.instruction, "the instruction is not empty"
    assert 0.0 <= info.score <= 1.0, f"score {info.score} is outside [0, 1]"


def _reset(environment: TextEnvironment, task: Task) -> tuple[str, Info]:
    observation, info = environment.reset(task)
    assert isinstance(observation, str) and observation, "the first observation is a non-empty string"
    _check_info(info, over=False)
    assert not info.won, "a task is not won before the first step"
    return observation, info


def _play(environment: TextEnvironment, task: Task, seed: int, turns: int) -> list[tuple[str, Info] | _Step]:
    """A seeded random walk of at most `turns` turns over admissible actions: what was seen."""
    choice = random.Random(seed)
    observation, info = _reset(environment, task)
    seen: list[tuple[str, Info] | _Step] = [(observation, info)]
    for _ in range(turns):
        step = _step(environment, choice.choice(info.admissible_actions))
        seen.append(step)
        info = step.info
        if step.terminated or step.truncated:
            return seen
    assert turns < TURNS_AT_MOST, f"no turn limit within {TURNS_AT_MOST} turns"
    return seen


def _refuses(environment: TextEnvironment, when: str) -> None:
    try:
        environment.step(NONSENSE)
    except RuntimeError:
        return
    raise AssertionError(f"step {when} must raise RuntimeError")


def _check_odd_actions(environment: TextEnvironment, task: Task) -> None:
    _reset(environment, task)
    for action in ODD_ACTIONS:
        step = _step(environment, action)
        assert not step.terminated, f"the inadmissible action {action[:20]!r} ended the task"
        if step.truncated:
            _reset(environment, task)


def _check_reset_repeats(environment: TextEnvironment, task: Task, seed: int) -> None:
    first = _play(environment, task, seed, 10)
    assert _play(environment, task, seed, 10) == first, "the same task and actions must give the same episode"


def _turn_limit(environment: TextEnvironment, task: Task) -> int:
    _reset(environment, task)
    for turn in range(1, TURNS_AT_MOST + 1):
        step = _step(environment, NONSENSE)
        assert not step.terminated, "an inadmissible action ended the task"
        if step.truncated:
            return turn
    raise AssertionError(f"inadmissible actions must cost a turn: no turn limit within {TURNS_AT_MOST} turns")


def _check_independence(make: Callable[[], TextEnvironment], tasks: Sequence[Task], seed: int) -> None:
    """An environment sees the same whether or not another one plays at the same time."""
    with closing(make()) as one, closing(make()) as other:
        alone = _play(one, tasks[0], seed, 10)
        _, aside = _reset(other, tasks[-1])
        observation, info = _reset(one, tasks[0])
        choice, aside_choice = random.Random(seed), random.Random(seed + 1)
        seen: list[tuple[str, Info] | _Step] = [(observation, info)]
        for _ in alone[1:]:
            step = _step(one, choice.choice(info.admissible_actions))
            seen.append(step)
            info = step.info
            if not aside.admissible_actions:
                _, aside = _reset(other, tasks[-1])
            aside = _step(other, aside_choice.choice(aside.admissible_actions)).info
            if step != alone[len(seen) - 1]:
                break
        assert seen == alone, "what happens in one environment must not change another"
