"""Truncated, overwritten and foreign games, data sets and archives: played or unpacked, or refused by name."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import damages, few, many, read_or_refused
from hypothesis import given, settings

from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.alfworld.games import find_games, read_index
from hiper.benchmarks.alfworld.settings import AlfworldSettings, Data
from hiper.benchmarks.alfworld.sources import make_dataset
from hiper.benchmarks.archives import extract
from hiper.config import RunSettings, parse_run
from hiper.errors import UserError
from hiper.records import read_json, write_json
from hiper.stages import demonstrations
from hiper.stages.rollout import Rollout
from hiper.trajectory import Task

pytestmark = pytest.mark.usefixtures("limited_memory")


def played(settings: AlfworldSettings, data: Path) -> None:
    """Every task of the index is listed, the first one started and acted in."""
    benchmark = AlfworldBenchmark(settings, data)
    task = benchmark.tasks("train")[0]
    environment = benchmark.environment()
    _, info = environment.reset(task)
    for _ in range(3):
        if not info.won:
            *_, info = environment.step(info.admissible_actions[0])


@many
@given(damage=damages())
def test_a_damaged_index_of_games(
    small_pipeline: Path, small_settings: RunSettings, damage: Callable[[bytes], bytes]
) -> None:
    """dataset.json: listed and played, or refused."""
    path = small_pipeline / "data" / small_settings.benchmark.dataset / "dataset.json"
    read_or_refused(path, path.read_bytes(), damage, lambda: played(small_settings.benchmark, small_pipeline / "data"))


@settings(many, max_examples=250)
@given(damage=damages())
def test_a_damaged_game(small_pipeline: Path, small_settings: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """game.tw-pddl, its PDDL problem included: played, or refused when the episode starts."""
    data = small_pipeline / "data"
    path = read_index(data / small_settings.benchmark.dataset)["train"][0].folder / "game.tw-pddl"
    read_or_refused(path, path.read_bytes(), damage, lambda: played(small_settings.benchmark, data))


@settings(many, max_examples=250)
@given(damage=damages())
def test_a_damaged_pddl_problem(
    small_pipeline: Path, small_settings: RunSettings, damage: Callable[[bytes], bytes]
) -> None:
    """The problem alone, damaged inside sound JSON."""
    data = small_pipeline / "data"
    path = read_index(data / small_settings.benchmark.dataset)["train"][0].folder / "game.tw-pddl"
    game = read_json(path)

    def inside(content: bytes) -> bytes:
        problem = damage(game["pddl_problem"].encode()).decode("utf-8", "replace")
        return json.dumps({**game, "pddl_problem": problem}).encode()

    read_or_refused(path, path.read_bytes(), inside, lambda: played(small_settings.benchmark, data))


@many
@given(damage=damages())
def test_a_damaged_trajectory(
    small_pipeline: Path, small_settings: RunSettings, damage: Callable[[bytes], bytes]
) -> None:
    """traj_data.json: its game is found or not, or refused."""
    root = small_pipeline / "data" / small_settings.benchmark.dataset
    path = read_index(root)["train"][0].folder / "traj_data.json"
    types = small_settings.benchmark.task_types
    read_or_refused(path, path.read_bytes(), damage, lambda: find_games(root, "train", types))


@pytest.mark.parametrize("ending", ["tar.xz", "tar.gz", "tar", "zip"])
def test_a_damaged_archive(small_pipeline: Path, small_settings: RunSettings, tmp_path: Path, ending: str) -> None:
    """Unpacked into a data set, or refused; never a half-made data set."""
    source = small_pipeline / "data" / small_settings.benchmark.dataset
    archive, output = tmp_path / f"games.{ending}", tmp_path / "data" / "out"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
            for file in sorted(source.rglob("*.*")):
                package.write(file, f"json_2.1.1/{file.relative_to(source)}")
    else:
        with tarfile.open(archive, f"w:{ending.removeprefix('tar').removeprefix('.')}") as package:
            package.add(source, "json_2.1.1")
    generate = small_settings.benchmark.data.generate
    data = Data(source="archives", folder=None, archives=[str(archive)], generate=generate)
    content = archive.read_bytes()

    def read() -> None:
        shutil.rmtree(output.parent, ignore_errors=True)
        try:
            make_dataset("out", data, small_settings.benchmark.task_types, output)
        except UserError as error:
            assert not output.exists()
            if "dataset.json" in str(error) or "out" in str(error).split(":")[0]:
                raise UserError(f"{archive}: {error}") from None  # a file that came out of it
            raise

    @few
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(archive, content, damage, read)

    damaged()


def test_an_archive_with_something_else_behind_it_is_refused(small_pipeline: Path, tmp_path: Path) -> None:
    """Half of a compressed archive, then bytes that are no continuation."""
    archive, out = tmp_path / "games.tar.gz", tmp_path / "out"
    with tarfile.open(tmp_path / "games.tar", "w") as package:
        package.add(small_pipeline / "data", "json_2.1.1")
    content = (tmp_path / "games.tar").read_bytes()
    archive.write_bytes(gzip.compress(content[: len(content) // 2 // 512 * 512]) + b"no gzip")
    out.mkdir()
    with pytest.raises(UserError, match=r"games\.tar\.gz: damaged or cut off"):
        extract(archive, out)


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """A few kilobytes that claim to hold two gigabytes; nothing is written."""
    archive = tmp_path / "bomb.tar.gz"
    claimed = tarfile.TarInfo("zeros")
    claimed.size = 2 << 30
    archive.write_bytes(gzip.compress(claimed.tobuf() + bytes(1 << 20)))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"bomb\.tar\.gz: refused, it would unpack to more than 1024 MB"):
        extract(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_game_ends_the_stage_instead_of_losing_an_episode(
    copied_pipeline: Path, small_settings: RunSettings
) -> None:
    """Counted as a lost episode it would only lower a success rate."""
    benchmark = AlfworldBenchmark(small_settings.benchmark, copied_pipeline / "data")
    tasks = benchmark.tasks("train")[:2]
    path = copied_pipeline / "data" / small_settings.benchmark.dataset / tasks[1].id / "game.tw-pddl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"game\.tw-pddl: not valid JSON"):
        Rollout(benchmark, Unused(), small_settings.prompt).play(tasks, [0, 1], [0])


class Unused:
    """A policy that is never asked."""

    def fits(self, prompt: str) -> bool:
        return True

    def respond(self, requests: Any, seed: Any) -> Any:
        raise AssertionError("no episode may begin")


def test_a_game_that_the_index_lists_must_exist(copied_pipeline: Path, small_settings: RunSettings) -> None:
    """Found before any episode, not when the game's turn comes."""
    task = AlfworldBenchmark(small_settings.benchmark, copied_pipeline / "data").tasks("train")[5]
    shutil.rmtree(copied_pipeline / "data" / small_settings.benchmark.dataset / task.id)
    with pytest.raises(UserError, match=rf"{task.id}/game.tw-pddl: no such file.*1 of 14 games of split 'train'"):
        AlfworldBenchmark(small_settings.benchmark, copied_pipeline / "data").tasks("train")


