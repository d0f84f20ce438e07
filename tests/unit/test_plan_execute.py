"""The parser of a turn, on friendly and on hostile text."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.plan_execute import (
    ParsedTurn,
    carried_subgoal,
    continued,
    parse,
    parse_react,
    render,
    render_react,
    token_span,
)

PLAIN = st.text(st.characters(exclude_characters="<>", exclude_categories=("Cs",)), max_size=20)
TAGS = ["<switch>", "</switch>", "<subgoal>", "</subgoal>", "<action>", "</action>", "<ACTION>", "<think>", "</think>"]
PIECES = st.sampled_from([*TAGS, "<", ">", "</", "switch>", "KEEP", "SWITCH", "look", "İ", "找"])
HOSTILE = st.lists(PIECES, max_size=30).map("".join)


def offsets_of(tokens: list[str]) -> list[int]:
    return [0, *accumulate(len(token) for token in tokens)]


@given(st.booleans(), PLAIN, PLAIN)
def test_rendered_turns_are_read_back(switch: bool, subgoal: str, action: str) -> None:
    """parse ∘ render is the identity on text without tags, up to blanks and the action's letter case."""
    response = render(switch, subgoal, action)
    parsed = parse(response, list(range(len(response) + 1)))
    assert (parsed.switch, parsed.subgoal, parsed.action) == (switch, subgoal.strip(), action.strip().lower())
    assert parsed.valid == (not any("\u4e00" <= character <= "\u9fff" for character in response))
    # one token per character: token spans are the character spans, and the three blocks tile the response
    assert parsed.switch_span == parsed.switch_characters == (0, response.index("<subgoal>"))
    assert parsed.subgoal_span == parsed.subgoal_characters == (parsed.switch_span[1], response.index("<action>"))
    assert parsed.action_span == parsed.action_characters == (parsed.subgoal_span[1], len(response))


def test_blanks_and_line_breaks_between_and_inside_blocks_are_allowed() -> None:
    """Only the content of the blocks counts, stripped; the switch in any case."""
    blocks = ("<switch> keep\n</switch>", "<subgoal> find an apple </subgoal>", "<action>\n Go To Shelf 1 </action> ok")
    parsed = parse("\n".join(blocks))
    assert parsed == ParsedTurn(
        switch=False,
        subgoal="find an apple",
        action="go to shelf 1",
        valid=True,
        problems=(),
        switch_characters=(0, 23),
        subgoal_characters=(24, 58),
        action_characters=(59, 92),
    )


@pytest.mark.parametrize(
    ("response", "problems"),
    [
        ("<subgoal>a</subgoal><action>look</action>", ("no switch block",)),
        ("<switch>KEEP</switch><action>look</action>", ("no subgoal block",)),
        ("<switch>KEEP</switch><subgoal>a</subgoal>", ("no action block",)),
        (
            "<switch>KEEP or SWITCH</switch><subgoal>a</subgoal><action>look</action>",
            ("switch text is neither KEEP nor SWITCH",),
        ),
        (
            "<switch></switch><subgoal>a</subgoal><action>look</action>",
            ("switch text is neither KEEP nor SWITCH",),
        ),
        ("<Switch>KEEP</Switch><subgoal>a</subgoal><action>look</action>", ("no switch block",)),
        ("<switch>KEEP</switch><subgoal>找</subgoal><action>look</action>", ("Chinese character",)),
        ("", ("no switch block", "no subgoal block", "no action block")),
    ],
)
def test_malformed_turns_are_invalid_and_say_why(response: str, problems: tuple[str, ...]) -> None:
    """The validity rules, one by one."""
    parsed = parse(response)
    assert (parsed.valid, parsed.problems, parsed.switch) == (False, problems, False)


@pytest.mark.parametrize(
    "response",
    [
        "<action>look</action><subgoal>a</subgoal><switch>SWITCH</switch>",  # order
        "<switch>SWITCH</switch><subgoal></subgoal><ACTION>look</Action>",  # empty subgoal; action tags in any case
        "well, <switch>SWITCH</switch><subgoal>a</subgoal><action>look</action><switch>KEEP</switch>",  # extra text
    ],
)
def test_what_the_original_does_not_check_is_not_checked(response: str) -> None:
    """Order, extra text, repeated blocks and empty subgoals do not make a turn invalid."""
    parsed = parse(response)
    assert (parsed.valid, parsed.switch, parsed.action) == (True, True, "look")


def test_garbled_switch_text_means_keep() -> None:
    """Everywhere: there is only one parser."""
    assert parse("<switch>SWITCH!</switch><subgoal>a</subgoal><action>look</action>").switch is False


