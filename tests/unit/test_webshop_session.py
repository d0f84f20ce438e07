"""A session in a shop of a few products made here: every action and page, and what `strict` and `exact` differ in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import webshop_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.benchmarks.webshop.environment import admissible
from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.pages import CACHED_PRODUCTS, SEPARATOR, Page, ProductPages, done_page, shown
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.reward import score
from hiper.benchmarks.webshop.search import HITS
from hiper.benchmarks.webshop.session import Mode, Session, Step, parse_action
from hiper.plan_execute import parse, render

INSTRUCTION = "Find me a green lamp, and price lower than 30.00 dollars"
HEAD = f"Instruction: [SEP] {INSTRUCTION} [SEP] Back to Search"
START = Page(f"WebShop [SEP] Instruction: [SEP] {INSTRUCTION} [SEP] Search", True, ("search",))


def product(asin: str, title: str, **fields: Any) -> Product:
    options = fields.pop("options", {})
    values: dict[str, Any] = {"description": "", "bullets": (), "category": "garden", "query": "lamps"}
    values |= {"product_category": "Home › Lamps", "prices": (12.5,), "price_tag": "$12.5", "attributes": ("bright",)}
    values |= {"instruction": None, "instruction_attributes": ()}
    return Product(asin=asin, title=title, options=options, **{**values, **fields})


LAMP = product(
    "B000000001",
    "Green Lamp",
    description="Lights up.",
    bullets=("", " Bright ", "\n", "two\nlines"),
    prices=(10.0, 40.0),
    price_tag="$10.0 to $40.0",
    options={
        "color": ("green", "red & blue", "one size", "a[b]", "search"),
        "Size": ("small", "one size", "buy now"),
        "blank": ("",),
    },
)
OTHERS = [product(f"B0000000{n:02d}", f"Plain lamp {n}", attributes=("dull",)) for n in range(10, 35)]
TEAPOT = product("B000000099", "search_results item_page teapot", query="teapots", category="grocery")
PRODUCTS = [LAMP, *OTHERS, TEAPOT]
GOAL = Goal(
    *(LAMP.asin, LAMP.category, LAMP.query, LAMP.title, LAMP.product_category),
    *(INSTRUCTION, ("bright",), 30.0, {"color": "green"}, 1.0, True),
)


class Shop:
    """Finds the products whose title has the keywords, LAMP at 25 dollars; counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._products = {one.asin: one for one in PRODUCTS}

    def product(self, asin: str) -> Product:
        return self._products[asin]

    def price(self, asin: str) -> float:
        return 25.0 if asin == LAMP.asin else self._products[asin].prices[0]

    def search(self, keywords: str) -> list[str]:
        self.asked.append(keywords)
        return [one.asin for one in PRODUCTS if keywords in one.title.lower()][:HITS]

    def nouns(self, title: str) -> list[str]:
        return title.lower().split()

    def random_products(self, count: int) -> list[str]:
        self.asked.append("random")
        return [one.asin for one in PRODUCTS][:count]

    def by_query(self, query: str) -> list[str]:
        return [one.asin for one in PRODUCTS if one.query == query]

    def by_category(self, category: str) -> list[str]:
        return [one.asin for one in PRODUCTS if one.category == category]


def session(mode: Mode = "strict") -> Session:
    return Session(Shop(), GOAL, mode)


def after(*actions: str, mode: Mode = "strict") -> Session:
    """A session in which these actions were taken, all of them accepted."""
    made = session(mode)
    for action in actions:
        assert made.step(action).accepted, action
    return made


def text(page: Page) -> list[str]:
    """What stands on the page below the instruction and `Back to Search`."""
    assert page.observation == HEAD or page.observation.startswith(HEAD + SEPARATOR)
    return page.observation.removeprefix(HEAD).removeprefix(SEPARATOR).split(SEPARATOR)


def heading(page: Page) -> str:
    return text(page)[0]


ON_LAMP = ("search[green lamp]", "click[b000000001]")


def test_a_session_begins_at_the_search_page_and_reset_leads_back_to_it() -> None:
    """The start page shows the instruction and a search bar; nothing of what was done before remains."""
    shopping = session()
    assert shopping.page == START
    shopping.step("search[lamp]")
    assert shopping.reset() == shopping.page == START
    assert not shopping.step("click[next >]").accepted


