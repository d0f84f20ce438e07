"""The shop that recordings were made in: the original's small product set, found and held in memory."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from dev.parity.recordings import places, read_recording
from dev.parity.webshop_goals import INSTRUCTIONS, ITEMS, PRE_SEED, recorded_products
from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.orders import SHUFFLE_SEED, GoalList, hiper_order, original_order
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.raw_files import raw_file
from hiper.benchmarks.webshop.search import SearchIndex, build_index, document_text
from hiper.errors import UserError
from hiper.records import require

Types = dict[str, type | tuple[type, ...]]  # fields and the types of their values

FOLDER_VARIABLE = "WEBSHOP_DATA"
_CACHED_QUERIES = 4096


class Stock:
    """The products of a folder with the raw files, their search index, and their goals in the recorded orders."""

    def __init__(self, folder: Path) -> None:
        self.products = recorded_products(folder)
        self.by_asin = {product.asin: product for product in self.products}
        self._temporary = TemporaryDirectory(prefix="hiper-index-")
        index = Path(self._temporary.name) / "index"
        build_index(((product.asin, document_text(product)) for product in self.products), index)
        self._index = SearchIndex.open(index)
        self.search = lru_cache(_CACHED_QUERIES)(self._search)
        self.hiper_order = cache(lambda seed: hiper_order(self.products, seed))

    @cached_property
    def original_order(self) -> GoalList:
        return original_order(self.products, PRE_SEED)

    def _search(self, keywords: str) -> tuple[str, ...]:
        return tuple(asin for asin, _ in self._index.search(keywords) if asin in self.by_asin)


class RecordedShop:
    """The `session.Catalogue` of one recorded environment: its goals and prices, and title nouns from recordings."""

    def __init__(self, stock: Stock, goals: GoalList, nouns: Mapping[str, Sequence[str]]) -> None:
        self._stock = stock
        self._prices = goals.prices
        self._nouns = nouns
        self._goals = goals.goals
        self.search = stock.search
        # What the original draws between its shuffle and the first step: the name of a session and its goal.
        self._random = Random(SHUFFLE_SEED)
        self._random.shuffle(list(self._goals))
        self._random.choices(string.ascii_lowercase, k=10)
        self._random.random()

    def goal(self, number: int) -> Goal:
        if not 0 <= number < len(self._goals):
            raise UserError(f"the recording names goal {number}; there are {len(self._goals)}")
        return self._goals[number]

    def product(self, asin: str) -> Product:
        return self._stock.by_asin[asin]

    def price(self, asin: str) -> float:
        return self._prices[asin]

    def nouns(self, title: str) -> Sequence[str]:
        if title not in self._nouns:
            raise UserError(f"the recorded title nouns lack the title {title!a}; use those of the same recordings")
        return self._nouns[title]

    def random_products(self, count: int) -> list[str]:
        return [product.asin for product in self._random.sample(self._stock.products, count)]

    def by_query(self, query: str) -> list[str]:
        return [product.asin for product in self._stock.products if product.query == query]

    def by_category(self, category: str) -> list[str]:
        return [product.asin for product in self._stock.products if product.category == category]


@dataclass(frozen=True)
class Recording:
    """A recording's content, and the way to what it was made with. `data`: see `parity.compare_recording`."""

    file: Path
    content: Any
    data: Path | None

    def rows(self, types: Types) -> Iterator[dict[str, Any]]:
        """The elements of a recorded list, which must be objects with fields of these types."""
        for number, row in enumerate(self.content):
            yield require(row, types, f"{self.file}: entry {number}")

    def steps(self, number: int, types: Types) -> Iterator[dict[str, Any]]:
        """The steps of entry `number`."""
        for turn, step in enumerate(self.content[number]["steps"], start=1):
            yield require(step, types, f"{self.file}: entry {number}, step {turn}")

    def folder(self) -> Path:
        """The folder with the product files; UserError when they are nowhere."""
        parent = self.file.resolve().parent
        around = (parent / "data" / "webshop", parent.parent.parent / "data" / "webshop")
        looked = places(self.data, FOLDER_VARIABLE, "webshop", around)
        for place in looked:
            if _has(place, ITEMS) and _has(place, INSTRUCTIONS):
                return place.resolve()
        where = f"{self.data} or a folder in it" if self.data else ", ".join(map(str, looked)) or "the usual places"
        raise UserError(
            f"{self.file}: was made with {ITEMS} and {INSTRUCTIONS}, plain or .gz, which are not in {where}; "
            f"give --data DIR or set {FOLDER_VARIABLE}"
        )

    def stock(self) -> Stock:
        return _stock(self.folder())

    def nouns(self) -> dict[str, list[str]]:
        """The title nouns that its rewards were made with: the JSON file, whatever its name, that has their form.

        It may lie beside the recording, among the product files, or where recordings lie beside a folder of data sets.
        """
        products = self.folder()
        for folder in (self.file.resolve().parent, products, products.parent.parent / "golden" / "webshop"):
            siblings = [path for path in folder.glob("*") if path.name.endswith((".json", ".json.gz"))]
            for path in sorted(siblings, key=lambda path: ("nouns" not in path.name, path.name)):
                if (found := _noun_lists(path)) is not None:
                    return found
        raise UserError(
            f"{self.file}: the title nouns that its rewards were made with are missing; put the recording of them "
            "(title -> list of nouns) beside it"
        )


def is_noun_lists(content: Any) -> bool:
    """Title -> list of words."""
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in content.values())


def _noun_lists(path: Path) -> dict[str, list[str]] | None:
    try:
        content = read_recording(path)
    except UserError:
        return None  # what lies beside a recording need not be one
    return content if is_noun_lists(content) else None


def _has(folder: Path, name: str) -> bool:
    try:
        raw_file(folder, name)
    except UserError:
        return False
    return True


@lru_cache(maxsize=1)
def _stock(folder: Path) -> Stock:
    return Stock(folder)
