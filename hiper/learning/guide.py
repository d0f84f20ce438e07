"""Guided decoding: which tokens may come next so that a response has the block format and an admissible action.

The restriction changes the policy: probabilities are renormalised over the permitted tokens, by the sampler and, with
the same sets, in training (`Restriction`). Under KEEP the current subgoal is copied; without one only SWITCH is
permitted. Where the interface is `blueprint`, an answer without a current subgoal is a plan, any text, and the others
name none. Where an admissible action is `FREE_ACTION` (a search), any text may stand in its place that cannot be taken
for the end of the action. Free text can spell no tag. A choice after which no answer would end within the limit is not
permitted.

A tag may be one token, as in the tokenizers made here, or several, as in those of pretrained models. Then a guided
answer is cut: each tag, the decision, each text and what surrounds a search are encoded by themselves. So no token lies
across the edge of a block, whatever merges the tokenizer has, and the credit of one block touches no other. Training
encodes demonstrated answers in the same way (`answer_tokens`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hiper.errors import UserError
from hiper.plan_execute import FREE_ACTION, FREE_TEXT, parse

# Entries of `Generation.allowed` that stand for a class of tokens instead of listing ids.
TEXT_OR_CLOSE: tuple[int, ...] = ()
TEXT: tuple[int, ...] = (-1,)
QUERY: tuple[int, ...] = (-2,)
QUERY_OR_CLOSE: tuple[int, ...] = (-3,)
CLASSES = (TEXT_OR_CLOSE, TEXT, QUERY, QUERY_OR_CLOSE)
QUERY_END = "]"
NOT_IN_TEXT = "<"  # begins every tag
NOT_IN_QUERIES = "[]<>\n"  # would end the action, or make another one of it

TAGS = ("<switch>", "</switch>", "<subgoal>", "</subgoal>", "<action>", "</action>", "<think>", "</think>")
_TAGS = re.compile(f"({'|'.join(TAGS)})")


def answer_tokens(tokenizer: Any, answers: Sequence[str]) -> list[list[int]]:
    """Canonical answers (`hiper.plan_execute.render`) in the tokens that a guide permits, without the end token."""
    if tokenizer.get_added_vocab().keys() >= {*TAGS}:
        return _encoded(tokenizer, answers)  # which cuts at them by itself
    cut = [[*_cut(answer)] for answer in answers]
    pieces = list(dict.fromkeys(piece for part in cut for piece in part))
    known = dict(zip(pieces, _encoded(tokenizer, pieces), strict=True))
    return [[token for piece in part for token in known[piece]] for part in cut]


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """In one batch: the tokenizer's own parallel encoding is an order of magnitude faster than one call per text."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return ids


def _cut(answer: str) -> Iterator[str]:
    """The pieces of an answer that a guide encodes by themselves."""
    start, _, stop = FREE_ACTION.partition(FREE_TEXT)
    before = ""
    for piece in filter(None, _TAGS.split(answer)):
        if before == "<action>" and len(piece) > len(start + stop) and piece.startswith(start) and piece.endswith(stop):
            yield from (start, piece[len(start) : -len(stop)], stop)
        else:
            yield piece
        before = piece


@dataclass(frozen=True)
class Gap:
    """Free text: the class of its first token, that of the later ones, the token that ends it (the first of a closing
    tag), what follows."""

    first: tuple[int, ...]
    later: tuple[int, ...]
    close: int
    after: Node


@dataclass
class Node:
    """A prefix tree over token sequences; `gap` says that free text begins here. `shortest` is the number of tokens
    from here to the nearest end."""

    children: dict[int, Node] = field(default_factory=dict)
    gap: Gap | None = None
    shortest: int = sys.maxsize

    def add(self, tokens: Sequence[int], end: Node) -> None:
        """Put `end` behind these tokens, one at least; where free text may stand already, nothing is added."""
        node, left = self, len(tokens) + end.shortest
        for token in tokens[:-1]:
            node.shortest, left = min(node.shortest, left), left - 1
            node = node.children.setdefault(token, Node())
            if node.gap is not None:
                return
        node.shortest = min(node.shortest, left)
        node.children[tokens[-1]] = end


def _free(first: tuple[int, ...], later: tuple[int, ...], close: Sequence[int], after: Node) -> Node:
    """Free text that the tokens `close` end."""
    if len(close) > 1:
        closing = Node()
        closing.add(close[1:], after)
        after = closing
    return Node(gap=Gap(first, later, close[0], after), shortest=2 + after.shortest)


