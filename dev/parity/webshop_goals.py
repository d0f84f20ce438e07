"""Goals and rewards against recordings of the original: its goal lists, HiPER's, and single purchases."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dev.parity.webshop_result import ParityResult, Tally
from hiper.benchmarks.webshop import sources
from hiper.benchmarks.webshop.goals import NO_CAP, Goal, goal_record, parse_goal
from hiper.benchmarks.webshop.orders import GoalList, hiper_order, original_order
from hiper.benchmarks.webshop.products import Product, checked_text, checked_texts, read_products
from hiper.benchmarks.webshop.raw_files import raw_file
from hiper.benchmarks.webshop.reward import score
from hiper.errors import UserError
from hiper.records import require

ITEMS, INSTRUCTIONS = sources.ITEMS["small"], sources.INSTRUCTIONS["small"]
PRE_SEED = 20240601  # the state in which the recorded run of the original was begun

_TEST_GOALS = 500  # of every environment, from its first goal on
_LEAKS = {"overlap_val1006_in_train6": (6,), "overlap_val1006_in_train6_7": (6, 7)}
_NUMBER = (int, float)
_Types = dict[str, type | tuple[type, ...]]
_CASE: _Types = {
    "tag": str,
    "options": dict,
    "price": (*_NUMBER, type(None)),
    "goal_nouns": list,
    "product_nouns": list,
}
_CASE |= {"reward": (*_NUMBER, type(None)), "info": (dict, type(None)), "error": (str, type(None))}
_SEED: _Types = {"n": int, "md5": str, "prices_md5": str, "first40": list, "range_prices": dict}
_BY_SEED: _Types = {"seeds": dict, **dict.fromkeys(_LEAKS, int)}
_REFUSED = {"refused": True}


def recorded_products(data: Path) -> list[Product]:
    """The thousand products of the recordings, from a folder with the raw files, plain or gzipped."""
    return list(read_products(raw_file(data, ITEMS), raw_file(data, INSTRUCTIONS)))


def compare_goal_list(recording: Any, data: Path) -> ParityResult:
    """`{goals, product_prices, cum_weight_total}`: every goal in its place, every price, the sum of the weights."""
    types: _Types = {"goals": list, "product_prices": dict, "cum_weight_total": _NUMBER}
    recording = require(recording, types, "the recorded goal list")
    own = original_order(recorded_products(data), PRE_SEED)
    tally = Tally()
    tally.compare("length", {"goals": len(own.goals)}, {"goals": len(recording["goals"])})
    for number, (goal, original) in enumerate(zip(own.goals, recording["goals"], strict=False)):
        tally.compare(f"goal {number}", _original_fields(goal), require(original, {}, f"recorded goal {number}"))
    for asin in own.prices | recording["product_prices"]:
        tally.compare(f"price of {asin}", _part(own.prices, asin), _part(recording["product_prices"], asin))
    *_, total = itertools.accumulate((goal.weight for goal in own.goals), initial=0.0)
    tally.compare("sum of weights", {"sum": total}, {"sum": recording["cum_weight_total"]})
    return tally.result()


def _part(prices: Mapping[str, float], asin: str) -> dict[str, float]:
    return {"price": prices[asin]} if asin in prices else {}


def _original_fields(goal: Goal) -> dict[str, Any]:
    return {key: value for key, value in goal_record(goal).items() if key != "reachable"}


def compare_hiper_goals(recording: Any, data: Path) -> ParityResult:
    """`{seeds: {seed: {n, md5, prices_md5, first40, range_prices}}, overlap_...}`: five points a seed, and one for
    each count of validation goals that other environments train on."""
    recording = require(recording, _BY_SEED, "the recorded goals by seed")
    products = recorded_products(data)
    tally = Tally()
    for seed, row in recording["seeds"].items():
        if not seed.isdecimal():
            raise UserError(f"the recorded goals by seed: {seed!a} is no seed")
        row = require(row, _SEED, f"recorded seed {seed}")
        own = _by_seed(hiper_order(products, int(seed)), row["range_prices"])
        for key in _SEED:
            tally.compare(f"seed {seed}", {key: own[key]}, {key: row[key]})
    wished = {goal.wish: goal for goal in hiper_order(products, 1006).goals[:_TEST_GOALS]}.keys()
    for key, seeds in _LEAKS.items():
        trained = {goal.wish for seed in seeds for goal in hiper_order(products, seed).goals[_TEST_GOALS:]}
        tally.compare("split", {key: len(wished & trained)}, {key: recording[key]})
    return tally.result()


def _by_seed(own: GoalList, sampled: Mapping[str, Any]) -> dict[str, Any]:
    rows = [[goal.asin, goal.instruction, _cap(goal), goal.options] for goal in own.goals]
    return {
        "n": len(own.goals),
        "md5": _md5(rows),
        "prices_md5": _md5(sorted(own.prices.items())),
        "first40": [_original_fields(goal) for goal in own.goals[:40]],
        "range_prices": {asin: own.prices.get(asin) for asin in sampled},
    }


def _cap(goal: Goal) -> float:
    """The original's "no cap" is a whole number, which JSON writes otherwise."""
    return int(NO_CAP) if goal.price_upper == NO_CAP else goal.price_upper


