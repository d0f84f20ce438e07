"""What goals are made from products, which of them can be met, and in which order they come."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webshop_rows import options, product, raw_instruction

from hiper.benchmarks.webshop.goals import (
    NO_CAP,
    Goal,
    HumanInstruction,
    goal_record,
    human_goals,
    parse_goal,
    read_human_instructions,
    synthetic_goals,
)
from hiper.benchmarks.webshop.orders import (
    fixed_order,
    hiper_order,
    original_order,
)
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.session import Session
from hiper.errors import UserError

SHOES = product("S", customization_options=options(Size=["8", "9"], Color=["navy", "coal"]))
SOCKS = product("T", customization_options="", pricing="$985.00")
RANGED = product("R", raw_instruction(instruction_attributes=["rubber sole"]), pricing="$12 - $300")
UNASKED = product("U", {"attributes": ["rubber sole"]})
SHOP = [SHOES, UNASKED, RANGED, SOCKS]


def test_a_goal_is_made_for_every_combination_of_option_values() -> None:
    """Names sorted, the last one fastest; one price cap for the whole product, and both in the sentence."""
    goals = synthetic_goals([UNASKED, SHOES], [1.0, 25.5], Random(5))
    pairs = [("navy", "8"), ("navy", "9"), ("coal", "8"), ("coal", "9")]
    assert [goal.options for goal in goals] == [{"color": color, "size": size} for color, size in pairs]
    cap = max(Random(5).sample([30.0, 40.0, 50.0, 60.0], 2))
    assert {goal.price_upper for goal in goals} == {cap}
    assert (
        goals[1].instruction == f"Find me shoes with color: navy, and size: 9, and price lower than {cap:.2f} dollars"
    )


@pytest.mark.parametrize(("price", "capped"), [(969.99, True), (979.99, True), (980.0, False), (5000.0, False)])
def test_a_price_near_the_largest_cap_gets_none(price: float, capped: bool) -> None:
    """Fewer than two multiples of ten below 1000 dollars are left to draw from; then nothing is drawn."""
    stream = Random(1)
    goal = synthetic_goals([SOCKS], [price], stream)[0]
    assert (goal.price_upper < NO_CAP) is capped
    assert goal.price_upper > price
    assert ("price lower" in goal.instruction) is capped
    assert (stream.getstate() != Random(1).getstate()) is capped


def test_a_goal_with_rare_attributes_weighs_more() -> None:
    """The mean over its attributes of one over the number of goals that have them."""
    goals = synthetic_goals([SHOES, RANGED], [25.5, 20.0], Random(0))
    counts = Counter(attribute for goal in goals for attribute in goal.attributes)
    assert counts == {"rubber sole": 8, "arch support": 4}
    assert [goal.weight for goal in goals] == [(1 / 8 + 1 / 4) / 2] * 4 + [1 / 8] * 4


def test_human_goals_draw_a_cap_each_and_keep_their_options_as_a_list() -> None:
    """Full stops at the end give way to the price; an instruction without attributes makes no goal."""
    one = HumanInstruction("i want shoes..", ("rubber sole",), ("navy", "8"))
    instructions = {"S": [one, HumanInstruction("nothing", (), ()), one], "absent": [one]}
    goals = human_goals([UNASKED, SHOES], [1.0, 25.5], instructions, Random(3))
    stream = Random(3)
    caps = [max(stream.sample([30.0, 40.0, 50.0, 60.0], 2)) for _ in range(2)]
    assert [goal.instruction for goal in goals] == [
        f"i want shoes, and price lower than {cap:.2f} dollars" for cap in caps
    ]
    assert [(goal.options, goal.weight, goal.reachable) for goal in goals] == [(("navy", "8"), 1.0, True)] * 2


class Shelf:
    """A shop of one product, at this price."""

    def __init__(self, made: Product, price: float) -> None:
        self.made, self.paid = made, price

    def product(self, asin: str) -> Product:
        return self.made

    def price(self, asin: str) -> float:
        return self.paid

    def search(self, keywords: str) -> list[str]:
        return [self.made.asin]

    def nouns(self, title: str) -> list[str]:
        return ["x"]

    def random_products(self, count: int) -> list[str]:
        return []

    by_query = by_category = search


def best_purchase(goal: Goal, shelf: Shelf) -> float:
    """The best score of all ways to click a value, or none, of each option before buying."""
    best = 0.0
    for values in itertools.product(*([None, *listed] for listed in shelf.made.options.values())):
        session = Session(shelf, goal)
        clicks = [f"click[{value}]" for value in values if value is not None]
        for action in ("search[x]", f"click[{goal.asin.lower()}]", *clicks, "click[buy now]"):
            best = max(best, session.step(action).reward)
    return best


BUTTON_NAMES = ("search", "Buy Now", "description", "reviews", "< Prev", "back to search", "next >")
ODD_VALUES = ("a[b]", "a]b]", "", "x\ny", "a/b", " RED ", "\u0130x", "\u00a0", "<b>", "click[8]", '"8"', "x\u200by")
VALUES = st.sampled_from(
    ["red", "dark red", "8", "9", "xl", "tan", "tangerine", "coal grey", *ODD_VALUES, *BUTTON_NAMES]
)
OPTIONS = st.dictionaries(st.sampled_from(["a", "b", "A"]), st.lists(VALUES, max_size=3), max_size=3)
PRICES = st.sampled_from([5.0, 970.0, 985.0, NO_CAP, 2 * NO_CAP])
ATTRIBUTES = st.lists(st.sampled_from(["rubber sole", "Rubber Sole", "wash", "arch", " "]), min_size=1, max_size=2)


@settings(max_examples=300)
@given(OPTIONS, st.none() | st.lists(VALUES, max_size=3), PRICES, ATTRIBUTES)
def test_a_goal_is_reachable_when_some_purchase_of_its_product_scores_1(
    values: dict[str, list[str]], human: list[str] | None, price: float, attributes: list[str]
) -> None:
    """Found by making every purchase in the shop: a value of several options sets the last of them, a button of the
    page goes before an option of its name, and no cap is high enough for some prices."""
    made = product("P", raw_instruction(instruction_attributes=attributes), customization_options=options(**values))
    if human is None:
        goals = synthetic_goals([made], [price], Random(0))
    else:
        wish = HumanInstruction("x", tuple(attributes), tuple(human))
        goals = human_goals([made], [price], {"P": [wish]}, Random(0))
    for goal in goals:
        assert goal.reachable is (best_purchase(goal, Shelf(made, price)) == 1.0)


def test_the_colours_of_synthetic_goals_can_be_out_of_reach() -> None:
    """The chosen value becomes its colour, the wanted pair does not; a human goal's value does as well."""
    made = product("P", customization_options=options(flavour=["tangerine soda"]))
    assert [goal.reachable for goal in synthetic_goals([made], [5.0], Random(0))] == [False]
    human = {"P": [HumanInstruction("x", ("rubber sole",), ("tangerine soda",))]}
    assert [goal.reachable for goal in human_goals([made], [5.0], human, Random(0))] == [True]