class Guide:
    """Builds the state machine of one response. `tokenizer` is a Hugging Face fast tokenizer, `limit` the most tokens
    of a response; `thinking`: the chat template has already opened a `<think>`. `tag` has the tokens of each tag."""

    def __init__(
        self,
        tokenizer: Any,
        interface: str,
        max_text_tokens: int,
        end: int,
        thinking: bool = False,
        limit: int = sys.maxsize,
    ) -> None:
        self.tokenizer, self.interface, self.end = tokenizer, interface, end
        self.max_text_tokens, self.thinking, self.limit = max_text_tokens, thinking, limit
        self.tag = {tag: self._tag(tag) for tag in TAGS}
        # control tokens that the tokenizer gives no role, as Mistral's [INST], are no text either
        control = [number for number, added in tokenizer.added_tokens_decoder.items() if added.special]
        single = [tokens[0] for tokens in self.tag.values() if len(tokens) == 1]
        self.special = frozenset(int(i) for i in (*tokenizer.all_special_ids, *control, *single))

    @lru_cache(maxsize=65536)  # noqa: B019  one guide lives as long as its policy
    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _tag(self, tag: str) -> tuple[int, ...]:
        """The tokens of a tag, of which the first shows that no text goes on."""
        tokens = self.encode(tag)
        if self._decode(tokens) != tag or NOT_IN_TEXT not in self._decode(tokens[:1]) or self.end in tokens:
            raise UserError(
                f"decoding.mode=guided: the tokenizer writes {tag} as {self._decode(tokens)!r}; use decoding.mode=free "
                "with this model"
            )
        return tokens

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    @lru_cache(maxsize=65536)  # noqa: B019
    def written(self, block: str, text: str) -> tuple[int, ...] | None:
        """The tokens of a block's text; None where an answer that holds them would be read otherwise, because the text
        closes the block or the answer, or the tokenizer does not give it back."""
        tokens = self.encode(text)
        parsed = parse(self._decode((*self.tag[f"<{block}>"], *tokens, *self.tag[f"</{block}>"])))
        said = parsed.subgoal == text.strip() if block == "subgoal" else parsed.action == text.strip().lower()
        return tokens if said and self.end not in tokens else None

    def start(self, admissible_actions: Sequence[str], subgoal: str | None) -> GuideState:
        """`subgoal` is the one in force, None or empty when there is none. UserError where none of the actions can be
        written, or not within the limit."""
        actions = Node()
        for action in admissible_actions:
            self._add(actions, action)
        if not actions.children:
            shown = ", ".join(map(ascii, admissible_actions))[:200] or "there is none"
            raise UserError(
                f"decoding.mode=guided: no answer can name an admissible action of this state ({shown}); mend "
                "the data, or use decoding.mode=free"
            )
        acting = Node()
        acting.add(self.tag["<action>"], actions)
        root = self._root(acting, subgoal)
        if root.shortest > self.limit:
            raise UserError(
                f"decoding.max_response_tokens = {self.limit}, but the shortest answer that decoding.mode=guided "
                f"permits here has {root.shortest} tokens; raise it"
            )
        return GuideState(self, root)

    def _root(self, acting: Node, subgoal: str | None) -> Node:
        root = Node()
        if self.interface == "react":
            # the flat prompt's reasoning is free text between the think tags
            thought = _free(TEXT, TEXT_OR_CLOSE, self.tag["</think>"], acting)
            if self.thinking:
                return thought
            root.add(self.tag["<think>"], thought)
            return root
        closed = self.tag["</think>"] if self.thinking else ()  # no thoughts with subgoals: close the open one
        before = (*closed, *self.tag["<switch>"])
        if self.interface == "blueprint" and not subgoal:
            done = Node()
            done.add((self.end,), Node(shortest=0))
            root.add((*closed, *self.tag["<subgoal>"]), _free(TEXT, TEXT_OR_CLOSE, self.tag["</subgoal>"], done))
            return root
        if self.interface == "blueprint":
            for decision in ("KEEP", "SWITCH"):
                root.add([*before, *self.encode(decision), *self.tag["</switch>"]], acting)
            return root
        opened = (*self.tag["</switch>"], *self.tag["<subgoal>"])
        stated = _free(TEXT, TEXT_OR_CLOSE, self.tag["</subgoal>"], acting)
        root.add([*before, *self.encode("SWITCH"), *opened], stated)
        kept = self.written("subgoal", subgoal) if subgoal else None
        if kept:
            root.add([*before, *self.encode("KEEP"), *opened, *kept, *self.tag["</subgoal>"]], acting)
        return root

    def _add(self, actions: Node, action: str) -> None:
        closed = (*self.tag["</action>"], self.end)
        if action != FREE_ACTION:
            tokens = self.written("action", action)
            if tokens is not None:
                actions.add([*tokens, *closed], Node(shortest=0))
            return
        before, _, after = action.partition(FREE_TEXT)
        if after != QUERY_END or len(self.encode(QUERY_END)) != 1:
            raise UserError(f"decoding.mode=guided needs {QUERY_END!r}, one token, behind the free text of {action!r}")
        rest = Node()
        rest.add(closed, Node(shortest=0))
        actions.add(self.encode(before), _free(QUERY, QUERY_OR_CLOSE, self.encode(QUERY_END), rest))


class GuideState:
    """Where one response stands; `allowed` is what may come next, `advance` takes the token that came."""

    def __init__(self, guide: Guide, node: Node) -> None:
        self.guide, self.node = guide, node
        self.left = guide.limit  # tokens that may still come
        self.text_tokens = 0  # of the gap that is being filled

    def allowed(self) -> tuple[int, ...]:
        gap = self.node.gap
        if gap is None:
            return tuple(token for token, node in self.node.children.items() if node.shortest < self.left)
        if self.text_tokens == 0:
            return gap.first
        if self.text_tokens >= self.guide.max_text_tokens or self.left < self.node.shortest:
            return (gap.close,)
        return gap.later

    def advance(self, token: int) -> bool:
        """True when the response is complete."""
        self.left -= 1
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
