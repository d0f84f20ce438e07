"""The WebShop environment keeps the contract of text environments, and pays as its settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webshop_sets import settings

from hiper.benchmarks.base import Info
from hiper.benchmarks.conformance import check_environment
from hiper.benchmarks.webshop.environment import WebshopBenchmark
from hiper.benchmarks.webshop.expert import WebshopExpert
from hiper.benchmarks.webshop.sources import make_dataset
from hiper.errors import UserError
from hiper.plan_execute import FREE_ACTION
from hiper.trajectory import Task

CATEGORIES = ["beauty", "electronics", "fashion", "garden", "grocery"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_dataset(settings(), root / "shop")
    return root


def benchmark(data_root: Path, **changes: Any) -> WebshopBenchmark:
    return WebshopBenchmark(settings().model_copy(update={"task_types": CATEGORIES, **changes}), data_root)


def expert_plays(shop: WebshopBenchmark, task: Task, instead_of_buying: str | None = None) -> tuple[float, Info, int]:
    """(return, last info, turns) of an episode of the expert, which may make its last click elsewhere."""
    environment = shop.environment()
    observation, info = environment.reset(task)
    expert = WebshopExpert(info.instruction, np.random.default_rng(0), 0.0)
    paid, turns, over = 0.0, 0, False
    while not over:
        action = expert.act(observation, info.admissible_actions).action
        observation, reward, terminated, truncated, info = environment.step(action)
        paid, turns, over = paid + reward, turns + 1, terminated or truncated
    return paid, info, turns


@pytest.mark.parametrize("mode", ["strict", "exact"])
@pytest.mark.parametrize("reward", ["success", "score"])
def test_it_keeps_the_contract(data_root: Path, mode: str, reward: str) -> None:
    """Every clause of `TextEnvironment`, in both modes and with both rewards."""
    shop = benchmark(data_root, mode=mode, reward=reward, max_turns=7)
    check_environment(shop.environment, shop.tasks("test")[:4], seed=1)


def test_tasks_are_sorted_distinct_and_of_the_wanted_categories(data_root: Path) -> None:
    """Splits share no task, ids ascend, and only goals about products of the settings' task types are played."""
    shop = benchmark(data_root, task_types=["beauty", "grocery"])
    splits = {split: shop.tasks(split) for split in ("train", "dev", "test")}
    ids = [task.id for tasks in splits.values() for task in tasks]
    assert len(set(ids)) == len(ids)
    for split, tasks in splits.items():
        assert [task.id for task in tasks] == sorted(task.id for task in tasks)
        assert {(task.split, task.task_type) for task in tasks} <= {(split, "beauty"), (split, "grocery")}
    with pytest.raises(UserError, match=r"no tasks in split 'valid'.*test \(20\)"):
        shop.tasks("valid")


def test_the_start_offers_a_search_and_other_pages_their_clicks(data_root: Path) -> None:
    """`search` itself cannot be clicked; a page without a search bar offers no search."""
    environment = benchmark(data_root).environment()
    _, info = environment.reset(benchmark(data_root).tasks("test")[0])
    assert info.admissible_actions == (FREE_ACTION,)
    _, _, _, _, info = environment.step("search[soap]")
    assert "click[next >]" in info.admissible_actions
    assert all(action.startswith("click[") for action in info.admissible_actions)


def test_only_a_perfect_purchase_wins_and_pays(data_root: Path) -> None:
    """The expert's purchase scores 1 and pays the success reward; buying at once, without options, does not."""
    shop = benchmark(data_root)
    task = next(task for task in shop.tasks("train") if "and " in expert_plays(shop, task)[1].instruction)
    paid, info, _ = expert_plays(shop, task)
    assert (paid, info.won, info.score) == (10.0, True, 1.0)
    poor, graded = (_bought_at_once(benchmark(data_root, reward=reward), task) for reward in ("success", "score"))
    assert not poor[1].won and 0.0 < poor[1].score < 1.0
    assert poor[0] == 0.0
    assert graded[0] == pytest.approx(10.0 * poor[1].score)


def _bought_at_once(shop: WebshopBenchmark, task: Task) -> tuple[float, Info]:
    environment = shop.environment()
    observation, info = environment.reset(task)
    expert = WebshopExpert(info.instruction, np.random.default_rng(0), 0.0)
    while "click[buy now]" not in info.admissible_actions:
        observation, _, _, _, info = environment.step(expert.act(observation, info.admissible_actions).action)
    _, reward, _, _, info = environment.step("click[buy now]")
    return reward, info


def test_info_tells_how_the_score_came_about(data_root: Path) -> None:
    """Before the purchase only whether the goal can be won; with it, the parts of the reward."""
    shop = benchmark(data_root)
    task = shop.tasks("test")[0]
    _, info = shop.environment().reset(task)
    assert info.details == {"reachable": True}
    _, info, _ = expert_plays(shop, task)
    assert {"r_type", "r_att", "w_att", "r_price", "reachable"} <= info.details.keys()


def test_environments_of_one_benchmark_share_its_data(data_root: Path) -> None:
    """Another environment costs a session, not a shop: nothing is read or copied for it."""
    shop = benchmark(data_root)
    first, second = shop.environment(), shop.environment()
    task = shop.tasks("test")[0]
    first.reset(task)
    before = shop._dataset._row.cache_info().misses
    second.reset(task)
    assert shop._dataset._row.cache_info().misses == before
