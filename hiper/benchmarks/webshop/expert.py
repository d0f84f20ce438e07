"""The scripted shopper: searches for what the task names, opens the first result it can afford, chooses the options and
buys.

It knows no more than a customer: the task sentence, the page it sees and what can be clicked there. It remembers which
products it has turned down and which options it has chosen, because pages do not show the latter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiper.benchmarks.experts import Decision
from hiper.plan_execute import FREE_ACTION

SEPARATOR = " [SEP] "
PREVIOUS, NEXT, BUY, BACK = "click[< prev]", "click[next >]", "click[buy now]", "click[back to search]"
NEEDLESS = ("click[description]", "click[features]", "click[reviews]")
PAGES_AT_MOST = 3  # of results, before a product that was turned down is taken after all

_ASKING = re.compile(
    r"^(?:(?:a|am|an|buy|can|could|find|for|get|i'd|i'm|i|like|look|looking|me|need|please|search|show|some|the|to|want|"
    r"would|you)\b[ ,]*)+"
)
_SIGNS = re.compile(r"[\[\]<>\s]+")
_PRICE = re.compile(r",? and price lower than (?P<cap>[0-9.]+) dollars\.?$")
_NAME = r"(?:(?! with )[^:,])+"
_OPTION = re.compile(rf"(?: with |, and )(?P<name>{_NAME}): (?P<value>.+?)(?=, and {_NAME}: |$)")


@dataclass(frozen=True)
class Errand:
    """What a task sentence asks for, in lower case.

    `wanted` is the thing, `options` the value named for each option; `cap` the price in dollars that must not be
    reached (infinite where none is named).
    """

    wanted: str
    options: dict[str, str]
    cap: float

    @property
    def query(self) -> str:
        """Without the signs that would end the action."""
        return " ".join(_SIGNS.sub(" ", text) for text in (self.wanted, *self.options.values()))


def parse_instruction(instruction: str) -> Errand:
    """Understand a task sentence: those made from templates wholly; of a person's, only the price."""
    sentence = instruction.strip().lower()
    cap = float("inf")
    if found := _PRICE.search(sentence):
        cap, sentence = float(found["cap"]), sentence[: found.start()]
    options: dict[str, str] = {}
    if first := _OPTION.search(sentence):
        options = {found["name"]: found["value"] for found in _OPTION.finditer(sentence, first.start())}
        sentence = sentence[: first.start()]
    return Errand(_ASKING.sub("", sentence).removesuffix("."), options, cap)


class WebshopExpert:
    """Plays one episode: `act` once per turn, first with the first observation.

    Subgoals are `find <what is wanted>` (search, open a product, go back from one that lacks an option), `choose
    <values>` and `buy it`. `hesitation` is the chance of a needless look at another page of a product, from which the
    next turn comes back; never twice for one product.
    """

    def __init__(self, instruction: str, random: np.random.Generator, hesitation: float) -> None:
        self._errand = parse_instruction(instruction)
        self._sentence = instruction.lower()
        self._random = random
        self._hesitation = hesitation
        self._subgoal = ""
        self._turned_down: set[str] = set()  # actions that open products which lack an option
        self._settled = False  # what was turned down is taken after all
        self._chosen: list[str] = []
        self._opened = ""
        self._lingers = False

    def act(self, observation: str, admissible: Sequence[str]) -> Decision:
        """Decide one turn from what is seen now; the action is always admissible (a search fills in its free text)."""
        subgoal, action = self._plan(observation.split(SEPARATOR), admissible)
        switch, self._subgoal = subgoal != self._subgoal, subgoal
        return Decision(switch, subgoal, action)

    def _plan(self, texts: list[str], admissible: Sequence[str]) -> tuple[str, str]:
        find = f"find {self._errand.wanted}"
        if FREE_ACTION in admissible:
            return find, f"search[{self._errand.query}]"
        if NEXT in admissible:
            return find, self._from_results(texts, admissible)
        if BUY in admissible:
            return self._from_product(find, texts, admissible)
        return self._subgoal or find, PREVIOUS if PREVIOUS in admissible else BACK

    def _from_results(self, texts: list[str], admissible: Sequence[str]) -> str:
        """Open the first product that is cheap enough and has not been turned down, or go on to the next page."""
        listed = [(f"click[{asin.lower()}]", price) for asin, price in _listed(texts)]
        cheap = [action for action, price in listed if price <= self._errand.cap and action in admissible]
        page = next((int(number) for text in texts for number in re.findall(r"^Page (\d+) ", text)), 1)
        if fresh := [action for action in cheap if action not in self._turned_down]:
            return self._open(fresh[0])
        if listed and page < PAGES_AT_MOST and not self._settled:
            return NEXT
        self._settled = True
        if cheap:
            return self._open(cheap[0])
        return PREVIOUS if PREVIOUS in admissible else BACK

    def _open(self, action: str) -> str:
        self._opened, self._chosen = action, []
        self._lingers = bool(self._random.random() < self._hesitation)
        return action

    def _from_product(self, find: str, texts: list[str], admissible: Sequence[str]) -> tuple[str, str]:
        wanted = self._wanted_values(texts, admissible)
        if wanted is None and not self._settled:
            self._turned_down.add(self._opened)
            return find, PREVIOUS
        values = wanted or []
        left = [value for value in values if value not in self._chosen]
        subgoal = f"choose {' and '.join(values)}" if left else "buy it"
        if self._lingers:
            self._lingers = False
            return subgoal, NEEDLESS[int(self._random.integers(len(NEEDLESS)))]
        if not left:
            return subgoal, BUY
        self._chosen.append(left[0])
        return subgoal, f"click[{left[0]}]"

    def _wanted_values(self, texts: list[str], admissible: Sequence[str]) -> list[str] | None:
        """The values to click, in the page's order; None where the product lacks one that the task names."""
        groups = _options(texts, admissible)
        if self._errand.options:
            found = [self._errand.options[name] for name in groups if name in self._errand.options]
            offered = {value for values in groups.values() for value in values}
            complete = len(found) == len(self._errand.options) and all(value in offered for value in found)
            return [value for value in found if f"click[{value}]" in admissible] if complete else None
        # a person's sentence: the longest value of each option that it mentions
        mentioned = (
            [v for v in values if re.search(rf"\b{re.escape(v)}\b", self._sentence)] for values in groups.values()
        )
        return [max(values, key=len) for values in mentioned if values]


def _listed(texts: list[str]) -> list[tuple[str, float]]:
    """(asin, lowest price) of the products on a page of results, best first."""
    after = texts[texts.index("Next >") + 1 :] if "Next >" in texts else []
    return [(after[place], _dollars(after[place + 2])) for place in range(0, len(after) - 2, 3)]


def _dollars(tag: str) -> float:
    found = re.search(r"\d+(?:\.\d+)?", tag)
    return float(found[0]) if found else 0.0


def _options(texts: list[str], admissible: Sequence[str]) -> dict[str, list[str]]:
    """Option name -> values, as a product's page lists them: a name is what cannot be clicked."""
    start = texts.index("< Prev") + 1 if "< Prev" in texts else 0
    end = next((place for place, text in enumerate(texts) if text.startswith("Price: ")), len(texts)) - 1
    clickable = frozenset(admissible)
    groups: dict[str, list[str]] = {}
    name = ""
    for text in texts[start:end]:
        if name and f"click[{text}]" in clickable:
            groups[name].append(text)
        else:
            name = text
            groups.setdefault(name, [])
    return groups