@pytest.mark.parametrize(
    "identifier", ["../../etc/passwd", "/etc/passwd", "valid_seen/a/b", "train", "train//b", "train/a\0"]
)
def test_an_index_may_only_name_folders_of_its_split(
    copied_pipeline: Path, small_settings: RunSettings, identifier: str
) -> None:  # fmt: skip
    """A game outside the data set is refused."""
    path = copied_pipeline / "data" / small_settings.benchmark.dataset / "dataset.json"
    index = read_json(path)
    index["splits"]["train"][0]["id"] = identifier
    write_json(path, index)
    with pytest.raises(UserError, match=r"dataset\.json, train: `id` = "):
        AlfworldBenchmark(small_settings.benchmark, copied_pipeline / "data")


def test_a_game_nobody_can_win_is_refused(copied_pipeline: Path, small_settings: RunSettings) -> None:
    """Its goal asks for an object of a kind that the game does not have."""
    benchmark = AlfworldBenchmark(small_settings.benchmark, copied_pipeline / "data")
    task = next(task for task in benchmark.tasks("train") if task.task_type == "pick_and_place_simple")
    path = copied_pipeline / "data" / small_settings.benchmark.dataset / task.id / "game.tw-pddl"
    game = read_json(path)
    objects, facts, goal = re.split(r"(?=\(:init)|(?=\(:goal)", game["pddl_problem"])
    wanted = re.search(r"objectType \?o (\w+)", goal)
    assert wanted
    other = next(word for word in objects.split() if word.endswith("Type") and word != wanted[1])
    write_json(path, {**game, "pddl_problem": objects + facts.replace(f" {wanted[1]})", f" {other})") + goal})
    with pytest.raises(UserError, match=r"game\.tw-pddl: nobody can win this game"):
        benchmark.environment().reset(Task(task.id, task.split, task.task_type))


def test_an_expert_without_a_win_is_an_error(copied_pipeline: Path, small_settings: RunSettings) -> None:
    """One turn is not enough for any game: nothing is written."""
    values = small_settings.model_dump()
    hopeless = parse_run({**values, "demonstrations": {**values["demonstrations"], "max_turns": 1}}, "test")
    with pytest.raises(UserError, match="the expert won none of 12 tasks"):
        demonstrations.make(hopeless, copied_pipeline / "data", copied_pipeline / "none")
    assert not list(copied_pipeline.glob("none/*"))