def test_an_action_inside_a_subgoal_is_never_executed() -> None:
    """Tags within a block are plain text, also within a repeated block."""
    inside = "<subgoal>find <action>drop apple</action></subgoal>"
    assert parse(f"<switch>KEEP</switch>{inside}<action>look</action>").action == "look"
    assert parse(f"<subgoal>a</subgoal>{inside}<action>look</action>").action == "look"
    interleaved = parse("<switch>KEEP</switch><subgoal>x <action>drop apple</subgoal></action>")
    assert interleaved.action_characters is None
    assert "drop apple" in (interleaved.subgoal or "")


def test_the_first_of_repeated_blocks_counts() -> None:
    """Later ones are neither read nor trained."""
    parsed = parse(render(True, "a", "look") + render(False, "b", "inventory"))
    assert (parsed.switch, parsed.subgoal, parsed.action) == (True, "a", "look")
    assert parsed.action_characters == (43, 64)  # 8 + 6 + 9 characters of switch, 9 + 1 + 10 of subgoal


def test_unclosed_tags_are_plain_text() -> None:
    """A truncated block does not swallow what follows."""
    parsed = parse("<switch>SWITCH<subgoal>a</subgoal><action>look</action>")
    assert (parsed.switch, parsed.subgoal, parsed.action) == (False, "a", "look")
    assert parsed.problems == ("no switch block",)


def test_without_an_action_block_the_last_characters_are_the_action() -> None:
    """The last 30, lower-cased, as in the original."""
    assert parse("Go to Shelf 1").action == "go to shelf 1"
    assert parse("x" * 50 + "Y" * 30).action == "y" * 30
    assert parse("<switch>KEEP</switch><subgoal>a</subgoal>").action == ".EP</switch><subgoal>a</subgoal>"[-30:].lower()


def test_a_subgoal_cut_short_is_not_executed() -> None:
    """Blanks could push the tag out of the last 30 characters; then there is no action at all."""
    assert parse("<switch>KEEP</switch><subgoal>" + " " * 40 + "look").action == ""
    assert parse_react("<think>" + " " * 40 + "look").action == ""
    assert parse("<action>" + " " * 40 + "look").action == "look"


def test_a_subgoal_is_not_executed_where_blanks_hide_its_tag() -> None:
    """A shop ignores what stands behind an action's brackets, so the last 30 characters may not begin in a subgoal."""
    assert parse("<switch>KEEP</switch><subgoal>never click[buy now]      </subgoal>").action == "</subgoal>"


CONSIDERED = "<action>open fridge 1</action>"
TURN = render(True, "find the mug", "go to drawer 1")


@pytest.mark.parametrize(
    "thought",
    [
        f"<think>Maybe {CONSIDERED}? No.</think>\n",
        f"First {CONSIDERED} comes to mind.</think>\n",  # the chat template has opened the thought
        "<think>I write <switch>KEEP</switch> and a <subgoal>text</subgoal>.</think>",
        f"<think>a</think>{CONSIDERED}<think>b</think>",  # nothing counts before the last thought
        f"<think>a<think>b</think>{CONSIDERED}</think>",
        "<think>A <subgoal> and an <action> that nothing closes.</think>",
        f"{CONSIDERED.upper()}<switch>SWITCH</switch><subgoal>x</think>",
        f"<THINK>Maybe {CONSIDERED}?</Think>",
        f"<thinking>Maybe {CONSIDERED}?</thinking>",
    ],
)
def test_nothing_in_a_thought_is_executed(thought: str) -> None:
    """Up to the last `</think>` no tag opens a block, whoever has opened the thought, and the spans lie behind it."""
    for thinking in (False, True):
        parsed = parse(thought + TURN, list(range(len(thought + TURN) + 1)), thinking=thinking)
        assert parsed.valid and parsed.switch
        assert (parsed.subgoal, parsed.action) == ("find the mug", "go to drawer 1")
        assert parsed.switch_span == (len(thought), len(thought) + 23)
        assert parsed.action_span == (len(thought + TURN) - 31, len(thought + TURN))
        flat = parse_react(thought + "<action>look</action>", thinking=thinking)
        assert flat.action == "look"
        assert flat.valid == ("</think>" in thought and (thinking or "<think>" in thought))


def test_an_answer_cut_off_in_its_thought_does_nothing() -> None:
    """Whether it opened the thought itself or the template did; blocks before a thought stand."""
    cut = f"Maybe {CONSIDERED}? No, click[buy now]"
    for parser in (parse, parse_react):
        for parsed in (parser(f"<think>{cut}"), parser(f"<think>a</think> <think>{cut}"), parser(cut, thinking=True)):
            assert (parsed.action, parsed.valid, parsed.action_characters) == ("", False, None)
    assert parse(f"{TURN}<think>{cut}").action == "go to drawer 1"
    assert parse("<switch>KEEP</switch><subgoal>a <think> b</subgoal><action>look</action>").action == "look"


