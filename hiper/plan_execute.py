"""The only parser of a turn: blocks, validity, character and token spans; and the writer of canonical responses.

A plan-execute response is `<switch>KEEP</switch><subgoal>…</subgoal><action>…</action>`, a flat (ReAct) response is
`<think>…</think><action>…</action>`. With a blueprint the first response is `<subgoal>…; …; …</subgoal>`, the plan of
the episode, and the others are `<switch>KEEP</switch><action>…</action>`, SWITCH going on to the next subgoal. Model
output is hostile text: nothing here raises on it, and every function takes linear time.

Thoughts come first: what stands before the last `</think>` is thought, and so is what stands behind a `<think>` that
is never closed. Text of a thought opens no block, because an action that was only considered must not be executed. Here
`<thinking>` is a thought as well, and letter case does not matter; a flat answer needs `<think>` and `</think>` as they
are written here (as in the original).

How blocks are found in the rest: reading from left to right, an opening tag and the next closing tag of the same name
make a block, and reading goes on behind it. So blocks never overlap, and tags inside a block are plain text: an action
that is written inside a subgoal is never executed. An opening tag without a later closing tag is plain text too. Of
several blocks of one name the first counts. The original looks for the first opening and the first closing tag of each
name anywhere, so there a tag inside another block or inside a thought counts.

Tags of `action` are accepted in any letter case, all others as written above (both as in the original).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

Span = tuple[int, int]
"""Half-open range `[start, stop)` of characters or of tokens."""

FREE_TEXT = "<your query>"
FREE_ACTION = f"search[{FREE_TEXT}]"
"""The admissible action in which FREE_TEXT stands for any text of the agent's choice."""

PLAN_EXECUTE_BLOCKS = ("switch", "subgoal", "action")
REACT_BLOCKS = ("action",)
PLAN_BLOCKS = ("subgoal",)
STEP_BLOCKS = ("switch", "action")
BETWEEN_SUBGOALS = ";"
NO_PLAN = "do the task"  # the subgoal of an agent whose plan has none
THINK, THOUGHT = "<think>", "</think>"
FALLBACK_CHARACTERS = 30
CHINESE = re.compile("[\u4e00-\u9fff]")  # a turn with such a character is invalid

_A_THOUGHT = "(?ai:think(?:ing)?)"
_OPENING: dict[tuple[str, ...], re.Pattern[str]] = {
    blocks: re.compile(
        f"<({_A_THOUGHT}|" + "|".join("(?ai:action)" if name == "action" else name for name in blocks) + ")>"
    )
    for blocks in (PLAN_EXECUTE_BLOCKS, REACT_BLOCKS, PLAN_BLOCKS, STEP_BLOCKS)
}
_THINK, _THOUGHT = re.compile(f"<{_A_THOUGHT}>"), re.compile(f"</{_A_THOUGHT}>")
_CLOSING = {name: re.compile("</(?ai:action)>" if name == "action" else f"</{name}>") for name in PLAN_EXECUTE_BLOCKS}


@dataclass(frozen=True)
class ParsedTurn:
    """What a response says.

    `switch` is True only if the switch block says SWITCH: any other text, or none, means KEEP. `subgoal` is the block's
    text (stripped), None when the block is missing. `action` is lower-cased and stripped. `valid` is True exactly when
    `problems` is empty. `*_span` (tokens) and `*_characters` are the spans of the blocks, tags included, None where the
    block is missing; token spans are None as well when no offsets were given.
    """

    switch: bool
    subgoal: str | None
    action: str
    valid: bool
    problems: tuple[str, ...]
    switch_characters: Span | None = None
    subgoal_characters: Span | None = None
    action_characters: Span | None = None
    switch_span: Span | None = None
    subgoal_span: Span | None = None
    action_span: Span | None = None


@dataclass(frozen=True)
class _Block:
    """`outer` includes the tags, `text` is what stands between them."""

    outer: Span
    text: str


@dataclass(frozen=True)
class _Reading:
    """A response taken apart: the first block of each name, the part that is no thought, and the places in it where the
    last 30 characters may not begin (text of a subgoal or of an unclosed tag)."""

    blocks: dict[str, _Block]
    said: Span
    thoughtful: bool  # a thought has ended
    hidden: list[Span]


