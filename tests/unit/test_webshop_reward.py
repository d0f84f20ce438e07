"""The score of a purchase and the texts it compares."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from webshop_rows import options, product

from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.matching import COLOURS, colour_of, option_matches, similar, wanted_text
from hiper.benchmarks.webshop.nouns import find_tagger, rule_nouns
from hiper.benchmarks.webshop.reward import score
from hiper.errors import UserError

SHOES = product(customization_options=options(color=["navy", "coal"], size=["8", "9"]))
GOAL = Goal(
    asin=SHOES.asin,
    category=SHOES.category,
    query=SHOES.query,
    name=SHOES.title,
    product_category=SHOES.product_category,
    instruction="Find me shoes",
    attributes=("rubber sole", "arch support"),
    price_upper=30.0,
    options={"color": "navy", "size": "8"},
    weight=1.0,
    reachable=True,
)
PARTS = {"r_type", "r_att", "w_att", "query_match", "category_match", "title_score", "r_price", "w_price"}


def reference(one: str, other: str) -> int:
    """`token_set_ratio` after its description: the best of three ratios between sorted tokens, shared and not."""
    sides = [
        re.sub(r"\W", " ", "".join(c for c in text if not 127 < ord(c) < 256)).lower().split() for text in (one, other)
    ]
    if not all(sides):
        return 0
    shared = sorted(set(sides[0]) & set(sides[1]))
    with_rest = [" ".join(shared + sorted(set(side) - set(shared))) for side in sides]
    pairs = [(" ".join(shared), text) for text in with_rest] + [(with_rest[0], with_rest[1])]
    return max(round(100 * SequenceMatcher(None, *pair).ratio()) for pair in pairs if all(pair))


WORDS = st.lists(
    st.sampled_from(["8", "x", "large", "larger", "dark", "red", "10x50", "15x60", "É", "hd", "('", "_"]), max_size=5
)
TEXTS = st.text(max_size=12) | WORDS.map(" ".join) | st.text("ab 1", max_size=30)


@settings(max_examples=300)
@given(TEXTS, TEXTS)
@example("10x50 hd binoculars", "15x60 hd binoculars")
@example("adult (m) | child (12-18m)", "adult (s) | child (10 - 12 ym)")
@example("été", "t")
@example("!!", "!!")
def test_texts_are_similar_as_thefuzz_would_have_it(one: str, other: str) -> None:
    """The examples are pairs on which rapidfuzz's ratio alone, or one without the clean-up, gives the other answer."""
    assert similar(one, other) is (reference(one, other) > 85)


def test_a_colour_is_the_first_known_word_within_a_value() -> None:
    """By the order of the list, not of the value; and also within words."""
    assert len(COLOURS) == len(set(COLOURS)) == 102
    found = {"navy blue": "blue", "tangerine": "tan", "2005grey": "grey", "Red": "Red", "": "", "dark red": "dark"}
    assert {value: colour_of(value) for value in found} == found


def test_a_wanted_pair_becomes_a_colour_only_when_a_part_is_one() -> None:
    """Name or value; a value of a human goal is treated as a chosen one is."""
    assert [wanted_text(one) for one in (("color", "navy"), ("gold", "x"), ("color", "navy blue"), "navy blue")] == [
        "navy",
        "gold",
        "('color', 'navy blue')",
        "blue",
    ]
    assert option_matches("9 wide", ("size", "9 wide"))
    assert option_matches("navy blue floral", ("color", "navy blue floral"))
    assert not option_matches("infrared", ("color", "infrared"))
    assert option_matches("infrared", "infrared")


def test_the_full_score_needs_everything_that_was_asked_for() -> None:
    """Each missing attribute, option or dollar costs its share, and no option name is looked at."""
    right = {"color": "navy", "size": "8"}
    nouns = rule_nouns(SHOES.title)
    full = score(GOAL, SHOES, right, 30.0, nouns, nouns)
    assert (full.total, full.r_att, full.r_option, full.r_price) == (1.0, 1.0, 1.0, True)
    assert full.info().keys() == PARTS | {"r_option", "w_option"}
    assert score(GOAL, SHOES, {"size": "navy", "color": "8"}, 30.0, nouns, nouns).total == 1.0
    assert score(GOAL, SHOES, right, 30.01, nouns, nouns).total == 4 / 5
    assert score(GOAL, SHOES, {"size": "8"}, 30.0, nouns, nouns).total == 4 / 5
    assert score(GOAL, SHOES, {}, 31.0, nouns, nouns).total == 2 / 5


