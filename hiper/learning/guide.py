"""Guided decoding: which tokens may come next so that a response has the block format and an admissible action.

The restriction changes the policy: probabilities are renormalised over the permitted tokens, by the sampler and, with
the same sets, in training (`Restriction`). Under KEEP the current subgoal is copied; without one only SWITCH is
permitted. Where an admissible action holds `FREE_TEXT` (a search), any text may stand in its place that cannot be taken
for the end of the action.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hiper.errors import UserError
from hiper.plan_execute import FREE_TEXT

# Entries of `Generation.allowed` that stand for a class of tokens instead of listing ids.
TEXT_OR_CLOSE: tuple[int, ...] = ()
TEXT: tuple[int, ...] = (-1,)
QUERY: tuple[int, ...] = (-2,)
QUERY_OR_CLOSE: tuple[int, ...] = (-3,)
CLASSES = (TEXT_OR_CLOSE, TEXT, QUERY, QUERY_OR_CLOSE)
QUERY_END = "]"
NOT_IN_QUERIES = "[]<>\n"  # would end the action, or make another one of it

TAGS = ("<switch>", "</switch>", "<subgoal>", "</subgoal>", "<action>", "</action>", "<think>", "</think>")


@dataclass(frozen=True)
class Gap:
    """Free text: the class of its first token, that of the later ones, the token that ends it, what follows."""

    first: tuple[int, ...]
    later: tuple[int, ...]
    close: int
    after: Node


@dataclass
class Node:
    """A prefix tree over token sequences; `gap` says that free text begins here."""

    children: dict[int, Node] = field(default_factory=dict)
    gap: Gap | None = None

    def add(self, tokens: Iterable[int]) -> Node:
        node = self
        for token in tokens:
            node = node.children.setdefault(token, Node())
        return node


class Guide:
    """Builds the state machine of one response. `tokenizer` is a Hugging Face fast tokenizer with the tags as single
    tokens."""

    def __init__(self, tokenizer: Any, interface: str, max_text_tokens: int, end: int) -> None:
        self.tokenizer, self.interface, self.end = tokenizer, interface, end
        self.max_text_tokens = max_text_tokens
        self.tag = {}
        for tag in TAGS:
            ids = self.encode(tag)
            if len(ids) != 1:
                raise UserError(
                    f"decoding.mode=guided needs {tag} to be one token of the tokenizer, here it is {len(ids)}; "
                    "use decoding.mode=free with this model"
                )
            self.tag[tag] = ids[0]
        self.special = frozenset(int(i) for i in tokenizer.all_special_ids) | frozenset(self.tag.values())

    @lru_cache(maxsize=65536)  # noqa: B019  one guide lives as long as its policy
    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def start(self, admissible_actions: Sequence[str], subgoal: str | None) -> GuideState:
        """`subgoal` is the one in force, None or empty when there is none."""
        actions = Node()
        for action in admissible_actions:
            self._add(actions, action)
        root, acting = Node(), Node({self.tag["<action>"]: actions})
        if self.interface == "react":
            # the flat prompt's reasoning is free text between the think tags
            root.add([self.tag["<think>"]]).gap = Gap(TEXT, TEXT_OR_CLOSE, self.tag["</think>"], acting)
            return GuideState(self, root)
        opened = (self.tag["</switch>"], self.tag["<subgoal>"])
        stated = root.add([self.tag["<switch>"], *self.encode("SWITCH"), *opened])
        stated.gap = Gap(TEXT, TEXT_OR_CLOSE, self.tag["</subgoal>"], acting)
        if subgoal:
            kept = (*self.encode(subgoal), self.tag["</subgoal>"], self.tag["<action>"])
            root.add([self.tag["<switch>"], *self.encode("KEEP"), *opened, *kept]).children = actions.children
        return GuideState(self, root)

    def _add(self, actions: Node, action: str) -> None:
        closed = (self.tag["</action>"], self.end)
        before, free, after = action.partition(FREE_TEXT)
        if not free:
            actions.add((*self.encode(action), *closed))
            return
        if after != QUERY_END or len(self.encode(QUERY_END)) != 1:
            raise UserError(f"decoding.mode=guided needs {QUERY_END!r}, one token, behind the free text of {action!r}")
        rest = Node()
        rest.add(closed)
        actions.add(self.encode(before)).gap = Gap(QUERY, QUERY_OR_CLOSE, self.encode(QUERY_END)[0], rest)


class GuideState:
    """Where one response stands; `allowed` is what may come next, `advance` takes the token that came."""

    def __init__(self, guide: Guide, node: Node) -> None:
        self.guide, self.node = guide, node
        self.text_tokens = 0  # of the gap that is being filled

    def allowed(self) -> tuple[int, ...]:
        gap = self.node.gap
        if gap is None:
            return tuple(self.node.children)
        if self.text_tokens == 0:
            return gap.first
        if self.text_tokens >= self.guide.max_text_tokens:
            return (gap.close,)
        return gap.later

    def advance(self, token: int) -> bool:
        """True when the response is complete."""
        gap = self.node.gap
        if gap is not None:
            if token == gap.close:
                self.node, self.text_tokens = gap.after, 0
            else:
                self.text_tokens += 1
            return False
        self.node = self.node.children[token]
        return token == self.guide.end


def allowed_rows(allowed: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int], dict[tuple[int, ...], list[int]]]:
    """Split permitted sets into index lists: (rows, ids) of explicit sets, and the rows of each of CLASSES."""
    rows: list[int] = []
    ids: list[int] = []
    classes: dict[tuple[int, ...], list[int]] = {name: [] for name in CLASSES}
    for row, permitted in enumerate(allowed):
        if permitted in classes:
            classes[permitted].append(row)
        else:
            rows.extend([row] * len(permitted))
            ids.extend(permitted)
    return rows, ids, classes
