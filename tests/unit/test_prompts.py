"""What the agent is shown: every field of the state, once, and never more than fits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.benchmarks.record import record_of
from hiper.config import Prompt
from hiper.prompts import CUT, History, PromptBuilder, State

TASK = "find me a red lamp"
RESULTS = (
    f"Instruction: [SEP] {TASK} [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] B01 [SEP] "
    "Red Lamp [SEP] $10.0 [SEP] B02 [SEP] Blue Lamp [SEP] $5.0"
)
CLICKS = ("click[back to search]", "click[next >]", "click[b01]", "click[b02]")


def builder(benchmark: str = "webshop", **changes: Any) -> PromptBuilder:
    values = {"interface": "plan_execute", "style": "compact", "history_length": 2, "max_tokens": 100}
    values |= {"system": None, "thinking": False, "subgoal_turns": None}
    return PromptBuilder(Prompt.model_validate(values | changes), record_of(benchmark).words)


def state(steps: int = 3, observation: str = RESULTS, subgoal: str | None = "find lamp") -> State:
    history = History()
    for number in range(steps):
        history.add(f"WebShop [SEP] Instruction: [SEP] {TASK} [SEP] Search", f"search[lamp {number}]")
    return State(TASK, history, observation, subgoal, CLICKS)


@pytest.mark.parametrize("style", ["full", "compact"])
@pytest.mark.parametrize("interface", ["plan_execute", "react"])
def test_a_prompt_has_every_field(style: str, interface: str) -> None:
    """The task, how many steps were taken, the last actions, the page, the subgoal where there are any, the actions."""
    text = builder(style=style, interface=interface).build(state())
    for part in (TASK, "3", "search[lamp 1]", "search[lamp 2]", "next >"):
        assert part in text
    assert "lamp 0" not in text  # before the last two steps
    assert ("find lamp" in text) == (interface == "plan_execute")
    assert text.lower().count("b01") == (2 if style == "full" else 1)
    assert text.count(TASK) == 1


def test_a_page_is_quoted_in_full_and_marked_in_compact_prompts() -> None:
    """In full as the released code shows it, behind the task; in compact with brackets around what can be clicked."""
    full, compact = (builder(style=style).build(state()) for style in ("full", "compact"))
    assert "'Back to Search' [SEP] 'Page 1 (Total results: 2)'" in full
    assert "page 1 (total results: 2) [b01] red lamp $10.0 [b02] blue lamp $5.0" in compact
    assert "Can: click[back to search]; click[next >]\n" in compact


def test_alfworld_is_shown_without_its_welcome_and_task_in_compact_prompts() -> None:
    """Both have a place of their own, or none; `help` is never offered."""
    seen = "-= Welcome to TextWorld, ALFRED! =-\n\nYou see a desk 1.\n\nYour task is to: put a mug on a desk."
    at = State("put a mug on a desk.", History(), seen, None, ("look", "help", "go to desk 1"))
    assert "Now: You see a desk 1.\nCan: look; go to desk 1\nSubgoal: None" in builder("alfworld").build(at)


def test_history_goes_first_when_a_prompt_is_too_long() -> None:
    """What fits is shown whole; else without history; else with as much of the page as fits, and a mark."""
    prompts, at = builder(style="full"), state()
    whole, bare = prompts.build(at), prompts.build(at, with_history=False)
    assert prompts.fit(at, lambda text: len(text) <= len(whole)) == (whole, False)
    assert prompts.fit(at, lambda text: len(text) < len(whole)) == (bare, True)
    cut, shortened = prompts.fit(at, lambda text: len(text) < len(bare))
    assert shortened and CUT in cut and len(cut) == len(bare) - 1
    assert "search[lamp 2]" not in bare and "Steps taken so far: 3." in bare


@given(page=st.text(max_size=300), room=st.integers(0, 2000))
def test_the_longest_prompt_that_fits_is_taken(page: str, room: int) -> None:
    """Of any page as much as there is room for, and the rest of the prompt in every case."""
    prompts, at = builder(), state(observation=page)
    text, shortened = prompts.fit(at, lambda text: len(text) <= room)
    smallest = len(prompts.fit(at, lambda text: False)[0])
    assert len(text) <= max(room, smallest)
    assert shortened == (len(prompts.build(at)) > room)
    assert text.endswith("Subgoal: find lamp")
