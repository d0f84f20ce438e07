"""The generated shop: what the agent and the reward rely on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from random import Random

import pytest

from hiper.benchmarks.webshop import catalogue
from hiper.benchmarks.webshop.catalogue_words import LINES
from hiper.benchmarks.webshop.goals import Goal, synthetic_goals
from hiper.benchmarks.webshop.nouns import rule_nouns
from hiper.benchmarks.webshop.products import Product, draw_prices, parse_product
from hiper.benchmarks.webshop.reward import score
from hiper.errors import UserError

CATEGORIES = {"beauty", "electronics", "fashion", "garden", "grocery"}
BUTTONS = {"search", "back to search", "next >", "< prev", "description", "features", "reviews", "buy now"}


def parsed(products: int, seed: int) -> list[Product]:
    items, instructions = catalogue.generate(products, seed)
    return [parse_product(item, instructions, f"product {number}") for number, item in enumerate(items)]


@pytest.fixture(scope="module")
def shop() -> list[Product]:
    return parsed(400, 3)


@pytest.fixture(scope="module")
def goals(shop: list[Product]) -> list[Goal]:
    stream = Random(0)
    return synthetic_goals(shop, draw_prices(shop, stream), stream)


def bought(goal: Goal, product: Product, options: dict[str, str]) -> float:
    nouns = rule_nouns(goal.name), rule_nouns(product.title)
    return score(goal, product, options, product.prices[0], *nouns).total


def test_products_follow_from_their_number_and_seed() -> None:
    """Equal numbers give equal products, another seed other ones."""
    assert catalogue.generate(60, 1) == catalogue.generate(60, 1)
    assert catalogue.generate(60, 1)[0] != catalogue.generate(60, 2)[0]


def test_the_shop_is_one_that_the_original_could_have(shop: list[Product]) -> None:
    """Five categories, shared types, prices with and without a range, 0-2 options of 2-4 values, short plain titles."""
    assert {product.category for product in shop} == CATEGORIES
    assert min(Counter(product.query for product in shop).values()) >= 10
    assert {len(product.prices) for product in shop} == {1, 2}
    assert {len(product.options) for product in shop} == {0, 1, 2}
    assert {len(values) for product in shop for values in product.options.values()} == {2, 3, 4}
    assert all(4 <= len(product.title.split()) <= 7 for product in shop)
    assert {len(product.attributes) for product in shop} == {2, 3}
    assert 0.6 < sum(product.instruction is not None for product in shop) / len(shop) < 0.9
    assert all(re.fullmatch(r"[A-Z0-9]{2,10}", product.asin) for product in shop)
    assert len({product.asin for product in shop}) == len(shop)


def test_the_words_are_few(shop: list[Product]) -> None:
    """A model made from scratch has to learn them all."""
    texts = [(*product.bullets, product.title, product.description, product.instruction or "") for product in shop]
    values = [(*product.options, *(value for some in product.options.values() for value in some)) for product in shop]
    words = {word for some in (*texts, *values) for text in some for word in re.findall("[a-z]+", text.lower())}
    assert 150 < len(words) <= 250


def test_every_goal_can_be_reached_by_buying_what_it_asks_for(shop: list[Product], goals: list[Goal]) -> None:
    """The goal's product with the goal's options, at the lower end of its price: reward 1."""
    by_asin = {product.asin: product for product in shop}
    assert len(goals) > 800
    for goal in goals:
        assert isinstance(goal.options, dict)
        assert goal.reachable
        assert bought(goal, by_asin[goal.asin], goal.options) == 1.0


def test_options_and_products_have_to_be_chosen(shop: list[Product], goals: list[Goal]) -> None:
    """Without the options, with another value, or with another product of the type the reward stays below 1."""
    by_asin = {product.asin: product for product in shop}
    by_query = defaultdict(list)
    for product in shop:
        by_query[product.query].append(product)
    for goal in goals[::7]:
        assert isinstance(goal.options, dict)
        product = by_asin[goal.asin]
        for name, wanted in goal.options.items():
            others = [value for value in product.options[name] if value != wanted]
            assert all(bought(goal, product, goal.options | {name: value}) < 1.0 for value in others)
            assert bought(goal, product, {key: goal.options[key] for key in goal.options if key != name}) < 1.0
        rivals = [rival for rival in by_query[goal.query] if rival is not product]
        assert all(bought(goal, rival, goal.options) < 1.0 for rival in rivals)


def test_instructions_and_titles_show_what_tells_a_product_apart(shop: list[Product]) -> None:
    """Both hold every attribute, and no two products of a type have the same ones; the brand is then not needed."""
    identities = {(product.query, frozenset(product.attributes)) for product in shop}
    assert len(identities) == len(shop)
    for product in shop:
        assert all(attribute in product.title for attribute in product.attributes)
        if product.instruction is not None:
            assert all(attribute in product.instruction for attribute in (*product.attributes, product.query))
            assert " from " not in product.instruction


def test_a_large_shop_names_the_brand() -> None:
    """Once a type has more products than sets of attributes, brand and attributes together stay distinct."""
    shop = parsed(1200, 3)
    brands = {(product.query, product.title.split()[0], frozenset(product.attributes)) for product in shop}
    assert len(brands) == len(shop)
    ambiguous = [product for product in shop if product.instruction and product.query == "shampoos"]
    assert ambiguous
    for product in ambiguous:
        assert f" from {product.title.split()[0].lower()}" in str(product.instruction)


def test_no_option_can_be_mistaken_for_a_button_or_another_option() -> None:
    """A click names its target by text alone."""
    for line in LINES:
        values = [value for some in line.options.values() for value in some]
        assert len(set(values)) == len(values)
        assert not BUTTONS & set(values)


def test_more_products_than_there_are_words_for_is_an_error() -> None:
    """The message names the setting and the limit."""
    with pytest.raises(UserError, match=rf"data\.generate\.products = 10000000: .*{catalogue.capacity()}"):
        next(catalogue.draw(10_000_000, 1))