def parse(response: str, offsets: Sequence[int] | None = None, *, thinking: bool = False) -> ParsedTurn:
    """Parse a plan-execute response.

    `offsets` `[tokens + 1]`, non-decreasing: where each token's text starts in `response`, the last entry its total
    length. `thinking`: the prompt has already opened a `<think>`, as chat templates of some reasoning models do. Valid
    turns have all three blocks, a switch text that is KEEP or SWITCH (any case, blanks around it
    ignored) and no character U+4E00–U+9FFF. As in the original it is not checked that the action is admissible, that
    KEEP copies the subgoal, that nothing else is written, or the order of the blocks.

    The original's environment side reads an unknown switch text as KEEP and its credit assignment reads it as SWITCH;
    here it is KEEP everywhere, and the turn is invalid.
    """
    return _decided(response, offsets, PLAN_EXECUTE_BLOCKS, thinking)


def parse_step(response: str, offsets: Sequence[int] | None = None, *, thinking: bool = False) -> ParsedTurn:
    """Parse a response that follows a blueprint: as `parse`, without a subgoal block."""
    return _decided(response, offsets, STEP_BLOCKS, thinking)


def _decided(response: str, offsets: Sequence[int] | None, names: tuple[str, ...], thinking: bool) -> ParsedTurn:
    reading = _read(response, names, thinking)
    decision = reading.blocks["switch"].text.strip().upper() if "switch" in reading.blocks else None
    problems = [f"no {name} block" for name in names if name not in reading.blocks]
    if decision not in (None, "KEEP", "SWITCH"):
        problems.append("switch text is neither KEEP nor SWITCH")
    return _parsed(response, offsets, reading, problems, switch=decision == "SWITCH")


def parse_plan(response: str, offsets: Sequence[int] | None = None, *, thinking: bool = False) -> ParsedTurn:
    """Parse a blueprint: the text of its subgoal block, which begins the first subgoal, and no action."""
    reading = _read(response, PLAN_BLOCKS, thinking)
    problems = [f"no {name} block" for name in PLAN_BLOCKS if name not in reading.blocks]
    if not problems and not _subgoals(reading.blocks["subgoal"].text):
        problems.append("no subgoal in the plan")
    return replace(_parsed(response, offsets, reading, problems, switch=True), action="")


def subgoals_of(plan: str | None) -> tuple[str, ...]:
    """The subgoals of a blueprint's text in order, one at least."""
    return _subgoals(plan or "") or (NO_PLAN,)


def _subgoals(plan: str) -> tuple[str, ...]:
    return tuple(part for one in plan.split(BETWEEN_SUBGOALS) if (part := " ".join(one.split())))


def parse_react(response: str, offsets: Sequence[int] | None = None, *, thinking: bool = False) -> ParsedTurn:
    """Parse a flat response: no switch and no subgoal. Valid with a thought that has ended, an action block behind it
    and no character U+4E00–U+9FFF. The other arguments are those of `parse`."""
    reading = _read(response, REACT_BLOCKS, thinking)
    problems = [] if reading.thoughtful else ["no think block"]
    problems += [f"no {name} block" for name in REACT_BLOCKS if name not in reading.blocks]
    return _parsed(response, offsets, reading, problems, switch=False)


def render(switch: bool, subgoal: str, action: str) -> str:
    """The canonical plan-execute response; `parse` reads it back if the texts hold no tags and no outer blanks."""
    decision = "SWITCH" if switch else "KEEP"
    return f"<switch>{decision}</switch><subgoal>{subgoal}</subgoal><action>{action}</action>"


def render_react(thought: str, action: str) -> str:
    """The canonical flat response."""
    return f"<think>{thought}</think><action>{action}</action>"


def render_plan(subgoals: Sequence[str]) -> str:
    """The canonical blueprint."""
    return f"<subgoal>{f'{BETWEEN_SUBGOALS} '.join(subgoals)}</subgoal>"


def render_step(switch: bool, action: str) -> str:
    """The canonical response that follows a blueprint."""
    return f"<switch>{'SWITCH' if switch else 'KEEP'}</switch><action>{action}</action>"


def continued(answer: str, thinking: bool) -> str:
    """A canonical response as it follows a prompt: where that has already opened a thought (`thinking`), the answer
    goes on with its own thought or, if it has none, closes the open one."""
    if not thinking:
        return answer
    return answer.removeprefix(THINK) if answer.startswith(THINK) else THOUGHT + answer


