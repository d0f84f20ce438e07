"""What the customer wants: goals made from products (synthetic) or from sentences that people wrote (human)."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from hiper.benchmarks.webshop.matching import attribute_matches, option_matches
from hiper.benchmarks.webshop.products import Product, checked_text, checked_texts
from hiper.benchmarks.webshop.raw_files import Entries
from hiper.errors import UserError

NO_CAP = 1_000_000.0  # dollars: the goal names no price
BUTTONS = frozenset(("search", "back to search", "< prev", "description", "features", "reviews", "buy now"))
PRICE_CAPS = tuple(10.0 * step for step in range(1, 100))


@dataclass(frozen=True, slots=True)
class Goal:
    """One wish, made from the product `asin`; the fields up to `product_category` are that product's.

    attributes: at least one. price_upper: dollars, above 0. options: name -> value (synthetic) or values (human).
    weight: how often a session without a number draws it, relative to the others. reachable: whether its own product
    with some choice of its options meets everything asked for, so that a reward of 1 can be had without another.
    """

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    price_upper: float
    options: dict[str, str] | tuple[str, ...]
    weight: float
    reachable: bool

    @property
    def wanted_options(self) -> tuple[str | tuple[str, str], ...]:
        """The options as the reward compares them."""
        return tuple(self.options.items()) if isinstance(self.options, dict) else self.options

    @property
    def wish(self) -> tuple[str, tuple[str | tuple[str, str], ...]]:
        """Product and options: goals that agree in it ask for the same purchase."""
        return self.asin, self.wanted_options


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """A sentence that a person wrote about a product; `attributes` may be empty, then it makes no goal."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]


def synthetic_goals(products: Iterable[Product], prices: Iterable[float], random: Random) -> list[Goal]:
    """One goal for each combination of option values of each product with an instruction, in product order.

    `prices` go with the products. One price cap a product is drawn from `random`; the last option name varies fastest.
    """
    goals: list[Goal] = []
    holders: Counter[str] = Counter()
    for product, price in zip(products, prices, strict=True):
        if product.instruction is None:
            continue
        cap, cap_text = _price_cap(price, random)
        names = sorted(product.options)
        reach = _Reach(product, product.instruction_attributes)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            listed = ", and ".join(f"{name}: {value}" for name, value in options.items())
            text = f"{product.instruction}{' with ' + listed if listed else ''}{cap_text}"
            reachable = price <= cap and reach.has(tuple(options.items()))
            goals.append(_goal(product, text, product.instruction_attributes, cap, options, reachable))
            holders.update(product.instruction_attributes)
    return [replace(goal, weight=_weight(goal.attributes, holders)) for goal in goals]


def human_goals(
    products: Iterable[Product],
    prices: Iterable[float],
    instructions: Mapping[str, Sequence[HumanInstruction]],
    random: Random,
) -> list[Goal]:
    """One goal for each instruction with attributes, in product order; every one draws a price cap of its own."""
    goals = []
    for product, price in zip(products, prices, strict=True):
        for one in instructions.get(product.asin, ()):
            if not one.attributes:
                continue
            cap, cap_text = _price_cap(price, random)
            reachable = price <= cap and _Reach(product, one.attributes).has(one.options)
            goals.append(_goal(product, one.text.strip(".") + cap_text, one.attributes, cap, one.options, reachable))
    return goals


def read_human_instructions(path: Path) -> dict[str, tuple[HumanInstruction, ...]]:
    """`items_human_ins.json`: asin -> instructions; UserError names file, asin and field."""
    read = {}
    for asin, rows in Entries(path).items():
        where = f"{path}: {asin!a}"
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{where}: expected a list of instructions, each an object")
        read[asin] = tuple(_human(row, f"{where}, instruction {number}") for number, row in enumerate(rows))
    return read


def _human(row: Mapping[str, Any], where: str) -> HumanInstruction:
    return HumanInstruction(
        checked_text(row.get("instruction"), f"{where}: `instruction`"),
        checked_texts(row.get("instruction_attributes"), f"{where}: `instruction_attributes`"),
        checked_texts(row.get("instruction_options"), f"{where}: `instruction_options`"),
    )


