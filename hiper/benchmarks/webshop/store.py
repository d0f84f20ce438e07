"""Products on disk: rows that are parsed when they are looked at, and small arrays to find them by.

A product's place is its position in the raw file. Beside `products.jsonl`: `products.asin.*` and `products.title.*`
(the places of a key), `products.query.npy` and `products.category.npy` (numbers of names), `prices.npy` (dollars).
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hiper.benchmarks.webshop.lines import Keys, Lines, write_array, write_lines
from hiper.benchmarks.webshop.products import MAX_ASIN, Product
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, require

PRODUCTS = "products.jsonl"
QUERIES = "products.query.npy"
CATEGORIES = "products.category.npy"
PRICES = "prices.npy"
KEYED_BY_ASIN = "products.asin"
KEYED_BY_TITLE = "products.title"
ASIN_TYPE = np.dtype(f"S{MAX_ASIN}")
HASH_TYPE = np.dtype(np.uint64)

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("asin", "title", "description", "category", "query", "product_category", "price_tag"), str),
    **dict.fromkeys(("bullets", "prices", "attributes", "instruction_attributes", "nouns"), list),
    "options": dict,
    "instruction": (str, type(None)),
}
_FIELDS = tuple(Product.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Row:
    """A product as it is kept; `nouns` are its title's, as the reward compares them."""

    product: Product
    nouns: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """The distinct queries and categories, numbered in the order in which the products bring them up."""

    queries: list[str]
    categories: list[str]


class Products(Sequence[Product]):
    """All products in order; each is parsed anew, so iterating holds one at a time."""

    def __init__(self, folder: Path, length: int) -> None:
        self._lines = Lines(folder / PRODUCTS, length)

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Product: ...
    @overload
    def __getitem__(self, index: slice) -> list[Product]: ...
    def __getitem__(self, index: int | slice) -> Product | list[Product]:
        if isinstance(index, slice):
            return [self.row(number).product for number in range(*index.indices(len(self)))]
        return self.row(index).product

    def __iter__(self) -> Iterator[Product]:
        for number, line in enumerate(self._lines):
            yield self._row(line, number).product

    def row(self, place: int) -> Row:
        return self._row(self._lines[place], place)

    def _row(self, line: Any, place: int) -> Row:
        where = f"{self._lines.path}:{place + 1}"
        if not isinstance(line, dict):
            raise UserError(f"{where}: holds no product; {MAKE_DATA_AGAIN}")
        values = dict(require(line, _KINDS, where))
        nouns = tuple(values.pop("nouns"))
        for key, kind in _KINDS.items():
            if kind is list and key in values:
                values[key] = tuple(values[key])
        values["options"] = {name: tuple(choices) for name, choices in values["options"].items()}
        try:
            return Row(Product(**values), nouns)
        except TypeError:
            raise UserError(f"{where}: has fields that no product has; {MAKE_DATA_AGAIN}") from None


def write_products(
    folder: Path, products: Iterable[Product], nouns: Callable[[Iterable[str]], Iterator[list[str]]]
) -> tuple[int, Names]:
    """Write everything about the products but their prices, keeping none of them; returns how many there were.

    `nouns` gives those of each title.
    """
    tables = _Tables()
    ahead, products = tee(products)  # a tagger may work on some hundred titles at once
    rows = zip(products, nouns(product.title for product in ahead), strict=True)
    count = write_lines(folder / PRODUCTS, (tables.added(product, found) for product, found in rows))
    Keys.write(folder / KEYED_BY_ASIN, np.frombuffer(bytes(tables.asins), ASIN_TYPE))
    Keys.write(folder / KEYED_BY_TITLE, np.asarray(tables.titles, HASH_TYPE))
    write_array(folder / QUERIES, np.asarray(tables.queries.numbers, np.int32))
    write_array(folder / CATEGORIES, np.asarray(tables.categories.numbers, np.int32))
    return count, Names(list(tables.queries.names), list(tables.categories.names))


def title_key(title: str) -> np.uint64:
    """Eight bytes of a hash: titles that share one are told apart by reading them."""
    return np.uint64(int.from_bytes(hashlib.blake2b(title.encode(), digest_size=8).digest(), "little"))


def asin_key(asin: str) -> bytes | None:
    """None for what is no asin of any product."""
    try:
        key = asin.encode("ascii")
    except UnicodeEncodeError:
        return None
    return key if 0 < len(key) <= MAX_ASIN and b"\0" not in key else None


class _Numbered:
    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.numbers = array("i")

    def add(self, name: str) -> None:
        self.numbers.append(self.names.setdefault(name, len(self.names)))


class _Tables:
    """What is kept of each product while the file is written: thirty bytes or so."""

    def __init__(self) -> None:
        self.asins = bytearray()
        self.titles = array("Q")
        self.queries, self.categories = _Numbered(), _Numbered()

    def added(self, product: Product, nouns: list[str]) -> dict[str, Any]:
        key = asin_key(product.asin)
        if key is None:
            raise UserError(f"product {product.asin!a}: an asin must be ASCII text of up to {MAX_ASIN} characters")
        self.asins += key.ljust(MAX_ASIN, b"\0")
        self.titles.append(int(title_key(product.title)))
        self.queries.add(product.query)
        self.categories.add(product.category)
        return {**{field: getattr(product, field) for field in _FIELDS}, "nouns": nouns}


def places_of(numbers: npt.NDArray[np.int32], names: Sequence[str], name: str) -> list[int]:
    """The places whose number is that of `name`, ascending."""
    if name not in names:
        return []
    return [int(place) for place in np.flatnonzero(numbers == names.index(name))]
