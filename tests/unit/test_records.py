"""The records of benchmarks: each is whole, and nothing else knows which benchmarks there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project import ROOT

from hiper.benchmarks.conformance import check_record
from hiper.benchmarks.record import BenchmarkRecord, record_of
from hiper.benchmarks.seeded import read_tasks, seed_of, write_tasks
from hiper.compose import load_benchmark
from hiper.config.benchmark import SeededSettings
from hiper.errors import UserError
from hiper.plugins import BUILT_IN, ENVIRONMENTS
from hiper.records import read_json, write_json
from hiper.trajectory import Task

SEEDED = {
    "name": "mine",
    "dataset": "mine",
    "task_types": ["easy", "hard"],
    "max_turns": 5,
    "success_reward": 1.0,
    "splits": {"train": "train", "evaluation": {"test": "test"}},
    "data": {"seed": 3, "tasks": {"train": 4, "test": 0}},
}
NAMES = sorted(BUILT_IN[ENVIRONMENTS])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_its_package_and_the_list_of_plugins_names_a_benchmark(name: str) -> None:
    """Not even a comment: who adds a benchmark need not look for the places that know the others."""
    own = ROOT / "hiper" / "benchmarks" / name
    known = {ROOT / "hiper" / "plugins.py", *own.rglob("*.py")}
    others = [path for path in sorted((ROOT / "hiper").rglob("*.py")) if path not in known]
    naming = [path.relative_to(ROOT).as_posix() for path in others if re.search(name, path.read_text("utf-8"), re.I)]
    assert naming == [] and len(others) > 150


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_whole(name: str, tmp_path: Path) -> None:
    """Its parts go together, its tasks keep the contract, its expert wins."""
    (path, *_) = sorted((ROOT / "configs" / "benchmark").glob(f"{name}_test.yaml"))
    settings = load_benchmark(path).model_copy(update={"max_turns": 30})
    (tmp_path / "data").mkdir()
    record_of(name).make_data(settings, tmp_path / "data" / settings.dataset)
    check_record(name, settings, tmp_path / "data")


def test_a_record_without_what_everybody_asks_for_is_refused() -> None:
    """It names what is missing when it is made, not when a stage wants it."""

    class Bare(BenchmarkRecord):  # type: ignore[type-arg]
        name = "bare"
        make_data = open = expert = contents = origin = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"Bare lacks settings, words, first_action, tokens"):
        Bare()


def test_an_unknown_benchmark_is_an_error_that_lists_the_known_ones() -> None:
    """By name."""
    with pytest.raises(UserError, match=rf"'chess'; there are .*{NAMES[0]}"):
        record_of("chess")


def test_settings_of_seeded_tasks_name_their_splits() -> None:
    """A split without tasks is found before anything runs; one that is not made cannot be used."""
    settings = SeededSettings.model_validate(SEEDED)
    assert (settings.data_seed, settings.split_size("train")) == (3, 4)
    assert list(settings.empty_splits()) == [("test", "data.tasks.test")]
    with pytest.raises(ValueError, match=r"data\.tasks makes no split 'valid', only train, test"):
        SeededSettings.model_validate(SEEDED | {"splits": {"train": "train", "evaluation": {"test": "valid"}}})


def test_a_list_of_seeded_tasks_is_read_as_written_or_refused(tmp_path: Path) -> None:
    """Ids carry the seed; a row that is no task, another format and a missing file are told with what to do."""
    settings = SeededSettings.model_validate(SEEDED)
    tasks = {"train": [Task("easy/000000017", "train", "easy")], "test": []}
    write_tasks(tmp_path, settings, tasks)
    assert read_tasks(tmp_path) == tasks and seed_of(tasks["train"][0]) == 17
    path = tmp_path / "dataset.json"
    index = read_json(path)
    for spoilt, message in (
        (index | {"tasks": {"train": [["easy/1"]]}}, "tasks, train: must be a list of"),
        (index | {"format": 2}, "format 2, and this version reads 1"),
    ):
        write_json(path, spoilt)
        with pytest.raises(UserError, match=message):
            read_tasks(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="make the data set first"):
        read_tasks(tmp_path)
    with pytest.raises(UserError, match="makes no task"):
        write_tasks(tmp_path, settings, {"train": []})