def goal_record(goal: Goal) -> dict[str, Any]:
    """The goal as JSON, under the original's names and in its order, with `reachable` added."""
    return {
        "asin": goal.asin,
        "category": goal.category,
        "query": goal.query,
        "name": goal.name,
        "product_category": goal.product_category,
        "instruction_text": goal.instruction,
        "attributes": list(goal.attributes),
        "price_upper": goal.price_upper,
        "goal_options": dict(goal.options) if isinstance(goal.options, dict) else list(goal.options),
        "weight": goal.weight,
        "reachable": goal.reachable,
    }


def parse_goal(row: Any, where: str) -> Goal:
    """A goal from `goal_record`, or from the original's lists, where `reachable` and `weight` may be missing (then
    True and 1). UserError, beginning with `where`, for what could not be rewarded: no attribute, no price above 0."""
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: expected an object with the goal's fields, found {type(row).__name__}")
    options = row.get("goal_options")
    if isinstance(options, Mapping):
        pairs = {checked_text(key, f"{where}: `goal_options`"): value for key, value in options.items()}
        chosen: Any = {key: checked_text(value, f"{where}: `goal_options`, {key!a},") for key, value in pairs.items()}
    else:
        chosen = checked_texts(options, f"{where}: `goal_options`")
    attributes = checked_texts(row.get("attributes"), f"{where}: `attributes`")
    if not attributes:
        raise UserError(f"{where}: `attributes` is empty; a goal needs at least one")
    texts = ("asin", "category", "query", "name", "product_category", "instruction_text")
    price, weight = (_positive(row.get(key, 1.0), f"{where}: `{key}`") for key in ("price_upper", "weight"))
    reachable = row.get("reachable", True)
    if not isinstance(reachable, bool):
        raise UserError(f"{where}: `reachable` must be true or false")
    asin, category, query, name, kind, text = (checked_text(row.get(key), f"{where}: `{key}`") for key in texts)
    return Goal(asin, category, query, name, kind, text, attributes, price, chosen, weight, reachable)


def _positive(value: Any, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise UserError(f"{what} must be a number above 0, found {value!a}")


def _goal(product: Product, text: str, attributes: tuple[str, ...], cap: float, options: Any, reachable: bool) -> Goal:
    place = (product.asin, product.category, product.query, product.title, product.product_category)
    return Goal(*place, text, attributes, cap, options, 1.0, reachable)


def _price_cap(price: float, random: Random) -> tuple[float, str]:
    """The upper one of two drawn from the four next multiples of ten dollars, and what the instruction says of it."""
    above = [cap for cap in PRICE_CAPS if cap > price][:4]
    if len(above) < 2:
        return NO_CAP, ""
    cap = max(random.sample(above, 2))
    return cap, f", and price lower than {cap:.2f} dollars"


def _weight(attributes: Sequence[str], holders: Mapping[str, int]) -> float:
    return sum(1.0 / holders[attribute] for attribute in attributes) / len(attributes)


class _Reach:
    """What one product can satisfy of goals that ask for the same attributes. The title is taken to match itself."""

    def __init__(self, product: Product, attributes: Sequence[str]) -> None:
        texts = searched_texts(product)
        self._attributes = all(attribute_matches(wanted, product.attributes, texts) for wanted in attributes)
        # A value that several options have sets the last of them.
        self._names = {value: name for name, values in product.options.items() for value in values if clickable(value)}

    def has(self, wanted: Sequence[str | tuple[str, str]]) -> bool:
        if not self._attributes:
            return False
        direct = (self._names.get(one[1]) == one[0] and option_matches(one[1], one) for one in wanted)
        if not any(isinstance(one, str) for one in wanted) and all(direct):
            return True
        satisfied: defaultdict[str, set[frozenset[int]]] = defaultdict(set)
        for value, name in self._names.items():
            satisfied[name].add(frozenset(i for i, one in enumerate(wanted) if option_matches(value, one)))
        reached = {frozenset[int]()}
        for choices in satisfied.values():
            reached = {before | choice for before in reached for choice in choices}
        return frozenset(range(len(wanted))) in reached


def searched_texts(product: Product) -> tuple[str, str, str]:
    """The texts in which the reward looks for a wanted attribute."""
    return product.title.lower(), " ".join(product.bullets).lower(), product.description.lower()


def clickable(value: str) -> bool:
    """Whether an action `click[value]` chooses the value: its form allows neither `[` nor a line break in it, and a
    button of the page goes before an option that is called like it."""
    return bool(value) and "[" not in value and "\n" not in value and value not in BUTTONS
