"""A small shop made here, in the schema of WebShop's own files, for machines without them and for quick experiments.

Short titles, few words, but the original's structure: five categories, products that share a type and differ in the
attributes their titles show, options, single prices and ranges, and an instruction that asks for the attributes which
tell a product from the others of its type. All text is this project's own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import Any

from hiper.benchmarks.webshop.catalogue_words import BRANDS, BULLETS, INSTRUCTIONS, LINES, PRICES, USES, Line
from hiper.errors import UserError

WANTED = 0.75  # share of the products that have an instruction; the others are there to be told from them
RANGE = 0.15  # share of the products whose price depends on the options, so that the page shows a range
OPTION_COUNTS = (0, 1, 1, 2, 2)  # how many options a product has; drawn uniformly

_ASIN_SIGNS = "BCDFGHJKLMNPQRSTVWXZ23456789"  # no vowels, so no words; nothing that looks like another sign
_TYPES = tuple((line, singular) for line in LINES for singular in line.types)


def generate(products: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """What `items_shuffle*.json` (a list) and `items_ins_v2*.json` (asin -> entry) would hold; see `draw`."""
    items, instructions = [], {}
    for item, instruction in draw(products, seed):
        items.append(item)
        instructions[item["asin"]] = instruction
    return items, instructions


def draw(products: int, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each product's entry in the two raw files, one product at a time; all follows from the two numbers.

    The types take turns. Within a type no two products have the same brand and attributes; as long as they have
    different attributes, instructions do not name the brand. Raises UserError for more products than there are words.
    """
    if products > (most := capacity()):
        raise UserError(f"data.generate.products = {products}: the generated catalogue has {most} products at most")
    asins = _asins(products, seed)
    for number, asin in enumerate(asins):
        place, row = number % len(_TYPES), number // len(_TYPES)
        brand, attributes = _identity(place, row, seed)
        ambiguous = (products - 1 - place) // len(_TYPES) >= len(_attribute_sets(place))
        yield _product(asin, place, brand, attributes, ambiguous, random.Random(f"{seed}/product/{number}"))


def capacity() -> int:
    """The largest number of products that `draw` can tell apart while the types take turns."""
    return len(_TYPES) * len(BRANDS) * min(len(_attribute_sets(place)) for place in range(len(_TYPES)))


def _asins(products: int, seed: int) -> list[str]:
    """Distinct names that begin with B like the real ones, as short as leaves three of four unused."""
    signs = 2
    while len(_ASIN_SIGNS) ** signs < 4 * products:
        signs += 1
    numbers = random.Random(f"{seed}/asins").sample(range(len(_ASIN_SIGNS) ** signs), products)
    return ["B" + _spelt(number, signs) for number in numbers]


def _spelt(number: int, signs: int) -> str:
    text = ""
    for _ in range(signs):
        number, rest = divmod(number, len(_ASIN_SIGNS))
        text += _ASIN_SIGNS[rest]
    return text


@cache
def _attribute_sets(place: int) -> tuple[tuple[str, ...], ...]:
    """All products of a type have equally many attributes, two or three, so that no set contains another."""
    line, _ = _TYPES[place]
    return tuple(combinations(line.attributes, 2 + place % 2))


@cache
def _shuffled(place: int, seed: int) -> list[tuple[str, ...]]:
    sets = _attribute_sets(place)
    return random.Random(f"{seed}/type/{place}").sample(sets, len(sets))


def _identity(place: int, row: int, seed: int) -> tuple[str, tuple[str, ...]]:
    """Brand and attributes of the product `row` of a type: every set once, then every set with its next brand."""
    lap, index = divmod(row, len(_attribute_sets(place)))
    brand = random.Random(f"{seed}/brand/{place}/{index}").sample(BRANDS, len(BRANDS))[lap]
    return brand, _shuffled(place, seed)[index]


def _product(
    asin: str, place: int, brand: str, attributes: tuple[str, ...], ambiguous: bool, stream: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    line, singular = _TYPES[place]
    shown = stream.sample(attributes, len(attributes))
    item = {
        "asin": asin,
        "name": f"{brand} {' '.join(shown)} {singular}",
        "full_description": f"This {singular} is made by {brand} for {stream.choice(USES)}.",
        "small_description": stream.sample(BULLETS, stream.randint(2, 3)),
        "pricing": _pricing(stream),
        "customization_options": _options(line, stream),
        "category": line.category,
        "query": line.types[singular],
        "product_category": f"{line.label} › {line.types[singular].capitalize()}",
        "images": [""],
        "average_rating": "",
        "page": 1,
    }
    entry: dict[str, Any] = {"attributes": list(attributes)}
    wanted = stream.random() < WANTED
    sentence = stream.choice(INSTRUCTIONS).format(
        " ".join((*stream.sample(attributes, len(attributes)), line.types[singular]))
    )
    if wanted:
        entry["instruction"] = f"{sentence} from {brand.lower()}" if ambiguous else sentence
        entry["instruction_attributes"] = list(attributes)
    return item, entry


def _pricing(stream: random.Random) -> str:
    index = stream.randrange(len(PRICES) - 1)
    low, high = PRICES[index : index + 2]
    return f"${low} - ${high}" if stream.random() < RANGE else f"${low}"


def _options(line: Line, stream: random.Random) -> dict[str, list[dict[str, str]]] | str:
    """Like the original, an empty text where there are none. Names and values keep the order of the line's lists."""
    names = set(stream.sample(list(line.options), stream.choice(OPTION_COUNTS)))
    options = {}
    for name, values in line.options.items():
        if name in names:
            offered = set(stream.sample(values, stream.randint(2, min(4, len(values)))))
            options[name.capitalize()] = [{"value": value} for value in values if value in offered]
    return options or ""
