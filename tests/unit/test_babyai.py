"""BabyAI in words says what the package shows, pays what the package pays, and its data set has no task twice."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from minigrid.core.grid import Grid
from minigrid.core.world_object import Door, WorldObj

from hiper.benchmarks.babyai.dataset import MISSIONS, enumerate_tasks
from hiper.benchmarks.babyai.expert import BabyaiExpert
from hiper.benchmarks.babyai.game import BabyaiGame
from hiper.benchmarks.babyai.levels import DONE_ACTIONS, make_level, start_level
from hiper.benchmarks.babyai.record import RECORD
from hiper.benchmarks.babyai.settings import BabyaiSettings, Level
from hiper.benchmarks.babyai.view import ACTIONS
from hiper.benchmarks.babyai.words import WORDS
from hiper.benchmarks.conformance import check_record
from hiper.benchmarks.game import GameEnvironment
from hiper.benchmarks.seeded import read_tasks
from hiper.errors import UserError
from hiper.trajectory import Task

LEVELS = get_args(Level)
ROOT = Path(__file__).parents[2]
OBJECT = re.compile(r"(?:a|an) ((?:open |closed |locked )?\w+ \w+)((?: \d+ (?:ahead|behind|left|right))+)")
PLACE = re.compile(r"(\d+) (ahead|behind|left|right)")


def settings(**changes: Any) -> BabyaiSettings:
    values = yaml.safe_load((ROOT / "configs" / "benchmark" / "babyai_test.yaml").read_text(encoding="utf-8"))
    return BabyaiSettings.model_validate({**values, **changes})


def task(level: str, seed: int) -> Task:
    return Task(f"{level}/{seed:09d}", "train", level)


def place(words: str) -> tuple[int, int]:
    """(ahead, right) as an observation says it."""
    signs = {"ahead": (1, 0), "behind": (-1, 0), "right": (0, 1), "left": (0, -1)}
    parts = [(int(number) * signs[way][0], int(number) * signs[way][1]) for number, way in PLACE.findall(words)]
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def objects(sentence: str) -> dict[tuple[int, int], str]:
    return {place(where): name for name, where in OBJECT.findall(sentence)}


def sentences(observation: str) -> dict[str, str]:
    """ "see", "remember", "carry", "Walls" -> the sentence that begins so."""
    return {part.removeprefix("You ").split()[0]: part for part in observation.rstrip(".").split(". ")}


def called(thing: WorldObj) -> str:
    """A package's object in the words of an observation."""
    if isinstance(thing, Door):
        state = "open" if thing.is_open else "locked" if thing.is_locked else "closed"
        return f"{state} {thing.color} door"
    return f"{thing.color} {thing.type}"


def random_walks(steps: int, seed: int) -> Iterator[tuple[BabyaiGame, str, random.Random]]:
    """A game of every level in turn, walked through by random actions, useful or not: after each step the game, the
    action, and the random numbers."""
    chance = random.Random(seed)
    game = BabyaiGame(settings(memory=True))
    taken = 0
    while taken < steps:
        for level in LEVELS:
            game.start(task(level, chance.randrange(10**6)))
            for _ in range(30):
                # mostly forward, or a walk stays where it began
                action = chance.choice((*ACTIONS, "go forward", "go forward", "toggle", "pick up"))
                game.act(action)
                taken += 1
                yield game, action, chance
                if game.over:
                    break


def test_an_observation_is_the_package_s_view_in_words() -> None:
    """Over thousands of random steps in all levels: every object in view with its place, every wall beside and ahead,
    and what is carried, as the package's own image decodes; and nothing else."""
    for game, _, _ in random_walks(3000, seed=1):
        grid, visible = Grid.decode(game.level.gen_obs()["image"])
        said = sentences(game._observation)
        seen = {
            (6 - row, column - 3): called(thing)
            for column in range(7)
            for row in range(7)
            if (thing := grid.get(column, row)) is not None and thing.type != "wall" and (column, row) != (3, 6)
        }
        assert objects(said["see"]) == seen
        held = grid.get(3, 6)
        assert said["carry"] == f"You carry {'nothing' if held is None else f'a {called(held)}'}"
        walls = {}
        for way, cells in {
            "ahead": [(3, 6 - n) for n in range(1, 7)],
            "left": [(3 - n, 6) for n in range(1, 4)],
            "right": [(3 + n, 6) for n in range(1, 4)],
        }.items():
            for distance, (column, row) in enumerate(cells, start=1):
                thing = grid.get(column, row)
                if visible[column, row] and thing is not None and thing.type == "wall":
                    walls[way] = distance
                    break
        assert {way: int(number) for number, way in PLACE.findall(said.get("Walls", ""))} == walls