@pytest.mark.parametrize("value", ["a [b", "two\nlines", "", "search", "buy now", "< prev", "features"])
def test_a_value_that_no_click_can_name_makes_its_goal_unreachable(value: str) -> None:
    """The form of an action has no room for it, or takes it for something else."""
    made = product("P", customization_options=options(size=[value, "8"]))
    assert [goal.reachable for goal in synthetic_goals([made], [5.0], Random(0))] == [False, True]


def test_attributes_that_the_product_lacks_make_its_goals_unreachable() -> None:
    """Neither among its attributes nor in its texts."""
    entry = raw_instruction(attributes=["rubber sole"])
    assert not any(goal.reachable for goal in synthetic_goals([product("P", entry)], [5.0], Random(0)))


def test_every_order_is_determined_by_its_seed() -> None:
    """The original's by the state before it, HiPER's by the environment's number, the fixed one by nothing."""
    assert fixed_order(SHOP) == fixed_order(SHOP) == hiper_order(SHOP, 233) == original_order(SHOP, 233)
    assert fixed_order(SHOP).prices["S"] == 25.5
    assert 12 <= fixed_order(SHOP).prices["R"] <= 300
    wishes = [[goal.wish for goal in original_order(SHOP, seed).goals] for seed in (1, 2)]
    assert wishes[0] == wishes[1]
    assert original_order(SHOP, 1) != original_order(SHOP, 2)
    assert [goal.wish for goal in hiper_order(SHOP, 1).goals] != wishes[0]


def test_a_goal_is_read_back_as_it_was_written() -> None:
    """Both kinds of options; and the original's own lists, which lack `reachable`."""
    human = {"S": (HumanInstruction("x", ("é",), ("navy",)),)}
    for goal in [*fixed_order(SHOP).goals, *fixed_order(SHOP, human).goals]:
        row = json.loads(json.dumps(goal_record(goal)))
        assert parse_goal(row, "here") == goal
        del row["reachable"]
        assert parse_goal(row, "here").reachable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributes": []}, "`attributes` is empty"),
        ({"attributes": "a"}, "`attributes` must be a list"),
        ({"price_upper": 0}, "`price_upper` must be a number above 0"),
        ({"price_upper": True}, "`price_upper`"),
        ({"price_upper": float("nan")}, "`price_upper`"),
        ({"weight": -1}, "`weight`"),
        ({"goal_options": {"size": 8}}, "`goal_options`, 'size', must be text"),
        ({"goal_options": None}, "`goal_options`"),
        ({"instruction_text": None}, "`instruction_text`"),
        ({"reachable": 1}, "`reachable`"),
    ],
)
def test_a_goal_that_cannot_be_rewarded_is_refused(changes: dict[str, Any], message: str) -> None:
    """The original would fail in the middle of an episode."""
    row = goal_record(fixed_order(SHOP).goals[0])
    with pytest.raises(UserError, match=f"^here: {message}"):
        parse_goal({**row, **changes}, "here")


def test_human_instructions_are_read_with_their_fields(tmp_path: Path) -> None:
    """Other fields are passed over; a broken one is named with file, product and number."""
    good = {"instruction": "x", "instruction_attributes": ["a"], "instruction_options": [], "worker_id": "w"}
    file = tmp_path / "human.json"
    file.write_text(json.dumps({"S": [good, good]}))
    assert read_human_instructions(file) == {"S": (HumanInstruction("x", ("a",), ()),) * 2}
    cases: tuple[Any, ...] = ({"S": {}}, {"S": [5]}, {"S": [good, {**good, "instruction_options": [None]}]})
    for broken in cases:
        file.write_text(json.dumps(broken))
        with pytest.raises(UserError, match=r"human\.json: 'S'"):
            read_human_instructions(file)


def test_goals_need_a_price_for_each_product() -> None:
    """A missing one is a mistake in the program and never passes in silence."""
    shop: list[Product] = [SHOES, SOCKS]
    with pytest.raises(ValueError, match="shorter"):
        synthetic_goals(shop, [1.0], Random(0))
