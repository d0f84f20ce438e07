"""Selecting and reading ALFWorld games."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from alfworld_reference import TASK_TYPES, collected_ids

from hiper.benchmarks.alfworld.games import Game, find_games, read_game, read_index, write_index
from hiper.benchmarks.archives import extract
from hiper.errors import UserError

GRAMMAR = '"task": [{ "rhs": "Your task is to: %s." }]'


def add_game(folder: Path, task_type: str = "pick_and_place_simple", **changes: object) -> Path:
    """A minimal game; a key of `game.tw-pddl` set to None is left out, `files` limits what is written."""
    files = changes.pop("files", ("traj_data.json", "game.tw-pddl"))
    assert isinstance(files, tuple)
    folder.mkdir(parents=True)
    game = {"pddl_problem": "(define)", "grammar": GRAMMAR % "put a mug in desk", "solvable": True, **changes}
    content = {
        "traj_data.json": {"task_type": task_type},
        "game.tw-pddl": {key: value for key, value in game.items() if value is not None},
    }
    for name in files:
        (folder / name).write_text(json.dumps(content[name]), encoding="utf-8")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    split = tmp_path / "json_2.1.1" / "train"
    add_game(split / "pick_and_place_simple-Mug-None-Desk-301" / "trial_2")
    add_game(split / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1")
    add_game(split / "look_at_obj_in_light-Mug-None-DeskLamp-301" / "trial_3", "look_at_obj_in_light")
    add_game(split / "pick_and_place_with_movable_recep-Mug-Box-Desk-301" / "trial_4")
    add_game(
        split / "pick_heat_then_place_in_recep-AppleSliced-None-Desk-1" / "trial_5", "pick_heat_then_place_in_recep"
    )
    add_game(split / "pick_and_place_simple-Pen-None-Desk-301" / "trial_unsolvable", solvable=False)
    add_game(split / "pick_and_place_simple-Pen-None-Desk-301" / "trial_unchecked", solvable=None)
    add_game(split / "pick_and_place_simple-Pen-None-Desk-301" / "trial_gameless", files=("traj_data.json",))
    add_game(split / "pick_and_place_simple-Pen-None-Desk-301" / "trial_dataless", files=("game.tw-pddl",))
    return tmp_path


@pytest.mark.parametrize("task_types", [TASK_TYPES, TASK_TYPES[1:], TASK_TYPES[:1]])
def test_the_games_found_are_those_alfworld_collects(tree: Path, task_types: tuple[str, ...]) -> None:
    """Every filter of the original, on a tree that has a case for each."""
    found = [game.id for game in find_games(tree, "train", task_types)]
    assert found == collected_ids(tree / "json_2.1.1" / "train", task_types)


def test_of_nine_folders_three_are_games(tree: Path) -> None:
    """Sorted by id; the two wrong folder names, two solvable flags and two missing files drop out."""
    assert [game.id for game in find_games(tree, "train", TASK_TYPES)] == [
        "train/look_at_obj_in_light-Mug-None-DeskLamp-301/trial_3",
        "train/pick_and_place_simple-Mug-None-Desk-301/trial_1",
        "train/pick_and_place_simple-Mug-None-Desk-301/trial_2",
    ]


def test_the_layout_folder_and_its_parent_are_the_same_root(tree: Path) -> None:
    """Users name either; ids do not depend on it."""
    assert find_games(tree, "train", TASK_TYPES) == find_games(tree / "json_2.1.1", "train", TASK_TYPES)


def test_the_place_of_the_data_is_not_filtered(tmp_path: Path) -> None:
    """Only the path below the split counts: a disk called `movable` holds games like any other."""
    add_game(tmp_path / "movable" / "train" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1")
    assert len(find_games(tmp_path / "movable", "train", TASK_TYPES)) == 1


def test_a_missing_split_is_an_error_that_names_the_folder(tree: Path) -> None:
    """A mistyped split must not look like an empty one."""
    with pytest.raises(UserError, match="valid_sen"):
        find_games(tree, "valid_sen", TASK_TYPES)


def test_the_instruction_keeps_its_full_stop_and_its_escapes(tmp_path: Path) -> None:
    """The sentence is a JSON string inside the grammar."""
    folder = add_game(tmp_path / "game", grammar=GRAMMAR % r"say \"hi\" to the mug")
    assert read_game(folder).instruction == 'say "hi" to the mug.'


@pytest.mark.parametrize("name", ["traj_data.json", "game.tw-pddl"])
def test_a_cut_off_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    """Half a download is found out, not played."""
    folder = add_game(tmp_path / "train" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1")
    path = folder / name
    path.write_text(path.read_text()[:-5])
    with pytest.raises(UserError, match=re.escape(name)):
        find_games(tmp_path, "train", TASK_TYPES)


@pytest.mark.parametrize("changes", [{"pddl_problem": None}, {"grammar": None}, {"grammar": "no task here"}])
def test_a_game_without_its_texts_is_an_error_that_names_the_file(tmp_path: Path, changes: dict[str, object]) -> None:
    """Valid JSON that is not a game."""
    with pytest.raises(UserError, match=r"game\.tw-pddl"):
        read_game(add_game(tmp_path / "game", **changes))


def test_the_index_gives_back_the_games_it_was_given(tmp_path: Path) -> None:
    """Whatever their order; its counts are per split and task type."""
    games = [
        Game(
            f"{split}/task-{number}/trial_0", split, TASK_TYPES[number % 2], tmp_path / f"{split}/task-{number}/trial_0"
        )
        for split in ("train", "valid_seen")
        for number in (2, 0, 1)
    ]
    write_index(tmp_path, "name", {"kind": "folder"}, games)
    assert read_index(tmp_path) == {
        split: sorted((game for game in games if game.split == split), key=lambda game: game.id)
        for split in ("train", "valid_seen")
    }
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content["counts"]["train"] == {"total": 3, TASK_TYPES[0]: 2, TASK_TYPES[1]: 1}
    assert (content["dataset"], content["source"]) == ("name", {"kind": "folder"})


@pytest.mark.parametrize("text", ["[]", "{}", '{"splits": {"train": [{"id": "x"}]}}', "{"])
def test_a_broken_index_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    """Also a missing one."""
    with pytest.raises(UserError, match=r"dataset\.json"):
        read_index(tmp_path)
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=r"dataset\.json"):
        read_index(tmp_path)


def test_the_official_validation_games_are_found_and_read_as_the_original_does(
    shared_data: Path, tmp_path: Path
) -> None:
    """140 seen and 134 unseen games, the same as alfworld collects; the task sentences are those of the recordings."""
    for split, count in (("valid_seen", 140), ("valid_unseen", 134)):
        extract(shared_data / "data" / "alfworld" / f"json_2.1.1-{split}.tar.xz", tmp_path)
        found = [game.id for game in find_games(tmp_path, split, TASK_TYPES)]
        assert len(found) == count
        assert found == collected_ids(tmp_path / "json_2.1.1" / split)
    with gzip.open(shared_data / "golden" / "alfworld.json.gz", "rt", encoding="utf-8") as stream:
        recordings = [item for item in json.load(stream) if not item["game"].startswith("train/")]
    assert recordings
    for item in recordings:
        instruction = read_game(tmp_path / "json_2.1.1" / item["game"]).instruction
        assert item["reset"]["obs"].rstrip("\n").endswith(f"Your task is to: {instruction}")