def test_a_thought_that_the_template_has_opened_makes_a_flat_answer_complete() -> None:
    """Without such a template its opening tag is missing, as in the original. A canonical answer goes on with its own
    thought, or closes the one that is open."""
    answer = "The mug may be in the drawer.</think>\n<action>go to drawer 1</action>"
    assert parse_react(answer, thinking=True).valid
    assert parse_react(answer).problems == ("no think block",)
    assert continued(render_react("hm", "look"), True) == "hm</think><action>look</action>"
    assert parse(continued(TURN, True), thinking=True).valid and continued(TURN, False) == TURN


def test_flat_responses_have_no_switch_and_no_subgoal() -> None:
    """Think and action, the think block's text ignored."""
    response = render_react("I could <action>drop it</action>", "look")
    parsed = parse_react(response, list(range(len(response) + 1)))
    assert (parsed.switch, parsed.subgoal, parsed.action, parsed.valid) == (False, None, "look", True)
    assert parsed.switch_span is None and parsed.subgoal_span is None
    assert parsed.action_span == parsed.action_characters == (response.rindex("<action>"), len(response))
    assert parse_react("<action>look</action>").problems == ("no think block",)


def test_token_spans_include_straddling_tokens_on_both_sides() -> None:
    """A span starts at the token with its first character and ends before the first token at or behind its end."""
    tokens = ["<switch>", "KEEP", "</switch", "><", "subgoal>", "", "a</", "subgoal", ">", "\n"]
    tokens += ["<action>", "look</action>!"]
    response = "".join(tokens)
    parsed = parse(response, offsets_of(tokens))
    assert parsed.switch_span == (0, 4)  # "><" holds the end of </switch>
    assert parsed.subgoal_span == (3, 9)  # … and the start of <subgoal>; "\n" belongs to nobody
    assert parsed.action_span == (10, 12)  # the last token runs past the block
    assert parse(response).action_span is None


def test_tokens_without_text_do_not_disturb_spans() -> None:
    """Byte pieces of one character have empty texts; an end token stands at the total length."""
    tokens = ["<action>", "", "é", "</action>", ""]
    assert parse("".join(tokens), offsets_of(tokens)).action_span == (0, 4)
    assert token_span((3, 5), [0]) is None


@pytest.mark.parametrize(
    ("previous", "response", "carried"),
    [
        ("old", render(True, "new", "look"), "new"),
        ("old", render(False, "new", "look"), "old"),  # KEEP is enforced
        ("old", "<switch>SWITCH</switch><action>look</action>", "old"),  # malformed: nothing to adopt
        ("old", "<switch>SWITCH</switch><subgoal> </subgoal><action>look</action>", "old"),
        ("old", "<switch>SWITCH</switch><subgoal>new</subgoal>", "new"),  # the action is missing, the subgoal is not
        ("old", "<subgoal>new</subgoal><action>look</action>", "old"),  # no switch means KEEP
        (None, render(False, "new", "look"), "new"),  # nothing to keep yet
        (None, "<action>look</action>", None),
    ],
)
def test_the_subgoal_survives_everything_but_a_switch(previous: str | None, response: str, carried: str | None) -> None:
    """o_t := o_{t−1} on KEEP and on malformed turns."""
    assert carried_subgoal(previous, parse(response)) == carried


@given(HOSTILE, st.lists(st.integers(0, 6), max_size=60))
def test_hostile_text_never_breaks_the_parser(response: str, cuts: list[int]) -> None:
    """Any text, any tokenisation: blocks are disjoint, complete, consistent with their text; tokens cover them."""
    offsets = sorted({0, len(response), *(min(edge, len(response)) for edge in accumulate(cuts))})
    for parsed in (parse(response, offsets), parse_react(response, offsets)):
        assert parsed.valid == (not parsed.problems)
        blocks = {
            "switch": (parsed.switch_characters, parsed.switch_span),
            "subgoal": (parsed.subgoal_characters, parsed.subgoal_span),
            "action": (parsed.action_characters, parsed.action_span),
        }
        found = sorted(characters for characters, _ in blocks.values() if characters)
        assert all(before[1] <= after[0] for before, after in pairwise(found))
        for name, (characters, tokens) in blocks.items():
            assert (characters is None) == (tokens is None)
            if characters and tokens:
                text = response[slice(*characters)].lower()
                assert text.startswith(f"<{name}>") and text.endswith(f"</{name}>")
                assert text.count(f"</{name}>") == 1
                assert offsets[tokens[0]] <= characters[0] < offsets[tokens[0] + 1]
                assert offsets[tokens[1] - 1] < characters[1] <= offsets[tokens[1]]
        if parsed.action_characters:
            assert response[slice(*parsed.action_characters)][8:-9].strip().lower() == parsed.action


@given(HOSTILE)
def test_parsing_depends_on_the_text_alone(response: str) -> None:
    """Without offsets the same turn is read, less its token spans."""
    bare, full = parse(response), parse(response, [0, len(response)])
    assert bare == replace(full, switch_span=None, subgoal_span=None, action_span=None)
