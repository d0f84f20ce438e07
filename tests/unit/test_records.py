"""The records of benchmarks: each is whole, and nothing else knows which benchmarks there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project import ROOT

from hiper.benchmarks.conformance import check_record
from hiper.benchmarks.record import BenchmarkRecord, record_of
from hiper.compose import load_benchmark
from hiper.errors import UserError
from hiper.plugins import BUILT_IN, ENVIRONMENTS

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
