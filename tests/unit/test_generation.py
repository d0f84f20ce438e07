"""Generated games: playable by the unmodified package, winnable, distinct, the same everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from alfworld_reference import TASK_TYPES, play
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.benchmarks.alfworld import generation
from hiper.benchmarks.alfworld.games import Game, find_games, read_game
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.native import GameSpec, NativeEngine, parse_game
from hiper.benchmarks.alfworld.rooms import TRAIN_ROOMS, UNSEEN_ROOMS, load_room, logic_file
from hiper.benchmarks.alfworld.settings import Generation
from hiper.errors import UserError


def wanted(train: int = 0, seen: int = 0, unseen: int = 0, **limits: int | None) -> Generation:
    sizes = {"seed": 3, "receptacles": 6, "objects": 6, **limits}
    return Generation(train=train, valid_seen=seen, valid_unseen=unseen, **sizes)


def spec_of(game: Game) -> GameSpec:
    return parse_game(read_game(game.folder), game.id)


def room_of(game: Game) -> int:
    return int(game.folder.parent.name.rsplit("-", 1)[1])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Game]]:
    root = tmp_path_factory.mktemp("small")
    return root, generate_games(root, TASK_TYPES, wanted(240, 24, 60))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Game]]:
    root = tmp_path_factory.mktemp("full")
    return root, generate_games(root, TASK_TYPES, wanted(120, receptacles=None, objects=None))


def test_alfworld_itself_wins_small_games_of_every_type(small: tuple[Path, list[Game]]) -> None:
    """The walkthrough is admissible and wins in AlfredTWEnv, and its task sentence is what `read_game` says."""
    root, games = small
    first = {game.task_type: game for game in games if game.split == "valid_unseen"}
    assert set(first) == set(TASK_TYPES)
    results = play(root / "valid_unseen", [game.folder / "game.tw-pddl" for game in first.values()])
    assert len(results) == len(TASK_TYPES)
    for game in first.values():
        observation, won = results[game.folder / "game.tw-pddl"]
        assert won, game.id
        assert observation.endswith(f"Your task is to: {read_game(game.folder).instruction}")


def test_alfworld_itself_wins_games_in_rooms_of_real_size(full: tuple[Path, list[Game]]) -> None:
    """Two types outside kitchens, and one heat task in a kitchen (those take seconds to start)."""
    root, games = full
    types = ("look_at_obj_in_light", "pick_two_obj_and_place")
    chosen = [next(game for game in games if game.task_type == name and room_of(game) > 100) for name in types]
    chosen.append(next(game for game in games if game.task_type == "pick_heat_then_place_in_recep"))
    results = play(root / "train", [game.folder / "game.tw-pddl" for game in chosen])
    assert [won for _, won in results.values()] == [True] * 3


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), receptacles=st.integers(3, 9), objects=st.integers(1, 9))
def test_every_game_is_won_by_its_walkthrough_and_not_before(
    tmp_path_factory: pytest.TempPathFactory, seed: int, receptacles: int, objects: int
) -> None:
    """Whatever seed and room size: admissible commands, won at the last one and not earlier."""
    root = tmp_path_factory.mktemp("any")
    for game in generate_games(root, TASK_TYPES, wanted(6, 0, 6, seed=seed, receptacles=receptacles, objects=objects)):
        engine = NativeEngine()
        engine.reset(spec_of(game))
        for command in json.loads((game.folder / "game.tw-pddl").read_text())["walkthrough"]:
            assert not engine.won
            assert command in engine.admissible
            engine.step(command)
        assert engine.won


def test_all_games_are_listed_in_equal_shares(small: tuple[Path, list[Game]]) -> None:
    """`find_games` finds exactly what was generated; 240, 24 and 60 games of six types are 40, 4 and 10 of each."""
    root, games = small
    found = [game for split in ("train", "valid_seen", "valid_unseen") for game in find_games(root, split, TASK_TYPES)]
    assert found == games
    shares = Counter((game.split, game.task_type) for game in games)
    assert {(split, count) for (split, _), count in shares.items()} == {
        ("train", 40),
        ("valid_seen", 4),
        ("valid_unseen", 10),
    }


def test_unseen_rooms_are_those_of_the_real_split(small: tuple[Path, list[Game]]) -> None:
    """Rooms 10, 219, 308, 424 and no other; seen rooms are among the 108 of the real train split."""
    rooms = {split: {room_of(game) for game in small[1] if game.split == split} for split in ("train", "valid_seen")}
    assert len(TRAIN_ROOMS) == 108
    assert rooms["train"] | rooms["valid_seen"] <= set(TRAIN_ROOMS)
    assert (
        {room_of(game) for game in small[1] if game.split == "valid_unseen"} == set(UNSEEN_ROOMS) == {10, 219, 308, 424}
    )


def test_no_two_games_are_equal(small: tuple[Path, list[Game]]) -> None:
    """Within and across splits: room, receptacles, what lies where by class, and goal together are unique."""

    def appearance(game: Game) -> tuple[object, ...]:
        spec = spec_of(game)
        # Names without their numbers for objects ("apple 2" -> "apple"), with them for receptacles.
        contents = sorted(
            (spec.names[place], spec.names[thing].split()[0])
            for place, things in spec.contents.items()
            for thing in things
        )
        return game.folder.parent.name, tuple(spec.names[place] for place in spec.receptacles), tuple(contents)

    assert len({appearance(game) for game in small[1]}) == len(small[1])


def test_small_rooms_have_the_asked_for_sizes(small: tuple[Path, list[Game]]) -> None:
    """Six receptacles; six objects besides the one or two that the task needs and the lamp of look tasks."""
    needed = {"pick_two_obj_and_place": 2, "look_at_obj_in_light": 2}
    for game in small[1]:
        spec = spec_of(game)
        assert len(spec.receptacles) == 6
        assert sum(map(len, spec.contents.values())) <= 6 + needed.get(game.task_type, 1)


def test_full_rooms_are_as_crowded_as_real_ones(full: tuple[Path, list[Game]]) -> None:
    """Mean receptacles and placed objects per kitchen within a fifth of the real train games' 32.9 and 45.9."""
    kitchens = [spec_of(game) for game in full[1] if room_of(game) < 100]
    receptacles = sum(len(spec.receptacles) for spec in kitchens) / len(kitchens)
    objects = sum(sum(map(len, spec.contents.values())) for spec in kitchens) / len(kitchens)
    assert 0.8 * 32.9 < receptacles < 1.2 * 32.9
    assert 0.8 * 45.9 < objects < 1.2 * 45.9


