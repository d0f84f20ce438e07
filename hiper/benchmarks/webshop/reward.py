"""The score of a purchase, from 0 to 1, with the parts that make it up; equal to the original's to the last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hiper.benchmarks.webshop.goals import Goal, searched_texts
from hiper.benchmarks.webshop.matching import attribute_matches, option_matches
from hiper.benchmarks.webshop.products import Product

_NO_NOUNS = 0.2  # the title score where the goal's title has no noun


@dataclass(frozen=True, slots=True)
class Reward:
    """`total` and its parts; `r_` are shares met, `w_` the weights of attributes, options and price, which sum to 1.

    total = r_type * (r_att * w_att + r_option * w_option + r_price * w_price), but summed before it is divided.
    r_option and w_option are None when the goal asks for no option.
    """

    total: float
    r_type: float
    r_att: float
    w_att: float
    query_match: bool
    category_match: bool
    title_score: float
    r_option: float | None
    w_option: float | None
    r_price: bool
    w_price: float

    def info(self) -> dict[str, float | bool]:
        """The parts under the original's names; those of options are absent where there are none."""
        options = ("r_option", "w_option") if self.r_option is not None else ()
        names = ("r_type", "r_att", "w_att", "query_match", "category_match", "title_score", *options)
        return {name: getattr(self, name) for name in (*names, "r_price", "w_price")}


def score(
    goal: Goal,
    product: Product,
    chosen: Mapping[str, str],
    price: float,
    goal_nouns: Sequence[str],
    product_nouns: Sequence[str],
) -> Reward:
    """The reward for buying `product` with the `chosen` options (name -> value) at `price` dollars.

    The nouns are those of the goal's and the product's title, lower case, repeats kept.
    """
    r_type, query_match, category_match, title_score = _type(goal, product, goal_nouns, product_nouns)
    texts = searched_texts(product)
    attributes = sum(attribute_matches(wanted, product.attributes, texts) for wanted in goal.attributes)
    wanted_options = goal.wanted_options
    options = sum(any(option_matches(value, wanted) for value in chosen.values()) for wanted in wanted_options)
    r_price = price <= goal.price_upper
    parts = len(goal.attributes) + len(wanted_options) + 1
    return Reward(
        total=(attributes + options + r_price) / parts * r_type,
        r_type=r_type,
        r_att=attributes / len(goal.attributes),
        w_att=len(goal.attributes) / parts,
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
        r_option=options / len(wanted_options) if wanted_options else None,
        w_option=len(wanted_options) / parts if wanted_options else None,
        r_price=r_price,
        w_price=1 / parts,
    )


def _type(
    goal: Goal, product: Product, goal_nouns: Sequence[str], product_nouns: Sequence[str]
) -> tuple[float, bool, bool, float]:
    """How far it is the wanted kind of product. A title without a common noun gives 0, whatever else agrees."""
    query = product.query == goal.query
    category = len(_categories(product.product_category) & _categories(goal.product_category)) >= 2
    title = len(set(goal_nouns) & set(product_nouns)) / len(goal_nouns) if goal_nouns else _NO_NOUNS
    if title == 0:
        return 0.0, query, category, title
    if title < 0.1:
        return 0.1, query, category, title
    return (1.0 if query or category or title > 0.2 else 0.5), query, category, title


@lru_cache(maxsize=1 << 14)
def _categories(path: str) -> frozenset[str]:
    return frozenset(part.strip() for part in path.split("\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"))
