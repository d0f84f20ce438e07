"""WebShop's record: what anybody outside this package may ask of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np

from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.experts import Expert
from hiper.benchmarks.record import BenchmarkRecord, Contents, Origin, TokenNames, origin_of_files
from hiper.benchmarks.webshop.settings import Category, WebshopSettings
from hiper.benchmarks.webshop.words import WORDS
from hiper.plan_execute import FREE_ACTION
from hiper.trajectory import Task


class Webshop(BenchmarkRecord[WebshopSettings]):
    name = "webshop"
    settings = WebshopSettings
    words = WORDS
    first_action = FREE_ACTION
    # characters of this project's full texts in play, 3,480 on average, at 3.5 characters a token, which is assumed;
    # responses: the authors' logs, 61 to 76
    tokens = (1_000, 70)
    labels: ClassVar = {category: category.capitalize() for category in get_args(Category)}
    own_texts = ("subgoal", "search")
    published = Path(__file__).with_name("published.yaml")
    variable = "WEBSHOP_DATA"

    def make_data(self, settings: WebshopSettings, output: Path) -> None:
        from hiper.benchmarks.webshop.sources import make_dataset

        make_dataset(settings, output)

    def open(self, settings: WebshopSettings, data_root: Path) -> Benchmark:
        from hiper.benchmarks.webshop.environment import WebshopBenchmark

        return WebshopBenchmark(settings, data_root)

    def expert(self, task: Task, instruction: str, random: np.random.Generator, hesitation: float) -> Expert:
        from hiper.benchmarks.webshop.expert import WebshopExpert

        return WebshopExpert(instruction, random, hesitation)

    def contents(self, settings: WebshopSettings, folder: Path, used: Sequence[str]) -> Contents:
        from hiper.benchmarks.webshop.dataset import describe

        found = describe(folder)
        unreachable = found.counts["goals"] - found.counts["reachable"]
        limited = f" ({unreachable} of them cannot be won with their own product)" if unreachable else ""
        words = f"{found.counts['products']} products, {found.counts['goals']} goals{limited}, nouns: {found.tagger}"
        categories = {split: found.splits[split]["categories"] for split in used}
        return Contents(
            words, empty=[split for split in used if not any(map(categories[split].get, settings.task_types))]
        )

    def origin(self, settings: WebshopSettings, root: Path) -> Origin:
        return origin_of_files(settings.data.source, lambda: _folder(settings), self.variable, root)

    def token_names(self, texts: Sequence[str], size: int) -> TokenNames:
        """Whatever can be clicked. No words merge, because a search is made of the task's words, and a name is one
        token: products' names all begin alike, and a model that copies token by token cannot tell which of them it is
        copying."""
        return TokenNames(r" ?[a-zA-Z]+|[\[\]]| ?\d+", clickable_names(texts, size // 2), added=True)


def clickable_names(texts: Sequence[str], most: int) -> list[str]:
    """What stands in brackets in `texts` but searches: the `most` frequent of these names, sorted."""
    counts = Counter(name for text in texts for name in re.findall(r"(?<!search)\[([^\[\]]+)\]", text))
    ascii_names = [name for name in counts if name.isascii()]  # others do not survive decoding as tokens of their own
    return sorted(sorted(ascii_names, key=lambda name: (-counts[name], name))[:most])


def _folder(settings: WebshopSettings) -> Path | None:
    from hiper.benchmarks.webshop.sources import files_in_folder

    raw = files_in_folder(settings.data)
    return None if raw is None else raw.items.parent


RECORD = Webshop()