def test_a_search_lists_ten_products_a_page() -> None:
    """Asin, title and price of each; the clickables are the buttons, then the products, in lower case."""
    step = session().step("search[Lamp]")
    assert (step.reward, step.done, step.accepted, step.detail) == (0.0, False, True, None)
    assert text(step.page)[:5] == ["Page 1 (Total results: 26)", "Next >", "B000000001", "Green Lamp", "$10.0 to $40.0"]
    assert len(text(step.page)) == 2 + 3 * 10
    assert step.page.clickables[:4] == ("back to search", "next >", "b000000001", "b000000010")
    assert (len(step.page.clickables), step.page.has_search_bar) == (12, False)


def test_pages_can_be_turned_past_the_end_but_not_before_the_first() -> None:
    """26 results fill three pages; the fourth is empty and can still be left in both directions."""
    shopping = after("search[lamp]", "click[Next >]", "click[next >]")
    assert text(shopping.page)[:3] == ["Page 3 (Total results: 26)", "< Prev", "Next >"]
    assert len(text(shopping.page)) == 3 + 3 * 6
    shopping.step("click[next >]")
    assert text(shopping.page) == ["Page 4 (Total results: 26)", "< Prev", "Next >"]
    for number in (3, 2, 1):
        assert heading(shopping.step("click[< Prev]").page) == f"Page {number} (Total results: 26)"
    assert not shopping.step("click[< prev]").accepted


def test_a_search_without_results_has_an_empty_page() -> None:
    """The page looks like any other; a blank argument is a search too."""
    for action in ("search[nothing of the kind]", "search[    ]"):
        page = session().step(action).page
        assert text(page) == ["Page 1 (Total results: 0)", "Next >"]
        assert page.clickables == ("back to search", "next >")


def test_the_page_of_a_product_shows_options_title_and_price() -> None:
    """Names and values as they are; an empty value shows nothing, but stands among the clickables."""
    page = after(*ON_LAMP).page
    options = ["color", "green", "red & blue", "one size", "a[b]", "search", "Size", "small", "one size", "buy now"]
    bottom = ["Rating: N.A.", "Description", "Features", "Reviews", "Buy Now"]
    assert text(page) == ["< Prev", *options, "blank", "Green Lamp", "Price: $10.0 to $40.0", *bottom]
    buttons = ("back to search", "< prev", "description", "features", "reviews", "buy now")
    assert page.clickables == (*buttons, "green", "red & blue", "one size", "a[b]", "search", "small", "")


def test_choosing_an_option_changes_nothing_that_can_be_seen() -> None:
    """A later value replaces the earlier one of the same option; a value of two options sets the last one."""
    shopping = after(*ON_LAMP)
    before = shopping.page
    for value in ("green", "Red & Blue", "one size", "small"):
        assert shopping.step(f"click[{value}]") == Step(before, 0.0, False, True)
    assert shopping.chosen == {"color": "red & blue", "size": "small"}
    with pytest.raises(TypeError):
        shopping.chosen["color"] = "black"  # type: ignore[index]


@pytest.mark.parametrize("value", ["a[b]", "search", ""])
def test_some_values_cannot_be_clicked(value: str) -> None:
    """The brackets end too early, the search button is no option, and an empty argument is none."""
    shopping = after(*ON_LAMP)
    assert value in shopping.page.clickables
    assert not shopping.step(f"click[{value}]").accepted
    assert shopping.chosen == {}


def test_the_pages_about_a_product() -> None:
    """The description; every feature, of which empty ones leave an empty text and line breaks none; no reviews."""
    expected = {"description": ["Lights up."], "features": ["", "Bright", "two\nlines"], "reviews": []}
    for name, texts in expected.items():
        page = after(*ON_LAMP, f"click[{name}]").page
        assert text(page) == ["< Prev", *texts]
        assert (page.clickables, page.has_search_bar) == (("back to search", "< prev"), False)
    assert text(after("search[plain lamp 10]", "click[B000000010]", "click[description]").page) == ["< Prev"]