def test_parts_without_options_are_absent_in_the_details() -> None:
    """As in the original, where they would be None."""
    human = Goal(**{**{name: getattr(GOAL, name) for name in Goal.__slots__}, "options": ()})
    reward = score(human, SHOES, {}, 1.0, ["shoes"], ["shoes"])
    assert reward.info().keys() == PARTS
    assert reward.total == reward.r_att * reward.w_att + reward.w_price == 1.0


@pytest.mark.parametrize(
    ("query", "category", "goal_nouns", "nouns", "expected"),
    [
        ("walking shoes", "Other", ["a", "b", "c"], ["a"], 1.0),
        ("other", "Clothing \u203aShoes", ["a"] * 6, ["a"], 1.0),
        ("other", "Clothing", [*"abcde"], ["a"], 0.5),
        ("other", "Clothing \u203a Clothing", [*"abcd"], ["a"], 1.0),
        ("walking shoes", "Other", ["a", *"bcdefghijkl"], ["a"], 0.1),
        ("walking shoes", "Clothing \u203a Shoes", ["a"], ["b"], 0.0),
        ("other", "Other", [], ["a"], 0.5),
        ("walking shoes", "Other", [], [], 1.0),
    ],
)
def test_the_kind_of_product_scales_the_score(
    query: str, category: str, goal_nouns: list[str], nouns: list[str], expected: float
) -> None:
    """Query, two common categories or more than a fifth of the nouns; hardly a noun in common counts against all."""
    other = product(query=query, product_category=category)
    assert score(GOAL, other, {}, 1.0, goal_nouns, nouns).r_type == expected


def test_the_rule_keeps_what_names_things() -> None:
    """Nouns and model names stay, repeats too; function words, adjectives and quantities go."""
    title = "Women\u2019s Comfortable New-Balance Y9 Shoes, 2x4 Table for the Cable, 10oz 12 Shoes A"
    assert rule_nouns(title) == ["women", "balance", "y9", "shoes", "table", "cable", "shoes"]
    assert rule_nouns("Washable vegetable, foldable radish") == ["vegetable", "radish"]
    assert rule_nouns("") == []


@given(st.text())
def test_the_rule_gives_lower_case_words_for_any_title(title: str) -> None:
    """Never an error or an empty word, and the same for the same title."""
    nouns = rule_nouns(title)
    assert all(noun and noun == noun.lower() for noun in nouns)
    assert rule_nouns(title) == nouns


MODEL = """
import spacy
from spacy.language import Language

@Language.component("every_capital_word")
def every_capital_word(document):
    for token in document:
        token.pos_ = "PROPN" if token.text[0].isupper() else "ADJ"
    return document

def load(**overrides):
    pipeline = spacy.blank("en")
    pipeline.add_pipe("every_capital_word")
    assert overrides.pop("exclude") == ["parser", "ner", "lemmatizer"]
    return pipeline
"""


def test_an_installed_model_takes_the_place_of_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package by the model's name, whose tagger is known, is found, named with both versions and asked for nouns."""
    spacy = pytest.importorskip("spacy")
    if find_tagger().name == "rule-1":
        with pytest.raises(UserError, match="en_core_web_sm is not installed"):
            find_tagger("spacy")
        (tmp_path / "en_core_web_sm").mkdir()
        (tmp_path / "en_core_web_sm" / "__init__.py").write_text(MODEL)
        (tmp_path / "en_core_web_sm-9.8.7.dist-info").mkdir()
        metadata = "Metadata-Version: 2.1\nName: en_core_web_sm\nVersion: 9.8.7\n"
        (tmp_path / "en_core_web_sm-9.8.7.dist-info" / "METADATA").write_text(metadata)
        monkeypatch.syspath_prepend(tmp_path)
        assert find_tagger().name == f"spacy-{spacy.__version__}/en_core_web_sm-9.8.7"
        assert list(find_tagger().nouns(["Acme walking Shoes", "", "Mug"])) == [["acme", "shoes"], [], ["mug"]]
    assert find_tagger("rule").name == "rule-1"
    assert list(find_tagger("rule").nouns(["Acme Shoes", ""])) == [["acme", "shoes"], []]