def test_the_same_seed_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    """Two fresh interpreters with different string hashing write the same files with the same contents."""
    code = (
        "import sys; from pathlib import Path; from hiper.benchmarks.alfworld.settings import Generation;"
        "from hiper.benchmarks.alfworld.generation import generate_games;"
        f"generate_games(Path(sys.argv[1]), {TASK_TYPES!r},"
        " Generation(seed=5, receptacles=None, objects=None, train=12, valid_seen=6, valid_unseen=6))"
    )
    digests = []
    for number in ("1", "2"):
        root = tmp_path / number
        subprocess.run([sys.executable, "-c", code, root], check=True, env={**os.environ, "PYTHONHASHSEED": number})
        files = sorted(path for path in root.rglob("*") if path.is_file())
        digests.append([(path.relative_to(root), hashlib.sha256(path.read_bytes()).digest()) for path in files])
    assert len(digests[0]) == 2 * 24
    assert digests[0] == digests[1]


def test_another_seed_gives_other_games(tmp_path: Path, small: tuple[Path, list[Game]]) -> None:
    """The seed is used: of twelve games at most one has the same name as one made with the other seed."""
    others = generate_games(tmp_path, TASK_TYPES, wanted(12, seed=4))
    assert len({game.id for game in others} & {game.id for game in small[1]}) <= 1


def test_the_domain_in_a_game_is_the_installed_one(small: tuple[Path, list[Game]]) -> None:
    """Token for token, comments left out."""
    lines = [line.split(";")[0] for line in logic_file("alfred.pddl").splitlines()]
    game = json.loads((small[1][0].folder / "game.tw-pddl").read_text())
    assert game["pddl_domain"].split() == " ".join(lines).split()
    assert game["solvable"] is True


def test_rooms_have_the_fixtures_that_the_layouts_only_name() -> None:
    """Every kitchen has one sink basin and four stove burners, though few layouts say where."""
    for number in (*TRAIN_ROOMS[:27], 10):
        kinds = Counter(receptacle.type for receptacle in load_room(number).receptacles)
        assert kinds["SinkBasin"] == 1
        assert kinds["StoveBurner"] >= 4


def test_a_walkthrough_that_does_not_win_stops_the_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No unverified game is written."""
    monkeypatch.setattr(generation, "walkthrough", lambda scene: ["look"])
    with pytest.raises(RuntimeError, match="does not win"):
        generate_games(tmp_path, TASK_TYPES, wanted(1))
    assert not list(tmp_path.rglob("*.tw-pddl"))


def test_settings_that_leave_no_new_game_are_an_error_that_says_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too small rooms at once; too few different games after a bounded search."""
    with pytest.raises(UserError, match=r"data\.generate\.receptacles = 2"):
        generate_games(tmp_path, TASK_TYPES, wanted(1, receptacles=2))
    constant = generation.draw_scene
    monkeypatch.setattr(  # the same random state for every draw, so that only so many different games exist
        generation,
        "draw_scene",
        lambda random, room, quest, limits: constant(generation.np.random.default_rng(0), room, quest, limits),
    )
    with pytest.raises(UserError, match="ask for fewer games"):
        generate_games(tmp_path / "many", ("look_at_obj_in_light",), wanted(unseen=100))
