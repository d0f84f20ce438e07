"""WebShop behind the contract of `hiper.benchmarks.base`: the environment, and the benchmark that owns its tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hiper.benchmarks.base import Info, no_tasks
from hiper.benchmarks.webshop.dataset import Dataset
from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.making import SPLITS
from hiper.benchmarks.webshop.pages import SEARCH, Page, ProductPages
from hiper.benchmarks.webshop.session import Session
from hiper.benchmarks.webshop.settings import WebshopSettings
from hiper.plan_execute import FREE_ACTION
from hiper.trajectory import Task


class WebshopEnvironment:
    """Episodes of at most `max_turns` turns, ended by the purchase. `start` opens a session for a task
    and tells its goal.

    A purchase with the task score 1 wins. It pays `success_reward`, and with `reward: score` any purchase pays its
    score times as much. `Info.score` is the task score of the purchase, 0 before it; `Info.details` says whether the
    goal's own product can score 1 (`reachable`) and, after the purchase, how the score came about (`Reward.info`).
    """

    def __init__(
        self, start: Callable[[Task], tuple[Session, Goal]], max_turns: int, success_reward: float, reward: str
    ) -> None:
        self._start = start
        self._max_turns, self._success_reward, self._graded = max_turns, success_reward, reward == "score"
        self._session: Session | None = None
        self._turns_left = 0  # 0: no episode is going on
        self._instruction = ""
        self._details: dict[str, Any] = {}

    def reset(self, task: Task) -> tuple[str, Info]:
        """Start the task; UserError when its goal or product cannot be read."""
        self._turns_left = 0
        self._session, goal = self._start(task)
        self._instruction, self._details = goal.instruction.strip(), {"reachable": goal.reachable}
        self._turns_left = self._max_turns
        return self._session.page.observation, self._info(self._session.page, 0.0)

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        if self._session is None or not self._turns_left:
            raise RuntimeError("no episode is going on: call reset first, and again after the end of an episode")
        self._turns_left -= 1
        step = self._session.step(action)
        won = step.done and step.reward == 1.0
        share = step.reward if self._graded else float(won)
        truncated = not step.done and self._turns_left == 0
        if step.done:
            self._turns_left = 0
        if step.detail is not None:
            self._details |= step.detail.info()
        info = self._info(step.page, step.reward, won, step.done)
        return step.page.observation, self._success_reward * share, step.done, truncated, info

    def close(self) -> None:
        self._turns_left, self._session = 0, None

    def _info(self, page: Page, score: float, won: bool = False, done: bool = False) -> Info:
        return Info(self._instruction, () if done else admissible(page), won, score, dict(self._details))


def admissible(page: Page) -> tuple[str, ...]:
    """The actions of a page: a search with words of one's own where there is a search bar, else what can be clicked."""
    clicks = tuple(f"click[{name}]" for name in page.clickables if name != SEARCH)
    return (FREE_ACTION, *clicks) if page.has_search_bar else clicks


class WebshopBenchmark:
    """The goals of the data set `data_root/<dataset>` whose product is of one of the wanted categories (task types).

    Environments of one process share products, pages, search results and the search index, which processes share too.
    """

    def __init__(self, settings: WebshopSettings, data_root: Path) -> None:
        self.name: str = settings.name
        self.task_types: tuple[str, ...] = tuple(settings.task_types)
        self._settings = settings
        self._folder = data_root / settings.dataset
        self._dataset = Dataset(self._folder)
        self._pages = ProductPages(self._dataset.product)

    def tasks(self, split: str) -> Sequence[Task]:
        """The split's tasks, sorted by id; UserError when there are none."""
        known = split in SPLITS
        tasks = [task for task in self._dataset.tasks(split) if task.task_type in self.task_types] if known else []
        if not tasks:
            counts = {name: len(self._dataset.tasks(name)) for name in SPLITS}
            raise no_tasks(self._folder, split, self.task_types, counts)
        return tasks

    def environment(self) -> WebshopEnvironment:
        settings = self._settings
        return WebshopEnvironment(self._session, settings.max_turns, settings.success_reward, settings.reward)

    def _session(self, task: Task) -> tuple[Session, Goal]:
        goal = self._dataset.goal(task.id)
        return Session(self._dataset, goal, self._settings.mode, self._pages), goal
