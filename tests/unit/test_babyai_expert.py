"""BabyAI's expert is the package's bot: it wins, names subgoals in words, and hesitates as it is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from minigrid.utils.baby_ai_bot import BabyAIBot

from hiper.benchmarks.babyai.expert import BabyaiExpert
from hiper.benchmarks.babyai.game import BabyaiGame
from hiper.benchmarks.babyai.levels import make_level, start_level
from hiper.benchmarks.babyai.settings import BabyaiSettings, Level
from hiper.benchmarks.babyai.view import ACTIONS
from hiper.benchmarks.experts import Decision
from hiper.trajectory import Task

ROOT = Path(__file__).parents[2]
LEVELS = get_args(Level)
COLOUR, KIND = "(?:red|green|blue|purple|yellow|grey)", "(?:door|key|ball|box|object)"
THING = rf"(?:the (?:{COLOUR} )?{KIND}(?: (?:on your|in front|behind).*)?|it)"
SUBGOAL = re.compile(rf"(?:find|go to|pick up|open|close|put down|put {THING} next to) {THING}|look around")


def play(level: str, seed: int, hesitation: float = 0.0) -> tuple[BabyaiGame, list[Decision]]:
    """An episode until it ends, or until 200 turns."""
    values = yaml.safe_load((ROOT / "configs" / "benchmark" / "babyai_test.yaml").read_text(encoding="utf-8"))
    game = BabyaiGame(BabyaiSettings.model_validate(values | {"max_turns": 200}))
    task = Task(f"{level}/{seed:09d}", "train", level)
    observation = game.start(task)
    expert = BabyaiExpert(task, np.random.default_rng(seed), hesitation)
    decisions: list[Decision] = []
    while not (game.over or len(decisions) == 200):
        decisions.append(expert.act(observation, game.admissible))
        assert decisions[-1].action in game.admissible
        observation = game.act(decisions[-1].action)
    return game, decisions


@pytest.mark.parametrize("level", LEVELS)
def test_the_expert_wins_every_level_and_names_what_it_does(level: str) -> None:
    """Every one of thirty seeds without hesitation, in 200 turns at most; its subgoals have a form that a person
    understands, and `switch` is said where the subgoal changes and nowhere else."""
    for seed in range(30):
        game, decisions = play(level, seed)
        assert game.won, seed
        before = ""
        for decision in decisions:
            assert SUBGOAL.fullmatch(decision.subgoal), decision.subgoal
            assert decision.switch == (decision.subgoal != before)
            before = decision.subgoal


def test_the_expert_does_what_the_package_s_bot_does() -> None:
    """Action by action, on levels of each kind."""
    for level in ("GoToLocal", "PutNextLocal", "UnlockPickup", "MiniBossLevel"):
        for seed in range(10):
            _, decisions = play(level, seed)
            bare = make_level(level)
            start_level(bare, seed)
            bot = BabyAIBot(bare)
            for decision in decisions:
                number = bot.replan()
                assert decision.action == ACTIONS[number]
                bare.step(number)


def test_subgoals_cut_an_episode_into_its_parts() -> None:
    """A locked door between the agent and the box: the key, the door, the key out of the hands, the box; whole ways
    belong to the subgoal that they are gone for."""
    _, decisions = play("UnlockPickup", 0)
    switches = [decision.subgoal for decision in decisions if decision.switch]
    assert switches == [
        "find the purple box",
        "pick up the green key",
        "open the green door",
        "put down the green key",
        "pick up the purple box",
    ]
    assert len(decisions) == 20
    _, decisions = play("PutNextLocalS5N3", 0)
    assert [decision.subgoal for decision in decisions if decision.switch] == [
        "pick up the purple ball",
        "put the purple ball next to the blue key",
    ]


def test_hesitation_turns_aside_now_and_then() -> None:
    """Needless turns are never two in a row, make episodes longer, and the expert wins all the same; the same generator
    plays the same."""
    longer = 0
    for seed in range(20):
        plain, hesitating = play("PutNextLocalS5N3", seed)[1], play("PutNextLocalS5N3", seed, 0.5)
        assert hesitating[0].won and play("PutNextLocalS5N3", seed, 0.5)[1] == hesitating[1]
        longer += len(hesitating[1]) - len(plain)
    assert longer > 40
    always = play("GoToObj", 1, 1.0)[1]
    assert all(decision.action.startswith("turn") for decision in always[::2])


def test_where_the_bot_has_no_plan_the_episode_is_lost() -> None:
    """It cannot go on once the box with the key is gone; the expert then turns until the limit, and raises nothing."""
    task = Task("UnlockPickup/000000000", "train", "UnlockPickup")
    expert = BabyaiExpert(task, np.random.default_rng(0), 0.0)
    expert._level.grid.grid = [thing if thing and thing.type == "wall" else None for thing in expert._level.grid.grid]
    decisions = [expert.act("", ("turn left", "turn right")) for _ in range(30)]
    assert decisions[-1] == Decision(False, "look around", "turn left")