def _md5(value: Any) -> str:
    return hashlib.md5(json.dumps(value).encode(), usedforsecurity=False).hexdigest()


def compare_reward_cases(recording: Any, data: Path) -> ParityResult:
    """A list of purchases, each with the nouns the original was given: the reward and every part of it.

    Where the original ends in an error, for a goal without attributes or with a cap of 0, that goal must be refused
    when it is read: here no such goal comes to be scored.
    """
    if not isinstance(recording, list):
        raise UserError(f"the recorded rewards: expected a list of cases, found {type(recording).__name__}")
    products = {product.asin: product for product in recorded_products(data)}
    goals = original_order(list(products.values()), PRE_SEED).goals
    tally = Tally()
    for number, row in enumerate(recording):
        case = require(row, _CASE, f"recorded case {number}")
        original = {"reward": case["reward"], **(case["info"] or {})} if case["error"] is None else _REFUSED
        tally.compare(f"case {number} ({case['tag']})", _rewarded(case, number, goals, products), original)
    return tally.result()


def _rewarded(
    case: Mapping[str, Any], number: int, goals: list[Goal], products: Mapping[str, Product]
) -> Mapping[str, Any]:
    where = f"recorded case {number}"
    product = _bought(case, where, products)
    nouns = [checked_texts(case[key], f"{where}: `{key}`") for key in ("goal_nouns", "product_nouns")]
    chosen = {name: checked_text(value, f"{where}: option {name!a}") for name, value in case["options"].items()}
    index = case.get("goal_idx")
    if index is not None and not (isinstance(index, int) and 0 <= index < len(goals)):
        raise UserError(f"{where}: `goal_idx` = {index!a} is no number of a goal")
    try:
        goal = goals[index] if index is not None else parse_goal(case.get("goal"), where)
    except UserError:
        return _REFUSED
    if case["price"] is None:
        return _REFUSED
    reward = score(goal, product, chosen, case["price"], *nouns)
    return {"reward": reward.total, **reward.info()}


def _bought(case: Mapping[str, Any], where: str, products: Mapping[str, Product]) -> Product:
    asin = case.get("asin")
    if not isinstance(asin, str) or asin not in products:
        raise UserError(f"{where}: {asin!a} is none of the recorded products")
    if case.get("product") is None:
        return products[asin]
    types: _Types = {"Title": str, "query": str, "product_category": str, "Description": str}
    types |= {"Attributes": list, "BulletPoints": list}
    given = require(case["product"], types, f"{where}, `product`")
    return replace(
        products[asin],
        title=given["Title"],
        query=given["query"],
        product_category=given["product_category"],
        description=given["Description"],
        attributes=checked_texts(given["Attributes"], f"{where}: `Attributes`"),
        bullets=checked_texts(given["BulletPoints"], f"{where}: `BulletPoints`"),
    )
