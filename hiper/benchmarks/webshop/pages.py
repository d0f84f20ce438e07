"""What each page of the shop shows and lets be clicked: the texts of the original's HTML, without HTML.

An observation is the page's texts joined by ` [SEP] `. Where the original would show an option as chosen, nothing
changes: its text observations never say which options are chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hiper.benchmarks.webshop.products import Product

SEPARATOR = " [SEP] "
PER_PAGE = 10  # products on a page of results
SEARCH, BACK_TO_SEARCH, PREVIOUS, NEXT, BUY_NOW = "search", "back to search", "< prev", "next >", "buy now"
SUB_PAGES = ("description", "features", "reviews")
CACHED_PRODUCTS = 2048  # of each kind of page; 6 MB together with the real products

_BLANK = " \n\t\f\r"  # what the original's HTML parser takes for white space
_SUB_PAGE_CLICKABLES = (BACK_TO_SEARCH, PREVIOUS)
_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"})


@dataclass(frozen=True, slots=True)
class Page:
    """What an agent gets to see: the text, whether there is a search bar, and what can be clicked, in lower case."""

    observation: str
    has_search_bar: bool
    clickables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """The part of a page below the instruction. `links`: clickable -> asin or option name, None for a button."""

    text: str
    links: Mapping[str, str | None]
    clickables: tuple[str, ...]


class ProductPages:
    """The bodies of pages that depend on a product alone, made when first needed, kept for the products used last.

    One of these serves all sessions of a process. `find` gives the product of an asin.
    """

    def __init__(self, find: Callable[[str], Product], size: int = CACHED_PRODUCTS) -> None:
        self._find = find
        self.item = lru_cache(size)(self._item)
        self.sub_page = lru_cache(size)(self._sub_page)
        self.listing = lru_cache(size)(self._listing)

    def results(self, asins: Sequence[str], number: int, total: int) -> Body:
        """Page `number` of `total` results, which shows the products `asins`."""
        texts = ["Back to Search", f"Page {number} (Total results: {total})"]
        links: dict[str, str | None] = {BACK_TO_SEARCH: None}
        if number > 1:
            texts.append("< Prev")
            links[PREVIOUS] = None
        texts.append("Next >")
        links[NEXT] = None
        for asin in asins:
            texts.append(self.listing(asin))
            links[asin.lower()] = asin
        return _body(texts, links)

    def _listing(self, asin: str) -> str:
        product = self._find(asin)
        return SEPARATOR.join([*shown(asin), *shown(product.title), *shown(product.price_tag)])

    def _item(self, asin: str) -> Body:
        """The page of a product. Of two options with the same value only the last can be chosen, as in the original."""
        product = self._find(asin)
        texts = ["Back to Search", "< Prev"]
        links: dict[str, str | None] = dict.fromkeys((BACK_TO_SEARCH, PREVIOUS, *SUB_PAGES, BUY_NOW))
        for name, values in product.options.items():
            texts += shown(name)
            for value in values:
                texts += shown(value)
                links[value] = name
        texts += [*shown(product.title), *shown(f"Price: {product.price_tag}"), "Rating: N.A."]
        return _body([*texts, "Description", "Features", "Reviews", "Buy Now"], links)

    def _sub_page(self, asin: str, name: str) -> Body:
        product = self._find(asin)
        texts = ["Back to Search", "< Prev"]
        if name == "description":
            texts += shown(product.description)
        elif name == "features":
            for bullet in product.bullets:
                texts += shown(f" {bullet}")  # the original's page has a space here, so that an empty one shows
        return _body(texts, dict.fromkeys(_SUB_PAGE_CLICKABLES))


def _body(texts: Iterable[str], links: Mapping[str, str | None]) -> Body:
    return Body(SEPARATOR.join(texts), links, tuple(links))


def shown(text: str) -> tuple[str, ...]:
    """What one text of the page leaves in the observation: itself stripped, an empty piece, or nothing at all.

    Blank texts leave an empty piece, but nothing when a line break is among the blanks.
    """
    if text.strip(_BLANK):
        return (text.strip(),)
    return ("",) if text and "\n" not in text else ()


def heading(instruction: str) -> str:
    """How every page but the last begins."""
    return SEPARATOR.join(["Instruction:", *shown(instruction)])


def start_page(instruction: str) -> Page:
    return Page(SEPARATOR.join(["WebShop", heading(instruction), "Search"]), True, (SEARCH,))


def done_page(asin: str, chosen: Mapping[str, str], score: float) -> Page:
    """The page after the purchase; `instuction` is the original's spelling."""
    texts = ["Thank you for shopping with us!", "Your code:", "None", "(Paste it in your MTurk interface.)"]
    texts += ["Purchased", "asin", *shown(asin), "options", json.dumps(chosen, sort_keys=True).translate(_HTML_SAFE)]
    texts += ["attrs", "None", "category", "None", "query", "None", "product category", "None"]
    texts += ["Target", "asin", "options", "attrs", "price upper", "instuction text"]
    texts += ["category", "product category", "query", "Goal", "None"]
    texts += ["Reward", "Your score (min 0.0, max 1.0)", str(score), "Reward Details", "None"]
    return Page(SEPARATOR.join(texts), False, ())
