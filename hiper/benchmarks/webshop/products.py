"""Products of the WebShop data: read one at a time from the raw files, checked here so that nothing later can fail."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Protocol

from hiper.benchmarks.webshop.raw_files import Entries, stream_array
from hiper.errors import UserError

DEFAULT_PRICE = 100.0  # dollars, for a product that names none
NO_ATTRIBUTE = "DUMMY_ATTR"  # what a product without an entry in the instruction file gets
MAX_ASIN = 10  # characters; longer ones mark broken rows in the data

# What may be wrong with an entry of the product file.
NO_ASIN = f"asin nan or longer than {MAX_ASIN} characters"
REPEATED = "asin of an earlier entry"
NO_ENTRY = "no entry in the instruction file"
NO_PRODUCT = "no product for an entry of the instruction file"

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_PRICE = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True)
class Product:
    """One product; every text is valid Unicode, every price a finite number of dollars.

    query: lower case, stripped. prices: one value, or the two ends of a range. price_tag: as the pages show it.
    options: lower-case name -> lower-case values, in the order of the file; a name may have no values.
    instruction: the sentence goals are made from, without options and price; None when the product has no goal, else
    instruction_attributes has at least one entry.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    category: str
    query: str
    product_category: str
    prices: tuple[float, ...]
    price_tag: str
    options: dict[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    instruction: str | None
    instruction_attributes: tuple[str, ...]


class RandomStream(Protocol):
    """What is used of `random.Random`."""

    def uniform(self, a: float, b: float) -> float: ...


def parse_product(raw: Mapping[str, Any], instructions: Mapping[str, Any], where: str) -> Product:
    """One entry of `items_shuffle*.json` with its entry of `items_ins_v2*.json` (asin -> entry).

    An empty or missing `pricing` means 100 dollars, empty `customization_options` mean none, an asin absent from
    `instructions` means no goal. Anything else that lacks or has another type than the original data raises UserError,
    beginning with `where` and naming the product and the field.
    """
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: expected an object with the product's fields, found {type(raw).__name__}")
    asin = _text(raw, "asin", where)
    if not asin:
        raise UserError(f"{where}: `asin` is empty")
    here = f"{where} ({asin})"
    prices, tag = _prices(raw.get("pricing"), here)
    attributes, instruction, wanted = _instruction(instructions.get(asin), here)
    return Product(
        asin=asin,
        title=_text(raw, "name", here),
        description=_text(raw, "full_description", here),
        bullets=_bullets(raw, here),
        category=_text(raw, "category", here),
        query=_text(raw, "query", here).lower().strip(),
        product_category=_text(raw, "product_category", here),
        prices=prices,
        price_tag=tag,
        options=_options(raw, here),
        attributes=attributes,
        instruction=instruction,
        instruction_attributes=wanted,
    )


def read_products(
    items: Path, instructions: Path, limit: int | None = None, counts: Counter[str] | None = None
) -> Iterator[Product]:
    """The products of two raw files (plain or gzip), in file order, read as they are asked for.

    Only the first `limit` entries are looked at; of those, as in the original, entries whose asin is `nan`, longer
    than 10 characters, or a repeat are left out. `counts` is told of them, and of products that no goal can be made of
    (NO_ASIN, REPEATED, NO_ENTRY, in the end NO_PRODUCT). Raises UserError naming file and product.
    """
    known = Entries(instructions)
    seen: set[str] = set()
    counts = Counter() if counts is None else counts
    for number, raw in enumerate(stream_array(items, limit)):
        asin = raw.get("asin") if isinstance(raw, Mapping) else None
        if isinstance(asin, str) and (asin == "nan" or len(asin) > MAX_ASIN or asin in seen):
            counts[REPEATED if asin in seen else NO_ASIN] += 1
            continue
        product = parse_product(raw, known, f"{items}: product {number}")
        counts[NO_ENTRY] += product.asin not in known
        seen.add(product.asin)
        yield product
    counts[NO_PRODUCT] = sum(asin not in seen for asin in known)


def draw_prices(products: Iterable[Product], random: RandomStream) -> list[float]:
    """The price of each product in dollars; one draw of `random.uniform` for each that has a range, in order."""
    return [random.uniform(*product.prices) if len(product.prices) == 2 else product.prices[0] for product in products]


def checked_text(value: Any, what: str) -> str:
    """`value` when it is text that can be written to a file; UserError begins with `what`, which names the field."""
    if not isinstance(value, str):
        raise UserError(f"{what} must be text, found {_kind(value)}")
    if not value.isascii() and (half := _SURROGATE.search(value)):
        raise UserError(f"{what} holds half a surrogate pair at character {half.start()}; mend the text in the file")
    return value


def checked_texts(value: Any, what: str) -> tuple[str, ...]:
    """`value` when it is a list of such texts."""
    if not isinstance(value, list):
        raise UserError(f"{what} must be a list of texts, found {_kind(value)}")
    if all(isinstance(one, str) and one.isascii() for one in value):
        return tuple(value)  # the usual case, without a name for every entry
    return tuple(checked_text(one, f"{what}, entry {number},") for number, one in enumerate(value))


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    if key not in raw:
        raise UserError(f"{where}: no `{key}`")
    return checked_text(raw[key], f"{where}: `{key}`")


def _bullets(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = raw.get("small_description")
    if isinstance(value, list):
        return checked_texts(value, f"{where}: `small_description`")
    return (_text(raw, "small_description", where),)


def _prices(pricing: Any, where: str) -> tuple[tuple[float, ...], str]:
    if pricing is None or pricing == "":
        return (DEFAULT_PRICE,), f"${DEFAULT_PRICE}"
    pieces = checked_text(pricing, f"{where}: `pricing`").split("$")[1:]
    try:
        prices = [float(Decimal(_NOT_PRICE.sub("", piece))) for piece in pieces]
    except InvalidOperation:
        prices = []
    if not prices or not all(math.isfinite(price) for price in prices):
        raise UserError(f"{where}: `pricing` = {pricing[:60]!r} is neither empty nor like `$12.50` or `$10 - $20`")
    if len(prices) == 1:
        return tuple(prices), f"${prices[0]}"
    return tuple(prices[:2]), f"${prices[0]} to ${prices[1]}"


def _options(raw: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    """Lower-cased names and values; of two names that are then equal, the later one's values, as in the original."""
    if "customization_options" not in raw:
        raise UserError(f"{where}: no `customization_options`")
    given = raw["customization_options"]
    if given in (None, "") or given == {}:
        return {}
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: `customization_options` must be an object or empty, found {_kind(given)}")
    options = {}
    for name, entries in given.items():
        what = f"{where}: `customization_options`, option {ascii(name)[:60]},"
        if entries is None:
            continue
        if not isinstance(entries, list):
            raise UserError(f"{what} must be a list or null, found {_kind(entries)}")
        options[checked_text(name, what).lower()] = tuple(_value(entry, what) for entry in entries)
    return options


def _value(entry: Any, what: str) -> str:
    if not isinstance(entry, Mapping) or "value" not in entry:
        raise UserError(f"{what} has an entry without `value`: {ascii(entry)[:60]}")
    return checked_text(entry["value"], f"{what} `value`").strip().replace("/", " | ").lower()


def _instruction(entry: Any, where: str) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Attributes, instruction and its attributes from the entry in the instruction file."""
    if entry is None:
        return (NO_ATTRIBUTE,), None, ()
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: the entry in the instruction file must be an object, found {_kind(entry)}")
    attributes: tuple[str, ...] = (NO_ATTRIBUTE,)
    if "attributes" in entry:
        attributes = checked_texts(entry["attributes"], f"{where}: `attributes` in the instruction file")
    if entry.get("instruction") is None:
        return attributes, None, ()
    instruction = checked_text(entry["instruction"], f"{where}: `instruction`")
    wanted = checked_texts(entry.get("instruction_attributes"), f"{where}: `instruction_attributes`")
    if not wanted:
        raise UserError(f"{where}: has an `instruction` but no `instruction_attributes`; a goal needs at least one")
    return attributes, instruction, wanted