def test_the_way_back_keeps_options_until_the_product_is_left() -> None:
    """From a page about the product to the product, from there to the same results, from there to the start."""
    shopping = after("search[lamp]", "click[next >]", "click[b000000019]", "click[< prev]")
    assert heading(shopping.page) == "Page 2 (Total results: 26)"
    shopping = after("search[lamp]", "click[b000000001]", "click[green]", "click[reviews]", "click[< prev]")
    assert (shopping.chosen, shopping.asin) == ({"color": "green"}, LAMP.asin)
    shopping.step("click[< prev]")
    assert (shopping.chosen, shopping.asin) == ({}, None)
    shopping.step("click[b000000001]")
    assert shopping.step("click[back to search]").page == START
    assert (shopping.chosen, shopping.asin) == ({}, None)


def test_buying_ends_the_session_with_the_score() -> None:
    """The reward is that of the product, the chosen options and the shop's price; the last page shows it."""
    step = after(*ON_LAMP, "click[green]").step("click[Buy Now]")
    nouns = ["green", "lamp"]
    assert step.detail == score(GOAL, LAMP, {"color": "green"}, 25.0, nouns, nouns)
    assert (step.reward, step.done, step.accepted) == (1.0, True, True)
    assert step.page == done_page(LAMP.asin, {"color": "green"}, 1.0)
    dearer = Session(Shop(), replace(GOAL, price_upper=20.0))
    dearer_step = [dearer.step(action) for action in (*ON_LAMP, "click[green]", "click[buy now]")][-1]
    assert dearer_step.reward == pytest.approx(2 / 3)  # the low end of the range on the page would have been enough
    other = after("search[plain lamp 11]", "click[b000000011]").step("click[buy now]")
    assert (other.done, other.reward) == (True, pytest.approx(1 / 3))  # price only, of attribute, option and price


def test_the_last_page_shows_no_instruction() -> None:
    """Product, options as escaped JSON with sorted names, score; the rest is the original's, with its misspelling."""
    page = done_page("B1", {"size": "5'", "color": "é<>&"}, 0.25)
    assert (page.has_search_bar, page.clickables) == (False, ())
    texts = page.observation.split(SEPARATOR)
    assert texts[:8] == [
        "Thank you for shopping with us!",
        *("Your code:", "None", "(Paste it in your MTurk interface.)", "Purchased", "asin", "B1", "options"),
    ]
    assert texts[8] == r'{"color": "\u00e9\u003c\u003e\u0026", "size": "5\u0027"}'
    assert texts[9:17] == ["attrs", "None", "category", "None", "query", "None", "product category", "None"]
    target = ["Target", "asin", "options", "attrs", "price upper", "instuction text", "category", "product category"]
    end = ["Reward", "Your score (min 0.0, max 1.0)", "0.25", "Reward Details", "None"]
    assert texts[17:] == [*target, "query", "Goal", "None", *end]


REFUSED = (
    *("", "search", "click", "search[]", "click[]", "click[nope]", "click[search]", "Search[lamp]", " search[lamp]"),
    *("search[lamp", "search lamp]", "buy now", "search[a[b]]", "search[[lamp]]", "think[hello]", "\nsearch[lamp]"),
    *("search\n[lamp]", "search[la\nmp]", "click [green]", "click[green ]", "\ud800[\udfff]"),
)


@pytest.mark.parametrize("mode", ["strict", "exact"])
@pytest.mark.parametrize("action", REFUSED)
def test_what_the_page_does_not_allow_changes_nothing(action: str, mode: Mode) -> None:
    """Same page, no reward, nothing chosen; at the start as on the page of a product."""
    for way in ((), ("search[lamp]",), (*ON_LAMP, "click[red & blue]"), (*ON_LAMP, "click[features]")):
        shopping = after(*way, mode=mode)
        before = (shopping.page, dict(shopping.chosen), shopping.asin)
        assert shopping.step(action) == Step(before[0], 0.0, False, False)
        assert (shopping.page, dict(shopping.chosen), shopping.asin) == before


@pytest.mark.parametrize(
    "action", ["search[plain lamp 12]", "search[Plain Lamp 12] please", "search[plain lamp 12]\n]"]
)
def test_a_search_is_taken_on_every_page(action: str) -> None:
    """With or without a search bar, in any case, whatever follows; product and options are given up."""
    for way in ((), ("search[lamp]",), (*ON_LAMP, "click[green]"), (*ON_LAMP, "click[features]")):
        shopping = after(*way, action)
        assert heading(shopping.page) == "Page 1 (Total results: 1)"
        assert (shopping.chosen, shopping.asin) == ({}, None)


