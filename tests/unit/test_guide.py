"""Guided decoding permits exactly the answers that are well formed and admissible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.learning.guide import NOT_IN_QUERIES, Guide
from hiper.learning.restrict import Restriction
from hiper.plan_execute import FREE_TEXT, parse, render

ACTIONS = ("go to desk 1", "go to desk 10", "look", "take mug 1 from desk 1", f"search[{FREE_TEXT}]")


@pytest.fixture(scope="session")
def guide(tokenizer: Any) -> Guide:
    return Guide(tokenizer, "plan_execute", max_text_tokens=5, end=tokenizer.eos_token_id)


def accepts(guide: Guide, text: str, subgoal: str | None) -> bool:
    """Whether the tokens of `text` and the end token can be produced under the guide."""
    state = guide.start(ACTIONS, subgoal)
    restriction = Restriction(guide, len(guide.tokenizer), "cpu")
    tokens = [*guide.tokenizer.encode(text, add_special_tokens=False), guide.end]
    for place, token in enumerate(tokens):
        logits = restriction.apply(torch.zeros(1, len(guide.tokenizer)), [state.allowed()])
        if torch.isinf(logits[0, token]):
            return False
        if state.advance(token):
            return place == len(tokens) - 1
    return False


def test_well_formed_admissible_answers_are_permitted(guide: Guide) -> None:
    """KEEP with the current subgoal and SWITCH with a new one, each with an admissible action."""
    assert accepts(guide, render(False, "find a mug", "look"), "find a mug")
    assert accepts(guide, render(True, "find", "go to desk 10"), "find a mug")
    assert accepts(guide, render(True, "find", "go to desk 1"), None)


def test_everything_else_is_not(guide: Guide) -> None:
    """KEEP without or with another subgoal, an inadmissible action, a missing block, an empty subgoal."""
    assert not accepts(guide, render(False, "find a mug", "look"), None)
    assert not accepts(guide, render(False, "find a cup", "look"), "find a mug")
    assert not accepts(guide, render(True, "find", "go to desk 2"), None)
    assert not accepts(guide, "<switch>SWITCH</switch><action>look</action>", None)
    assert not accepts(guide, render(True, "", "look"), None)


def test_free_text_in_an_action_is_text_that_cannot_end_it(guide: Guide) -> None:
    """A search takes any words, but not none, no bracket or tag, and nothing behind its end."""
    assert accepts(guide, render(True, "find", "search[mug]"), None)
    assert accepts(guide, render(False, "find", "search[desk]"), "find")
    for query in ("", "a[b", "a<b>c", "a\nb"):
        assert not accepts(guide, render(True, "find", f"search[{query}]"), None), query
    assert not accepts(guide, render(True, "find", "search[mug] desk"), None)
    assert not accepts(guide, render(True, "find", "search[a b c d e f g h i j k l]"), None)  # longer than allowed


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), kept=st.booleans())
def test_any_guided_sample_is_valid_and_admissible(guide: Guide, seed: int, kept: bool) -> None:
    """Whatever is drawn uniformly from the permitted sets ends, parses as valid and names an admissible action."""
    random = np.random.default_rng(seed)
    subgoal = "find a mug" if kept else None
    state = guide.start(ACTIONS, subgoal)
    restriction = Restriction(guide, len(guide.tokenizer), "cpu")
    tokens: list[int] = []
    for _ in range(60):
        logits = restriction.apply(torch.zeros(1, len(guide.tokenizer)), [state.allowed()])
        tokens.append(int(random.choice(torch.isfinite(logits[0]).nonzero().flatten().numpy())))
        if state.advance(tokens[-1]):
            break
    else:
        pytest.fail("the response did not end")
    answer = guide.tokenizer.decode(tokens[:-1], skip_special_tokens=False)
    parsed = parse(answer)
    searched = parsed.action.startswith("search[") and parsed.action.endswith("]")
    assert parsed.action in ACTIONS or (searched and not set(parsed.action[7:-1]) & set(NOT_IN_QUERIES))
    if not parsed.switch:
        assert parsed.subgoal == "find a mug"
