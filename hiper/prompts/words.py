"""What a prompt says besides the state of the task: the rules of the answer, and how a benchmark's pages are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PLAN_EXECUTE_RULES = """\
{place} You work towards the task through short subgoals: one subgoal names something that a few actions can achieve; it
is neither the whole task nor a single action. At every step you first decide whether to go on with the current subgoal
or to replace it, then you act.

Answer with exactly these three blocks and nothing else, no reasoning, no comments:
<switch>KEEP</switch> or <switch>SWITCH</switch>: KEEP while the current subgoal still fits, SWITCH when it has been
reached, has become pointless, or there is none yet.
<subgoal>...</subgoal>: after KEEP the current subgoal copied letter by letter, after SWITCH the new one.
<action>...</action>: one of the admissible actions, copied letter by letter.{acting}

The shape of an answer:
<switch>...</switch>
<subgoal>...</subgoal>
<action>...</action>
"""

REACT_RULES = """\
{place} At every step you think about what the task still needs, then you act.

Answer with exactly these two blocks and nothing else:
<think>...</think>: your reasoning about the next step.
<action>...</action>: one of the admissible actions, copied letter by letter.{acting}
"""

COMPACT_RULES = {"plan_execute": "Decide, name the subgoal, act.\n", "react": "Think, act.\n"}

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
SEPARATOR = " [SEP] "  # between the texts of a WebShop page


@dataclass(frozen=True)
class Words:
    """How one benchmark is put into words.

    `place` opens the rules, `acting` ends the line about actions. `page` shows an observation in full prompts, `now`
    and `before` show the present one and earlier ones in compact prompts; each takes the task sentence, which has a
    field of its own and need not be said again, and the actions that are admissible. `listed` and `offered` show these
    actions in full and in compact prompts.
    """

    place: str
    acting: str
    page: Callable[[str, str], str]
    now: Callable[[str, str, Sequence[str]], str]
    before: Callable[[str, str], str]
    listed: str  # between two admissible actions of a full prompt
    offered: Callable[[str, Sequence[str]], str]

    def rules(self, style: str, interface: str) -> str:
        if style == "compact":
            return COMPACT_RULES[interface]
        rules = PLAN_EXECUTE_RULES if interface == "plan_execute" else REACT_RULES
        return rules.format(place=self.place, acting=self.acting)


def _as_it_is(observation: str, instruction: str) -> str:
    return observation


def _room(observation: str, instruction: str, actions: Sequence[str] = ()) -> str:
    """Without the welcome line and the task sentence."""
    return observation.replace(WELCOME, "").split("Your task is to:")[0].strip()


def _all_actions(page: str, actions: Sequence[str]) -> str:
    return "; ".join(actions)


def _page_texts(observation: str, instruction: str) -> list[str]:
    """The texts of a page behind the task sentence; all of them where it does not stand on the page."""
    texts = observation.split(SEPARATOR)
    return texts[texts.index(instruction) + 1 :] if instruction in texts else texts


def _quoted_page(observation: str, instruction: str) -> str:
    """As the released code shows a page: each text in quotation marks."""
    return SEPARATOR.join(f"'{text}'" for text in _page_texts(observation, instruction))


def _marked_page(observation: str, instruction: str, actions: Sequence[str]) -> str:
    """In lower case, as actions are, what can be clicked in brackets; without the buttons that every such page has."""
    texts = [text.lower() for text in _page_texts(observation, instruction)]
    shown = [f"[{text}]" if _click(text) in actions else text for text in texts if text and text not in BUTTONS]
    return " ".join(shown)


def _unmarked_actions(page: str, actions: Sequence[str]) -> str:
    """Those that the page does not show in brackets."""
    return "; ".join(action for action in actions if action.removeprefix("click") not in page)


def _first_text(observation: str, instruction: str) -> str:
    """What tells one kind of page from another, and no more: what else it held is not needed later."""
    texts = [text for text in _page_texts(observation, instruction) if text.lower() not in BUTTONS]
    return texts[0].lower()[:GLIMPSE] if texts else ""


def _click(text: str) -> str:
    return f"click[{text}]"


BUTTONS = frozenset(
    ("back to search", "< prev", "next >", "search", "description", "features", "reviews", "buy now", "rating: n.a.")
)
GLIMPSE = 60  # characters of an earlier page

WORDS = {
    "alfworld": Words(
        place="You act in a house described in text.",
        acting="",
        page=_as_it_is,
        now=_room,
        before=_room,
        listed="\n ",
        offered=_all_actions,
    ),
    "webshop": Words(
        place="You shop in an online store described in text: you search, open products, choose options and buy.",
        acting=" In a search, words of your own take the place of <your query>.",
        page=_quoted_page,
        now=_marked_page,
        before=_first_text,
        listed=",\n ",
        offered=_unmarked_actions,
    ),
}
