"""One turn for a person to read: what was seen, then what was answered and done and, where it is recorded, who learned
what from it.

In an answer, ‹text +0.41› are tokens that were trained with this advantage. Everything else carried no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from hiper.runs.episodes import BLOCKS
from hiper.views.terminal import harmless, inline, seen

# The field's names; an algorithm without a hierarchy has the value head `state` and one advantage for all tokens.
ADVANTAGES = {"switch": "A_switch", "subgoal": "A_high", "action": "A_low"}
# By outcome, as `hiper.runs.episodes.outcome` names it.
STYLES = {"won": "green", "truncated": "yellow", "lost": "yellow", "failed": "red"}
END = "·end·"  # shown for the end token, which has no text


@dataclass(frozen=True)
class Token:
    """One token of a response; `block` is the block it lies in, or empty."""

    text: str
    block: str
    advantage: float
    logprob: float
    trained: bool
    forced: bool

    @property
    def fate(self) -> str:
        return "trained" if self.trained else "forced" if self.forced else "not trained"


def segment_title(turn: Mapping[str, Any], *, begins: bool) -> Rule | None:
    """The line above a turn that begins a subgoal segment, with the subgoal; None for others and without subgoals."""
    if turn["subgoal"] is None or not begins:
        return None
    return Rule(Text(f"subgoal: {inline(turn['subgoal'])}", "bold"), align="left", style="cyan")


def turn_view(number: int, turn: Mapping[str, Any]) -> RenderableType:
    """A turn of an episode, `turn` as `hiper.runs.episodes` records it; `number` is counted from 0, shown from 1."""
    return Group(Text(f"turn {number + 1}", "bold"), _labelled(_lines(turn)))


def last_view(observation: str) -> RenderableType:
    """What was seen after the last action, in line with what the turns saw."""
    return _labelled([("seen last", Text(seen(observation)))])


def _labelled(lines: Iterable[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=10, justify="right", style="dim")
    table.add_column(overflow="fold")
    for label, text in lines:
        table.add_row(label, text)
    return table


def _lines(turn: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    yield "sees", Text(seen(turn["observation"]))
    if "token" in turn:
        yield "answers", answer_view(tokens_of(turn))
    elif turn["problems"]:
        yield "answers", Text(harmless(turn["response"]))
    if turn["problems"]:
        yield "malformed", Text("; ".join(turn["problems"]), "red")
    yield "does", _deed(turn)
    if "token" in turn:
        yield "values", _values(turn)
        yield from (("credit" if first else "", text) for first, text in _credit(turn))


def _deed(turn: Mapping[str, Any]) -> Text:
    """The decision on the subgoal, where there are subgoals, the action, and its reward."""
    text = Text()
    if turn["subgoal"] is not None:
        text.append("SWITCH  " if turn["switch"] else "KEEP    ", "magenta" if turn["switch"] else "")
    plan = None if turn["problems"] else turn.get("subgoal_text")  # of a turn that only plans, and does nothing
    said = turn["action"] or (f"plan: {plan}" if plan else "")
    text.append(harmless(said) or "(no action)", "bold cyan")
    return text.append(f"   reward {turn['reward']:g}", "green" if turn["reward"] > 0 else "")


def tokens_of(turn: Mapping[str, Any]) -> list[Token]:
    """The tokens of a turn that was recorded in training; a token on the edge of two blocks is of the first."""
    lists = turn["token"]
    last = lists["text"][-1] or END
    columns = ([*lists["text"][:-1], last], *(lists[name] for name in ("advantage", "logprob", "trained", "forced")))
    return [
        Token(text, _block(turn, place), advantage, logprob, bool(trained), bool(forced))
        for place, (text, advantage, logprob, trained, forced) in enumerate(zip(*columns, strict=True))
    ]


def _block(turn: Mapping[str, Any], place: int) -> str:
    spans = ((name, turn["spans"][name]) for name in BLOCKS)
    return next((name for name, span in spans if span is not None and span[0] <= place < span[1]), "")


def answer_view(tokens: Sequence[Token]) -> Text:
    """The response as one text; neighbouring trained tokens of one advantage stand in one pair of brackets."""
    shown = Text()
    for (trained, advantage), run in groupby(tokens, lambda token: (token.trained, token.trained and token.advantage)):
        text = "".join(inline(token.text) for token in run)
        if not trained:
            shown.append(text.removesuffix(END), "dim")
            continue
        shown.append(f"‹{text} {signed(advantage, 2)}›", "bold green" if advantage > 0 else "bold red")
    return shown


def _values(turn: Mapping[str, Any]) -> Text:
    parts = []
    for head, value in turn["values"].items():
        target = turn["targets"].get(head)
        name = "V" if head == "state" else f"V_{head}"
        parts.append(f"{name} {signed(value)} {'(not trained)' if target is None else f'→ {signed(target)}'}")
    return Text("   ".join(parts))


def _credit(turn: Mapping[str, Any]) -> Iterator[tuple[bool, Text]]:
    """(whether it is the first, line) per advantage: its name, its size and the tokens it went to."""
    tokens, advantages = tokens_of(turn), turn["advantages"]
    if turn["whole_response"]:
        yield True, _share("A", advantages["other"], tokens, "all tokens")
        return
    first = True
    for block in BLOCKS:
        if (span := turn["spans"][block]) is not None:
            place = f"{block} tokens {span[0]}–{span[1] - 1}"
            yield first, _share(ADVANTAGES[block], advantages[block], tokens[span[0] : span[1]], place)
            first = False
    if turn["spans"]["action"] is None:
        rest = [token for token in tokens if not token.block]
        yield (
            first,
            _share(
                "A_low",
                advantages["other"],
                rest,
                "outside blocks (without an action block the whole response gets A_low)",
            ),
        )


def _share(name: str, advantage: float, tokens: Sequence[Token], place: str) -> Text:
    counts = {fate: sum(token.fate == fate for token in tokens) for fate in ("trained", "forced", "not trained")}
    words = {"trained": "trained", "forced": "forced by the guide", "not trained": "not trained"}
    parts = [f"{count} {words[fate]}" for fate, count in counts.items() if count]
    text = Text(f"{name:<8} {signed(advantage)}", "" if counts["trained"] else "dim")
    return text.append(f"  {place}: {', '.join(parts) or 'none'}")


def signed(value: float, digits: int = 3) -> str:
    """With its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")