def opens_thought(text: str) -> bool:
    """Whether a thought is open at the end of `text`: what a chat template puts before the answer, for example."""
    return _last_start(_THINK, text) > _last_start(_THOUGHT, text)


def carried_subgoal(previous: str | None, parsed: ParsedTurn) -> str | None:
    """The subgoal in force after a turn: o_t of the paper.

    SWITCH with a non-empty subgoal text adopts it. KEEP and turns without subgoal text leave `previous` in force;
    with no previous subgoal any text given is adopted. (The original always carries the parsed text, even on KEEP, and
    loses the subgoal on several malformed turns.)
    """
    if parsed.subgoal and (parsed.switch or not previous):
        return parsed.subgoal
    return previous


def token_span(characters: Span, offsets: Sequence[int]) -> Span | None:
    """Tokens of a character span: from the token that holds its first character to the last that starts before its end.

    A token across the edge of two blocks belongs to both. None for a span without tokens.
    """
    start = max(bisect_right(offsets, characters[0]) - 1, 0)
    stop = min(bisect_left(offsets, characters[1]), len(offsets) - 1)
    return (start, stop) if start < stop else None


def _read(response: str, names: tuple[str, ...], thinking: bool) -> _Reading:
    """The blocks of these names, in order."""
    start = max((match.end() for match in _THOUGHT.finditer(response)), default=len(response) if thinking else 0)
    thoughtful = THOUGHT in response[:start] and (thinking or THINK in response[:start])
    last_closing = {name: _last_start(_CLOSING[name], response) for name in names}
    blocks: dict[str, _Block] = {}
    hidden: list[Span] = []
    position, stop = start, len(response)
    while opening := _OPENING[names].search(response, position):
        name, position = opening[1].lower(), opening.end()
        if name not in names:
            stop = opening.start()  # never closed: nothing behind it is said
            break
        # Comparing with the last closing tag first keeps a long run of unclosed tags from being searched repeatedly.
        closing = _CLOSING[name].search(response, position) if last_closing[name] >= position else None
        if closing is None:
            if name != "action":
                hidden.append((position, len(response)))
            continue
        blocks.setdefault(name, _Block((opening.start(), closing.end()), response[position : closing.start()]))
        if name == "subgoal":
            hidden.append((position, closing.start()))
        position = closing.end()
    return _Reading(blocks, (start, stop), thoughtful, hidden)


def _last_start(pattern: re.Pattern[str], text: str) -> int:
    """Start of the last match, −1 if there is none."""
    last = -1
    for match in pattern.finditer(text):
        last = match.start()
    return last


def _parsed(
    response: str,
    offsets: Sequence[int] | None,
    reading: _Reading,
    problems: list[str],
    *,
    switch: bool,
) -> ParsedTurn:
    if CHINESE.search(response):
        problems.append("Chinese character")
    blocks = reading.blocks
    characters = {name: block.outer for name, block in blocks.items()}
    tokens = {name: token_span(span, offsets) for name, span in characters.items()} if offsets is not None else {}
    return ParsedTurn(
        switch=switch,
        subgoal=blocks["subgoal"].text.strip() if "subgoal" in blocks else None,
        action=blocks["action"].text.strip().lower() if "action" in blocks else _fallback_action(response, reading),
        valid=not problems,
        problems=tuple(problems),
        switch_characters=characters.get("switch"),
        subgoal_characters=characters.get("subgoal"),
        action_characters=characters.get("action"),
        switch_span=tokens.get("switch"),
        subgoal_span=tokens.get("subgoal"),
        action_span=tokens.get("action"),
    )


def _fallback_action(response: str, reading: _Reading) -> str:
    """The last 30 characters that are no thought, as in the original but for what begins in a subgoal's text or behind
    an unclosed switch or subgoal tag.

    Such text could be executed: blanks behind it can push the tag out of the 30 characters, and a shop ignores what
    stands behind the brackets of an action.
    """
    first, stop = reading.said
    start = max(stop - FALLBACK_CHARACTERS, first)
    start = max([start, *(after for before, after in reading.hidden if before <= start < after)])
    return response[start:stop].strip().lower()
