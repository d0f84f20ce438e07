"""How WebShop's pages are put into words."""

from __future__ import annotations

from collections.abc import Sequence

from hiper.prompts.words import Words

SEPARATOR = " [SEP] "  # between the texts of a page
BUTTONS = frozenset(
    ("back to search", "< prev", "next >", "search", "description", "features", "reviews", "buy now", "rating: n.a.")
)
GLIMPSE = 60  # characters of an earlier page


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


def _read_page(observation: str, instruction: str) -> str:
    """A line for each text, in brackets where it is a button; a product of a page of results on one line."""
    lines: list[str] = []
    for text in filter(None, _page_texts(observation, instruction)):
        if text.startswith("$") and len(lines) > 1:  # its code and its title came before its price
            lines[-2:] = [" · ".join([*lines[-2:], text])]
        else:
            lines.append(f"[{text}]" if text.lower() in BUTTONS else text)
    return "\n".join(lines).replace("]\n[", "] [")


def _click(text: str) -> str:
    return f"click[{text}]"


WORDS = Words(
    place="You shop in an online store described in text: you search, open products, choose options and buy.",
    acting=" In a search, words of your own take the place of <your query>.",
    page=_quoted_page,
    now=_marked_page,
    before=_first_text,
    read=_read_page,
    listed=",\n ",
    offered=_unmarked_actions,
)
