"""The scripted expert: understands the task sentences, wins, and cuts its play into subgoals that say what it does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hiper.benchmarks.alfworld.expert import AlfworldExpert, Errand, parse_instruction
from hiper.benchmarks.alfworld.games import find_games, read_game
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.native import NativeEngine, parse_game
from hiper.benchmarks.alfworld.problem import GameSpec
from hiper.benchmarks.alfworld.settings import Generation, TaskType
from hiper.benchmarks.archives import extract
from hiper.benchmarks.experts import Decision
from hiper.errors import UserError

TASK_TYPES = get_args(TaskType)
NEEDLESS = ("look", "inventory", "examine")


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> list[GameSpec]:
    """60 generated games in rooms of six receptacles, ten of each type."""
    root = tmp_path_factory.mktemp("games")
    amounts = Generation(seed=1, receptacles=6, objects=6, train=60, valid_seen=0, valid_unseen=0)
    generated = generate_games(root, TASK_TYPES, amounts)
    return [parse_game(read_game(game.folder), game.id) for game in generated]


def play(game: GameSpec, hesitation: float, seed: int = 0, turns: int = 50) -> tuple[bool, list[Decision]]:
    engine = NativeEngine()
    expert = AlfworldExpert(game.instruction, np.random.default_rng(seed), hesitation)
    observation = engine.reset(game)
    decisions: list[Decision] = []
    while not engine.won and len(decisions) < turns:
        decisions.append(expert.act(observation, engine.admissible))
        assert decisions[-1].action in engine.admissible, f"{decisions[-1]} is not admissible"
        observation = engine.step(decisions[-1].action)
    return engine.won, decisions


@pytest.mark.parametrize(
    ("sentence", "errand"),
    [
        ("put a mug in shelf.", Errand("put", "mug", "shelf", "")),
        ("put some soapbar on toilet.", Errand("put", "soapbar", "toilet", "")),
        ("put a clean cloth in bathtubbasin.", Errand("treat", "cloth", "bathtubbasin", "clean")),
        ("clean some cloth and put it in countertop.", Errand("treat", "cloth", "countertop", "clean")),
        ("put a hot egg in fridge.", Errand("treat", "egg", "fridge", "heat")),
        ("heat some egg and put it in garbagecan.", Errand("treat", "egg", "garbagecan", "heat")),
        ("put a cool pan in stoveburner.", Errand("treat", "pan", "stoveburner", "cool")),
        ("cool some pan and put it in stoveburner.", Errand("treat", "pan", "stoveburner", "cool")),
        ("put two cd in safe.", Errand("two", "cd", "safe", "")),
        ("find two cd and put them in safe.", Errand("two", "cd", "safe", "")),
        ("look at bowl under the desklamp.", Errand("look", "bowl", "desklamp", "")),
        ("examine the bowl with the desklamp", Errand("look", "bowl", "desklamp", "")),
    ],
)
def test_every_template_sentence_is_understood(sentence: str, errand: Errand) -> None:
    """Both wordings of all six task types; the final full stop does not matter."""
    assert parse_instruction(sentence) == errand


def test_a_free_sentence_is_refused_by_name() -> None:
    """The expert does not guess: human annotations are outside its templates."""
    with pytest.raises(UserError, match="Walk to the coffee table"):
        parse_instruction("Walk to the coffee table.")


def test_it_wins_generated_games_of_all_types(games: list[GameSpec]) -> None:
    """At least 95 % within 50 turns without hesitation, and an average that needs no luck."""
    results = [play(game, 0.0) for game in games]
    assert np.mean([won for won, _ in results]) >= 0.95
    assert np.mean([len(decisions) for _, decisions in results]) < 12


def test_it_wins_the_real_games(shared_real_games: list[GameSpec]) -> None:
    """At least 85 % of the official games in unseen rooms within 50 turns."""
    assert np.mean([play(game, 0.0)[0] for game in shared_real_games]) >= 0.85


@pytest.fixture(scope="module")
def shared_real_games(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[GameSpec]:
    root = tmp_path_factory.mktemp("real")
    extract(shared_data / "data" / "alfworld" / "json_2.1.1-valid_unseen.tar.xz", root)
    games = find_games(root, "valid_unseen", TASK_TYPES)
    assert len(games) == 134
    return [parse_game(read_game(game.folder), game.id) for game in games]


@pytest.mark.parametrize("hesitation", [0.0, 0.4])
def test_it_switches_exactly_when_the_subgoal_changes(games: list[GameSpec], hesitation: float) -> None:
    """The first turn is a SWITCH; afterwards SWITCH and a new subgoal come together."""
    for number, game in enumerate(games):
        _, decisions = play(game, hesitation, seed=number)
        changes = [True] + [one.subgoal != two.subgoal for one, two in pairwise(decisions)]
        assert [decision.switch for decision in decisions] == changes


def test_subgoals_are_short_and_span_about_two_turns(games: list[GameSpec]) -> None:
    """A handful of words from four patterns; each is finished within three turns of undisturbed play."""
    segments = []
    for game in games:
        _, decisions = play(game, 0.0)
        starts = [turn for turn, decision in enumerate(decisions) if decision.switch] + [len(decisions)]
        segments += [stop - start for start, stop in pairwise(starts)]
        for decision in decisions:
            assert decision.subgoal.split()[0] in ("find", "put", "clean", "heat", "cool")
            assert len(decision.subgoal.split()) <= 9
    assert max(segments) <= 3
    assert 1.5 < np.mean(segments) < 2.5


def _needless(decisions: Sequence[Decision]) -> list[bool]:
    return [decision.action.split()[0] in NEEDLESS for decision in decisions]


def test_hesitation_comes_on_switches_and_on_keeps_never_twice_in_a_row(games: list[GameSpec]) -> None:
    """At 0.4 a needless command stands before 40 % of the useful ones; none stands before another."""
    on_switch = on_keep = useful = 0
    for number, game in enumerate(games):
        _, decisions = play(game, 0.4, seed=number)
        needless = _needless(decisions)
        assert not any(one and two for one, two in pairwise(needless))
        on_switch += sum(flag and decision.switch for flag, decision in zip(needless, decisions, strict=True))
        on_keep += sum(flag and not decision.switch for flag, decision in zip(needless, decisions, strict=True))
        useful += needless.count(False)
    # About 60 games x 7 useful turns = 420 draws at 0.4: standard error 0.024, so four of them on either side.
    assert 0.3 < (on_switch + on_keep) / useful < 0.5
    assert min(on_switch, on_keep) > 20
    assert not any(any(_needless(play(game, 0.0)[1])) for game in games)


def test_hesitation_does_not_change_what_is_done(games: list[GameSpec]) -> None:
    """Without the needless commands, a hesitant episode is the decided one, action by action and subgoal by subgoal."""
    for number, game in enumerate(games):
        _, decided = play(game, 0.0)
        _, hesitant = play(game, 0.5, seed=number, turns=200)
        kept = [decision for decision, idle in zip(hesitant, _needless(hesitant), strict=True) if not idle]
        assert [(d.subgoal, d.action) for d in kept] == [(d.subgoal, d.action) for d in decided]


def test_the_same_seed_gives_the_same_episode(games: list[GameSpec]) -> None:
    """Demonstrations are reproducible; another seed hesitates elsewhere."""
    assert [play(game, 0.4, seed=3) for game in games] == [play(game, 0.4, seed=3) for game in games]
    assert [play(game, 0.4, seed=3) for game in games] != [play(game, 0.4, seed=4) for game in games]
