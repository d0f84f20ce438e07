"""Goal lists and rewards against recordings of WebShop and of HiPER's environment; and the comparisons themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.parity.recordings import read_recording
from dev.parity.webshop_goals import (
    compare_goal_list,
    compare_hiper_goals,
    compare_reward_cases,
    recorded_products,
)
from dev.parity.webshop_result import ParityResult
from hiper.benchmarks.webshop.orders import fixed_order
from hiper.errors import UserError

GOALS, SEEDS, REWARDS = "goals_princeton_pre20240601", "hiper_goals_by_seed", "reward_cases"


@pytest.fixture(scope="module")
def data(shared_data: Path) -> Path:
    return shared_data / "data" / "webshop"


@pytest.fixture
def recording(shared_data: Path) -> Callable[[str], Any]:
    return lambda name: read_recording(shared_data / "golden" / "webshop" / f"{name}.json.gz")


@pytest.mark.parametrize(
    ("name", "compare", "points"),
    [
        (GOALS, compare_goal_list, 1 + 6910 + 1000 + 1),
        (SEEDS, compare_hiper_goals, 3 * 5 + 2),
        (REWARDS, compare_reward_cases, 311),
    ],
)
def test_every_recorded_point_is_repeated(
    data: Path, recording: Callable[[str], Any], name: str, compare: Callable[[Any, Path], ParityResult], points: int
) -> None:
    """The order, texts, caps, prices and weights of goals; the reward of a purchase with every part of it."""
    result = compare(recording(name), data)
    assert result.mismatches == []
    assert result.matched == result.total == points


def test_a_sixteenth_of_the_goals_is_known_to_be_out_of_reach(data: Path) -> None:
    """458 goals of 17 products in the small set, 20 of them among the 500 of the test split."""
    goals = fixed_order(recorded_products(data)).goals
    lost = [goal for goal in goals if not goal.reachable]
    assert (len(goals), len(lost), len({goal.asin for goal in lost})) == (6910, 458, 17)
    assert sum(not goal.reachable for goal in goals[:500]) == 20


def test_a_changed_recording_is_noticed(data: Path, recording: Callable[[str], Any]) -> None:
    """One value changed is one mismatch, which names the place and both values."""
    goals = recording(GOALS)
    goals["goals"][3]["price_upper"] += 1e-9
    goals["cum_weight_total"] += 1e-9
    result = compare_goal_list(goals, data)
    assert [mismatch.split(":")[0] for mismatch in result.mismatches] == ["goal 3", "sum of weights"]
    rewards = recording(REWARDS)[:6]
    changed = copy.deepcopy(rewards)
    changed[0]["info"]["title_score"] += 1e-15
    changed[1]["error"] = "TypeError"
    changed[2]["info"]["more"] = 1
    changed[3]["price"] = None
    result = compare_reward_cases(changed, data)
    assert (result.matched, result.total) == (2, 6)
    assert [mismatch.split()[1] for mismatch in result.mismatches] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("compare", "content"),
    [
        (compare_goal_list, {"goals": []}),
        (compare_goal_list, {"goals": [5], "product_prices": {}, "cum_weight_total": 1.0}),
        (compare_hiper_goals, []),
        (compare_hiper_goals, {"seeds": {"x": {}}, "overlap_val1006_in_train6": 1, "overlap_val1006_in_train6_7": 1}),
        (compare_reward_cases, {}),
        (compare_reward_cases, [{"tag": "exact"}]),
    ],
)
def test_a_malformed_recording_is_refused(
    data: Path, compare: Callable[[Any, Path], ParityResult], content: Any
) -> None:
    """With a UserError, whatever it holds."""
    with pytest.raises(UserError, match="recorded"):
        compare(content, data)


def test_a_folder_without_the_raw_files_is_refused(tmp_path: Path) -> None:
    """The message names the folder and the file."""
    with pytest.raises(UserError, match=r"has no items_shuffle_1000\.json"):
        recorded_products(tmp_path)
