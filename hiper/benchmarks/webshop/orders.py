"""Which goal has which number: in the original's order, in HiPER's, and in a fixed one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from hiper.benchmarks.webshop.goals import Goal, HumanInstruction, human_goals, synthetic_goals
from hiper.benchmarks.webshop.products import Product, draw_prices

SHUFFLE_SEED = 233  # the original's; in the fixed order also that of prices and caps, which have none there

Instructions = Mapping[str, Sequence[HumanInstruction]]


@dataclass(frozen=True)
class GoalList:
    """Goals in the order of their numbers, and every product's price in dollars by asin."""

    goals: list[Goal]
    prices: dict[str, float]


def original_order(products: Collection[Product], pre_seed: int, human: Instructions | None = None) -> GoalList:
    """The order of WebShop itself; `products` is gone through twice, and no list need be held. `human` asks for
    human goals in place of synthetic ones.

    The original draws prices and caps before it sets a seed, so they differ from run to run; `pre_seed` stands for
    the state it happens to find. Only then it seeds with 233 and shuffles.
    """
    return _ordered(products, pre_seed, SHUFFLE_SEED, human)


def hiper_order(products: Collection[Product], seed: int, human: Instructions | None = None) -> GoalList:
    """The order of HiPER's environment with number `seed`: prices, caps and the shuffle, each begun with this seed.

    As every environment has a seed of its own, one's training goals are another's validation goals.
    """
    return _ordered(products, seed, seed, human)


def fixed_order(products: Collection[Product], human: Instructions | None = None) -> GoalList:
    """The default: prices, caps and the shuffle all begun with seed 233; equal on every machine and in every run."""
    return _ordered(products, SHUFFLE_SEED, SHUFFLE_SEED, human)


def _ordered(products: Collection[Product], draw_seed: int, shuffle_seed: int, human: Instructions | None) -> GoalList:
    random = Random(draw_seed)
    prices: dict[str, float] = {}
    for product in products:
        prices[product.asin] = draw_prices([product], random)[0]
    made = synthetic_goals if human is None else partial(human_goals, instructions=human)
    goals = made(products, prices.values(), random=random)
    Random(shuffle_seed).shuffle(goals)
    return GoalList(goals, prices)
