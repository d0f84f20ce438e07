"""Guided decoding: which tokens may come next so that a response has the block format and an admissible action.

The restriction changes the policy: probabilities are renormalised over the permitted tokens, by the sampler and, with
the same sets, in training (`Restriction`). Under KEEP the current subgoal is copied; without one only SWITCH is
permitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hiper.errors import UserError

# Entries of `Generation.allowed` that stand for a class of tokens instead of listing ids.
TEXT_OR_CLOSE: tuple[int, ...] = ()
TEXT: tuple[int, ...] = (-1,)

TAGS = ("<switch>", "</switch>", "<subgoal>", "</subgoal>", "<action>", "</action>", "<think>", "</think>")


@dataclass
class Node:
    """A prefix tree over token sequences; `text` marks the point where free subgoal text begins."""

    children: dict[int, Node] = field(default_factory=dict)
    text: bool = False

    def add(self, tokens: Iterable[int]) -> Node:
        node = self
        for token in tokens:
            node = node.children.setdefault(token, Node())
        return node


class Guide:
    """Builds the state machine of one response. `tokenizer` is a Hugging Face fast tokenizer with the tags as single
    tokens."""

    def __init__(self, tokenizer: Any, interface: str, max_subgoal_tokens: int, end: int) -> None:
        self.tokenizer, self.interface, self.end = tokenizer, interface, end
        self.max_subgoal_tokens = max_subgoal_tokens
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
            actions.add((*self.encode(action), self.tag["</action>"], self.end))
        root = Node()
        if self.interface == "react":
            # the flat prompt's reasoning is free text between the think tags
            root.add([self.tag["<think>"]]).text = True
            return GuideState(self, root, actions, self.tag["</think>"])
        opened = (self.tag["</switch>"], self.tag["<subgoal>"])
        root.add([self.tag["<switch>"], *self.encode("SWITCH"), *opened]).text = True
        if subgoal:
            kept = (*self.encode(subgoal), self.tag["</subgoal>"], self.tag["<action>"])
            root.add([self.tag["<switch>"], *self.encode("KEEP"), *opened, *kept]).children = actions.children
        return GuideState(self, root, actions, self.tag["</subgoal>"])


class GuideState:
    """Where one response stands; `allowed` is what may come next, `advance` takes the token that came."""

    def __init__(self, guide: Guide, node: Node, actions: Node, close: int) -> None:
        self.guide, self.node, self.actions, self.close = guide, node, actions, close
        self.text_tokens = 0

    def allowed(self) -> tuple[int, ...]:
        if not self.node.text:
            return tuple(self.node.children)
        if self.text_tokens == 0:
            return TEXT
        if self.text_tokens >= self.guide.max_subgoal_tokens:
            return (self.close,)
        return TEXT_OR_CLOSE

    def advance(self, token: int) -> bool:
        """True when the response is complete."""
        if self.node.text:
            if token == self.close:
                self.node = Node({self.guide.tag["<action>"]: self.actions})
            else:
                self.text_tokens += 1
            return False
        self.node = self.node.children[token]
        return token == self.guide.end


def allowed_rows(allowed: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Split permitted sets into index lists: (rows, ids) of explicit sets, rows of TEXT, rows of TEXT_OR_CLOSE."""
    rows: list[int] = []
    ids: list[int] = []
    text: list[int] = []
    text_or_close: list[int] = []
    for row, permitted in enumerate(allowed):
        if permitted == TEXT:
            text.append(row)
        elif permitted == TEXT_OR_CLOSE:
            text_or_close.append(row)
        else:
            rows.extend([row] * len(permitted))
            ids.extend(permitted)
    return rows, ids, text, text_or_close