@pytest.mark.parametrize(
    ("search", "found"),
    [("<q> teapots", 1), ("<Q>  lamps ", 26), ("<c> grocery foo", 1), ("<c>  garden", 0), ("<r>", 27)],
)
def test_back_doors_of_the_search_are_open_in_exact_only(search: str, found: int) -> None:
    """`exact` lists products by query or category, or random ones; for `strict` the same text is keywords."""
    assert heading(after(f"search[{search}]", mode="exact").page) == f"Page 1 (Total results: {found})"
    shop = Shop()
    assert heading(Session(shop, GOAL).step(f"search[{search}]").page) == "Page 1 (Total results: 0)"
    assert shop.asked == [search.lower()]


def test_random_products_are_drawn_anew_for_every_page() -> None:
    """As in the original, which searches again for each; an ordinary search is not repeated."""
    for search, count in (("<r>", 3), ("lamp", 1)):
        shop = Shop()
        shopping = Session(shop, GOAL, "exact")
        for action in (f"search[{search}]", "click[next >]", "click[< prev]"):
            shopping.step(action)
        assert len(shop.asked) == count


@pytest.mark.parametrize(("search", "error"), [("<a> bright", TypeError), ("<a>", TypeError), ("<c>", IndexError)])
def test_two_searches_crash_the_original(search: str, error: type[Exception]) -> None:
    """`exact` raises what the original raises; for `strict` they are searches without results."""
    with pytest.raises(error):
        session("exact").step(f"search[{search}]")
    assert heading(session().step(f"search[{search}]").page) == "Page 1 (Total results: 0)"


def test_keywords_that_name_a_page_mislead_exact() -> None:
    """With `search_results` in its address a product counts as results, before which there is a page 0 without any."""
    way = ("search[search_results]", "click[b000000099]", "click[< prev]")
    page = after(*way, mode="exact").page
    assert text(page) == ["Page 0 (Total results: 1)", "Next >"]
    assert page.clickables == ("back to search", "next >")
    assert heading(after(*way, "click[next >]", mode="exact").page) == "Page 1 (Total results: 1)"
    assert heading(after(*way).page) == "Page 1 (Total results: 1)"


def test_keywords_that_name_the_product_page_mislead_exact() -> None:
    """From a page about the product, `< prev` then leads past the product to the results."""
    way = ("search[item_page]", "click[b000000099]", "click[reviews]", "click[< prev]")
    assert heading(after(*way, mode="exact").page) == "Page 1 (Total results: 1)"
    assert "Price: $12.5" in text(after(*way).page)


def test_after_the_purchase_strict_stands_still() -> None:
    """Every action gives the last page again, done, without a reward."""
    shopping = after(*ON_LAMP, "click[buy now]")
    for action in ("search[lamp]", "click[buy now]", "click[back to search]", ""):
        assert shopping.step(action) == Step(done_page(LAMP.asin, {}, 2 / 3), 0.0, True, False)


def test_after_the_purchase_exact_goes_on() -> None:
    """The last page has nothing to click, but one can search, and buy again for the same goal."""
    shopping = after(*ON_LAMP, "click[buy now]", mode="exact")
    assert shopping.step("click[back to search]") == Step(done_page(LAMP.asin, {}, 2 / 3), 0.0, False, False)
    step = [shopping.step(action) for action in (*ON_LAMP, "click[green]", "click[buy now]")][-1]
    assert (step.reward, step.done) == (1.0, True)


def test_sessions_share_what_depends_on_the_product_only() -> None:
    """Two goals see their own instruction above the same product; what is kept has a limit."""
    shop = Shop()
    pages = ProductPages(shop.product)
    second = replace(GOAL, instruction="Other")
    seen = []
    for goal in (GOAL, second):
        shopping = Session(shop, goal, "strict", pages)
        seen.append([shopping.step(action).page.observation for action in ON_LAMP][-1])
    assert seen[1] == seen[0].replace(INSTRUCTION, "Other")
    assert (pages.item.cache_info().hits, pages.item.cache_info().misses) == (1, 1)
    assert pages.item.cache_info().maxsize == CACHED_PRODUCTS