def test_what_is_remembered_was_seen_and_is_out_of_view() -> None:
    """Each remembered object was at that cell when the cell was last in view; and each object last seen elsewhere than
    in view is remembered."""
    known: dict[tuple[int, int], str | None] = {}
    before: Any = None
    for game, _, _ in random_walks(3000, seed=2):
        level = game.level
        if level.instrs is not before:  # another episode: what its first observation showed is looked up below
            before, known = level.instrs, {}
            first = make_level(level.spec.id.removeprefix("BabyAI-").removesuffix("-v0"))
            start_level(first, game_seed(game))
            known |= in_view(first)
        now = in_view(level)
        known |= now
        here = tuple(map(int, level.agent_pos))
        expected = {}
        for cell, name in known.items():
            if name is not None and cell not in now and cell != here:
                column, row = level.get_view_coords(*cell)
                expected[6 - int(row), int(column) - 3] = name
        assert objects(sentences(game._observation).get("remember", "")) == expected


def game_seed(game: BabyaiGame) -> int:
    return int(game.level.np_random_seed)


def in_view(level: Any) -> dict[tuple[int, int], str | None]:
    """Cells of the grid in view -> what is there; without the agent's own."""
    _, visible = Grid.decode(level.gen_obs()["image"])
    found: dict[tuple[int, int], str | None] = {}
    for x in range(level.width):
        for y in range(level.height):
            if (x, y) == tuple(level.agent_pos) or not level.in_view(x, y):
                continue
            column, row = level.relative_coords(x, y)
            if visible[column, row]:
                thing = level.grid.get(x, y)
                found[x, y] = called(thing) if thing is not None and thing.type != "wall" else None
    return found


def state(level: Any) -> tuple[Any, ...]:
    held = level.carrying and called(level.carrying)
    return level.grid.encode().tobytes(), tuple(map(int, level.agent_pos)), int(level.agent_dir), held


def test_admissible_are_the_actions_that_change_something() -> None:
    """Each of the six, tried on a copy of the package's level, changes the grid, the agent or its hands just where it
    is admissible."""
    for number, (game, _, _) in enumerate(random_walks(1500, seed=3)):
        if number % 15 or game.over:
            continue
        before = state(game.level)
        changing = []
        for action in ACTIONS:
            trial = copy.deepcopy(game.level)
            trial.step(ACTIONS.index(action))
            if state(trial) != before:
                changing.append(action)
        assert game.admissible == tuple(changing)


def environment(**changes: Any) -> GameEnvironment:
    chosen = settings(**changes)
    return GameEnvironment(BabyaiGame(chosen), chosen.max_turns, chosen.success_reward)


@pytest.mark.parametrize("reward", ["success", "discounted"])
def test_rewards_and_endings_are_the_package_s(reward: str) -> None:
    """Beside a level of the package that takes the same random steps: the same ending at the same step, with its own
    reward where that is asked for, and 1 for success else."""
    chance = random.Random(4)
    ours, won, cut = environment(reward=reward, max_turns=40), 0, 0
    for seed in range(90):
        name = LEVELS[seed % 5] if seed % 3 else "GoToLocalS5N2"
        level = make_level(name, 40)
        start_level(level, seed)
        _, info = ours.reset(task(name, seed))
        assert info.instruction == level.mission
        over = False
        while not over:
            number = chance.choice((0, 1, 2, 2, 2, 3, 4, 5))
            _, earned, terminated, truncated, info = ours.step(ACTIONS[number])
            _, paid, bare_terminated, bare_truncated, _ = level.step(number)
            assert (terminated, truncated) == (bare_terminated, bare_truncated and not bare_terminated)
            assert info.won == (bare_terminated and paid > 0)
            assert earned == 10.0 * (paid if reward == "discounted" else float(paid > 0))
            over = terminated or truncated
        won, cut = won + info.won, cut + truncated
    assert won > 20 and cut > 5  # both endings were seen


def test_any_other_text_costs_a_step_and_changes_nothing() -> None:
    """Not even the package's seventh action is carried out; the package's reward counts such steps too."""
    ours = environment(reward="discounted", max_turns=20)
    expert = BabyaiExpert(task("GoToLocalS5N2", 5), np.random.default_rng(0), 0.0)
    seen, info = ours.reset(task("GoToLocalS5N2", 5))
    for _ in range(10):
        observation, reward, terminated, truncated, after = ours.step("done")
        assert (observation, reward, terminated, truncated) == (seen, 0.0, False, False)
        assert after.admissible_actions == info.admissible_actions
    steps = 10
    while not terminated:
        seen, reward, terminated, truncated, info = ours.step(expert.act(seen, info.admissible_actions).action)
        steps += 1
    assert info.won and reward == pytest.approx(10 * (1 - 0.9 * steps / 20))


