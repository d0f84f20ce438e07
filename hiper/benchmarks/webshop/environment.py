"""WebShop behind the contract of `hiper.benchmarks.base`: its sessions, and the benchmark that owns its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hiper.benchmarks.base import no_tasks
from hiper.benchmarks.game import Game, GameEnvironment
from hiper.benchmarks.webshop.dataset import Dataset
from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.making import SPLITS
from hiper.benchmarks.webshop.pages import SEARCH, Page, ProductPages
from hiper.benchmarks.webshop.session import Session
from hiper.benchmarks.webshop.settings import WebshopSettings
from hiper.plan_execute import FREE_ACTION
from hiper.trajectory import Task


class WebshopGame(Game):
    """Sessions of a customer, ended by the purchase. `opened` opens a session for a task and tells its goal.

    A purchase with the task score 1 wins; with `graded` any purchase pays its score. `score` is that of the purchase, 0
    before it; `details` say whether the goal's own product can score 1 (`reachable`) and, after the purchase, how the
    score came about (`Reward.info`).
    """

    def __init__(self, opened: Callable[[Task], tuple[Session, Goal]], graded: bool) -> None:
        self._opened, self._graded = opened, graded
        self._session: Session | None = None
        self._score = 0.0
        self._details: dict[str, Any] = {}

    @property
    def reward(self) -> float:
        return self._score if self._graded else float(self.won)

    @property
    def score(self) -> float:
        return self._score

    @property
    def details(self) -> Mapping[str, Any]:
        return self._details

    def start(self, task: Task) -> str:
        """UserError when the task's goal or product cannot be read."""
        self._session, goal = self._opened(task)
        self.instruction, self._details = goal.instruction.strip(), {"reachable": goal.reachable}
        self.over = self.won = False
        self._score, self.admissible = 0.0, admissible(self._session.page)
        return self._session.page.observation

    def act(self, action: str) -> str:
        assert self._session is not None
        step = self._session.step(action)
        self.over, self.won, self._score = step.done, step.done and step.reward == 1.0, step.reward
        self.admissible = () if step.done else admissible(step.page)
        if step.detail is not None:
            self._details |= step.detail.info()
        return step.page.observation

    def close(self) -> None:
        self._session = None


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

    def environment(self) -> GameEnvironment:
        settings = self._settings
        game = WebshopGame(self._session, graded=settings.reward == "score")
        return GameEnvironment(game, settings.max_turns, settings.success_reward)

    def _session(self, task: Task) -> tuple[Session, Goal]:
        goal = self._dataset.goal(task.id)
        return Session(self._dataset, goal, self._settings.mode, self._pages), goal
