"""Reading a data set's folder (see `making`): goals by id, and the shop that sessions visit.

Nothing but the index is read when it is opened; products and goals are parsed when they are looked at. Files are
mapped, so that processes which open the same folder share what they read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.webshop.goals import Goal, parse_goal
from hiper.benchmarks.webshop.lines import Keys, Lines, read_array
from hiper.benchmarks.webshop.making import (
    BENCHMARK,
    FORMAT,
    GOAL_TABLE,
    GOALS,
    INDEX_FILE,
    LEFT_OUT,
    SEARCH_FOLDER,
    SPLITS,
)
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.search import SearchIndex
from hiper.benchmarks.webshop.store import (
    ASIN_TYPE,
    CATEGORIES,
    HASH_TYPE,
    KEYED_BY_ASIN,
    KEYED_BY_TITLE,
    PRICES,
    QUERIES,
    Products,
    Row,
    asin_key,
    places_of,
    title_key,
)
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, read_json, require
from hiper.trajectory import Task

_PRODUCTS_KEPT = 4096  # parsed; some 10 kB each with the real data
_TITLES_KEPT = 8192

_INDEX_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("dataset", "tagger"), str),
    **dict.fromkeys(("source", "goals", "counts", "splits", "parts"), dict),
    **dict.fromkeys(("queries", "categories"), list),
    "format": int,
}


@dataclass(frozen=True)
class Description:
    """`dataset.json`: `splits` holds the counts of each, `goals` the settings that goals were made with."""

    dataset: str
    source: dict[str, Any]
    goals: dict[str, Any]
    tagger: str
    counts: dict[str, int]
    splits: dict[str, dict[str, Any]]
    queries: list[str]
    categories: list[str]


class Dataset:
    """A data set that is ready to be played; it is the `Catalogue` of `session`.

    One object serves one process: open another in each. Methods raise UserError for rows that turn out to be damaged.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError naming the file that is missing, cut off, or of another benchmark, and what to do.

        Sizes are compared with the index, checksums are not: that would mean reading five gigabytes.
        """
        self.description = describe(folder)
        counts = self.description.counts
        products, goals = counts["products"], counts["goals"]
        self._products = Products(folder, products)
        self._asins = Keys.read(folder / KEYED_BY_ASIN, ASIN_TYPE, products)
        self._titles = Keys.read(folder / KEYED_BY_TITLE, HASH_TYPE, products)
        self._queries = read_array(folder / QUERIES, np.int32, (products,), len(self.description.queries))
        self._categories = read_array(folder / CATEGORIES, np.int32, (products,), len(self.description.categories))
        self._prices = read_array(folder / PRICES, np.float64, (products,))
        self._goals = Lines(folder / GOALS, goals)
        self._goal_table = read_array(folder / GOAL_TABLE, np.int32, (goals, 2), (products, LEFT_OUT + 1))
        self._index = SearchIndex.open(folder / SEARCH_FOLDER, compare_checksums=False)
        self._random = random.Random(0)
        self._row = lru_cache(_PRODUCTS_KEPT)(self._read_row)
        self.nouns = lru_cache(_TITLES_KEPT)(self._read_nouns)

    def tasks(self, split: str) -> list[Task]:
        """The goals of a split, in their order; the task type is the category of the goal's product.

        The id, `<split>/<number of the goal>-<asin>`, sorts like the number.
        """
        numbers = np.flatnonzero(self._goal_table[:, 1] == SPLITS.index(split))
        places = self._goal_table[numbers, 0]
        asins, categories = self._asins.listed()[places], self._categories[places]
        return [
            Task(f"{split}/{number:07}-{asin.decode()}", split, self.description.categories[category])
            for number, asin, category in zip(numbers, asins, categories, strict=True)
        ]

    def goal(self, task: str) -> Goal:
        """The goal with a task's id; UserError for one that is not of this data set."""
        _, _, name = task.partition("/")
        number, _, asin = name.partition("-")
        if number.isdecimal() and int(number) < len(self._goals):
            goal = self.goal_at(int(number))
            if goal.asin == asin:
                return goal
        raise UserError(f"{self._goals.path}: no goal with the id {task[:80]!a}; it is of another data set")

    def goal_at(self, number: int) -> Goal:
        """The goal with a number in the order of the data set, whatever its split."""
        return parse_goal(self._goals[number], f"{self._goals.path}:{number + 1}")

    def product(self, asin: str) -> Product:
        return self._row(asin)[1].product

    def price(self, asin: str) -> float:
        return float(self._prices[self._row(asin)[0]])

    def search(self, keywords: str) -> Sequence[str]:
        """Asins, best first; the index holds the products of the data set and no others."""
        return [asin for asin, _ in self._index.search(keywords)]

    def random_products(self, count: int) -> Sequence[str]:
        """Drawn anew at each call, from a stream that begins with the object."""
        count = min(count, len(self._products))
        return self._names(self._random.sample(range(len(self._products)), count))

    def by_query(self, query: str) -> Sequence[str]:
        return self._names(places_of(self._queries, self.description.queries, query))

    def by_category(self, category: str) -> Sequence[str]:
        return self._names(places_of(self._categories, self.description.categories, category))

    def _names(self, places: Sequence[int]) -> list[str]:
        return [self._products[place].asin for place in places]

    def _read_row(self, asin: str) -> tuple[int, Row]:
        key = asin_key(asin)
        places = [] if key is None else self._asins.find(key)
        if not places:
            raise KeyError(asin)
        return places[0], self._products.row(places[0])

    def _read_nouns(self, title: str) -> tuple[str, ...]:
        """Those of the title of a product; KeyError when no product has it."""
        for place in self._titles.find(title_key(title)):
            row = self._products.row(place)
            if row.product.title == title:
                return row.nouns
        raise KeyError(title)


def describe(folder: Path) -> Description:
    """`dataset.json` of a folder, after comparing the size of every file it lists; UserError as for `Dataset`."""
    path = folder / INDEX_FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; make the data set first (`hiper data repro {folder.name}`)")
    index = require(read_json(path, MAKE_DATA_AGAIN), {}, str(path))
    if (benchmark := index.get("benchmark")) != BENCHMARK:
        raise UserError(f"{path}: `benchmark` = {str(benchmark)[:40]!a}; not a data set of {BENCHMARK}")
    require(index, _INDEX_KINDS, str(path))
    if index["format"] != FORMAT:
        raise UserError(f"{path}: format {index['format']}, and this version reads {FORMAT}; {MAKE_DATA_AGAIN}")
    require(index["counts"], {"products": int, "goals": int, "reachable": int}, f"{path}, counts")
    for name, part in index["parts"].items():
        size = require(part, {"size": int}, f"{path}, parts, {name}")["size"]
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise UserError(f"{file}: {state}; the data set is damaged: {MAKE_DATA_AGAIN}")
    return Description(**{key: index[key] for key in Description.__dataclass_fields__})