def test_an_episode_follows_from_level_and_seed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was played before, and whatever the random numbers of others; these are left alone, and nothing is
    printed."""
    walked = list(random_walks(300, seed=6))
    used, fresh = walked[0][0], BabyaiGame(settings(memory=True))
    np.random.seed(7)
    random.seed(8)
    for level in LEVELS:
        states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
        assert used.start(task(level, 9)) == fresh.start(task(level, 9))
        for _ in range(20):
            action = used.admissible[-1]
            assert used.act(action) == fresh.act(action)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[union-attr]
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of `babyai_test`."""
    root = tmp_path_factory.mktemp("data")
    RECORD.make_data(settings(), root / "babyai_test")
    return root


@pytest.mark.parametrize("turns", [6, 30])
def test_the_record_is_whole_and_the_environment_conforms(data_root: Path, turns: int) -> None:
    """Every clause of the contract, with limits of turns below the level's own and above."""
    check_record("babyai", settings(max_turns=turns), data_root, played=6)


def test_no_two_tasks_begin_alike(data_root: Path, tmp_path: Path) -> None:
    """Seeds are used once over all splits, and so are layouts, though the level has few; the set is made again with the
    same bytes."""
    small = settings(task_types=["KeyCorridorS3R1"], data={"seed": 3, "tasks": {"train": 200, "test": 40}})
    RECORD.make_data(small, tmp_path / "set")
    tasks = [one for split in read_tasks(tmp_path / "set").values() for one in split]
    seeds = {int(one.id.split("/")[1]) for one in tasks}
    assert len(tasks) == len(seeds) == 240 and min(seeds) == 3_000_000 and max(seeds) - min(seeds) > 240
    starts = set()
    level = make_level("KeyCorridorS3R1")
    for seed in seeds:
        start_level(level, seed)
        starts.add((level.mission, level.grid.encode().tobytes(), int(level.agent_dir), *map(int, level.agent_pos)))
    assert len(starts) == 240
    RECORD.make_data(settings(), tmp_path / "again")
    for name in ("dataset.json", MISSIONS):
        assert (tmp_path / "again" / name).read_bytes() == (data_root / "babyai_test" / name).read_bytes()


def test_a_level_without_further_layouts_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of looking for one for ever."""
    monkeypatch.setattr("hiper.benchmarks.babyai.dataset.REPEATS", 20)
    few = settings(task_types=["KeyCorridorS3R1"], data={"seed": 0, "tasks": {"train": 5000, "test": 1}})
    with pytest.raises(UserError, match="KeyCorridorS3R1 has no further layouts"):
        enumerate_tasks(few)


def test_another_mission_than_the_data_set_s_is_refused(data_root: Path, tmp_path: Path) -> None:
    """As from another version of the package, whose seeds would make other tasks without a word."""
    folder = tmp_path / "babyai_test"
    folder.mkdir()
    for path in (data_root / "babyai_test").iterdir():
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(text.replace("pick up the", "pick up a"), encoding="utf-8")
    benchmark = RECORD.open(settings(), tmp_path)
    other = next(one for one in benchmark.tasks("train") if one.task_type == "UnlockPickup")
    with pytest.raises(UserError, match="another version of minigrid"):
        benchmark.environment().reset(other)
    (folder / MISSIONS).unlink()
    with pytest.raises(UserError, match="no such file"):
        RECORD.open(settings(), tmp_path)


def test_other_rules_of_success_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package reads a variable of the environment that makes missions end at the action `done` only."""
    monkeypatch.setenv(DONE_ACTIONS, "1")
    with pytest.raises(UserError, match=DONE_ACTIONS):
        make_level("GoToObj")


def test_compact_prompts_say_the_same_in_fewer_words() -> None:
    """Objects, places, walls and hands stay; of an earlier observation only the nearest object."""
    seen = (
        "You see a closed red door 1 ahead, an open grey door 2 left. Walls are 3 ahead. "
        "You remember a blue key 1 behind. You carry a ball."
    )
    assert WORDS.now(seen, "", ()) == (
        "closed red door 1 ahead, open grey door 2 left. walls 3 ahead. remember blue key 1 behind. carry ball."
    )
    assert WORDS.before(seen, "") == "closed red door 1 ahead"