def test_an_unknown_mode_is_refused() -> None:
    """A misspelt mode must not play by either rule."""
    with pytest.raises(ValueError, match="'exakt'"):
        Session(Shop(), GOAL, "exakt")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_text", "pieces"),
    [("", ()), ("a b", ("a b",)), (" a\n", ("a",)), (" ", ("",)), (" \n ", ()), ("\xa0", ("",)), ("\xa0\n", ("",))],
)
def test_blank_texts(given_text: str, pieces: tuple[str, ...]) -> None:
    """Blanks leave an empty piece, but none with a line break among them; a no-break space counts as text there."""
    assert shown(given_text) == pieces


HOSTILE = st.text(alphabet=st.one_of(st.sampled_from("[]<>\n \\|a/lmp"), st.characters(codec=None)), max_size=40)
NEARLY = st.builds(
    "".join, st.lists(st.sampled_from(["search", "click", "[", "]", "lamp", "\n", " ", "x"]), max_size=8)
)


@given(st.one_of(HOSTILE, NEARLY))
@settings(max_examples=200)
def test_actions_are_parsed_like_the_original(action: str) -> None:
    """Verb and argument are the groups of the original's regular expression, or the whole text and nothing."""
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (match.groups() if match else (action, ""))


def test_a_very_long_action_is_parsed() -> None:
    """A million brackets, which would keep the regular expression busy for hours."""
    assert parse_action("[" * 1_000_000) == ("[" * 1_000_000, "")
    assert parse_action("x" + "[" * 1_000_000 + "y]")[1] == "y"


def _clicks(values: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([f"click[{value}]" for value in values])


ACTIONS = st.one_of(
    HOSTILE,
    HOSTILE.map(lambda argument: f"search[{argument}]"),
    HOSTILE.map(lambda argument: f"click[{argument}]"),
    st.sampled_from(["search[lamp]", "search[<a> x]", "search[<c>]", "search[<r>]", "search[search_results]"]),
    _clicks(
        ["< prev", "next >", "back to search", "description", "reviews", "b000000001", "b000000099", "small", "green"]
    ),
    _clicks(["buy now", "one size", "red & blue", "features"]),
)


@given(st.lists(ACTIONS, max_size=30))
@settings(max_examples=200)
def test_no_action_upsets_a_strict_session(actions: list[str]) -> None:
    """Whatever is tried, nothing raises; what is refused changes nothing; what is done stays done; no page below 1."""
    shopping = session()
    done = False
    for action in actions:
        before = (shopping.page, dict(shopping.chosen), shopping.asin)
        step = shopping.step(action)
        assert step.page == shopping.page
        assert 0.0 <= step.reward <= 1.0
        assert "Page 0" not in step.page.observation
        if not step.accepted:
            assert (shopping.page, dict(shopping.chosen), shopping.asin) == before
            assert step.reward == 0.0
        assert step.done or not done
        done = step.done


ODD = st.text(
    st.sampled_from("aB8 []|/<>&'\"\t\n\u00e9\u0130\u03a3\u0300\u200b\u202e\u05d0\u00a0\u4e2d\U0001f600"), max_size=8
)
NAMES = ODD | st.sampled_from(
    ["buy now", "Next >", "<action>look", "x [SEP] y", "&lt;b&gt;", "</subgoal>", "<your query>"]
)


@given(st.dictionaries(ODD, st.lists(NAMES, max_size=4), max_size=2), st.sampled_from(["strict", "exact"]))
@settings(max_examples=200)
def test_an_answer_that_copies_an_action_does_it(values: dict[str, list[str]], mode: Mode) -> None:
    """Whatever options are called: each action of a product's page, copied into an answer, is accepted and, if no
    button is called like it, chooses the value; but for values that the original's form of an action cannot hold."""
    made = webshop_rows.product(LAMP.asin, customization_options=webshop_rows.options(**values))
    shop = Shop()
    shop._products[LAMP.asin] = replace(LAMP, options=made.options)
    shopping = Session(shop, GOAL, mode)
    for action in (*ON_LAMP, "click[description]", "click[< prev]"):
        assert shopping.step(action).accepted
    buttons = [*shopping.page.clickables[:6]]
    assert buttons == ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    for action in admissible(shopping.page)[6:]:
        parsed = parse(render(True, "choose", action))
        assert parsed.action == action and parsed.subgoal == "choose"
        step, form = shopping.step(parsed.action), re.match(r"(.+)\[(.+)\]", action)
        named = form is not None and form[1] == "click" and form[2] == action[6:-1] != "search"
        assert step.accepted == named
        assert (action[6:-1] in shopping.chosen.values()) == named
