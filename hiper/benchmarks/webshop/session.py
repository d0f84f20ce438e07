"""One shopping session: which action leads to which page, and what the purchase is worth.

The rules are those of WebShop's text environment. `exact` repeats it with everything it does by accident; `strict`
differs where the original crashes or lets an agent see or do what no customer could (docs/deviations.md, "WebShop").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Literal, Protocol, get_args

from hiper.benchmarks.webshop.goals import Goal
from hiper.benchmarks.webshop.pages import (
    BACK_TO_SEARCH,
    BUY_NOW,
    NEXT,
    PER_PAGE,
    PREVIOUS,
    SEARCH,
    SEPARATOR,
    SUB_PAGES,
    Body,
    Page,
    ProductPages,
    done_page,
    heading,
    start_page,
)
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.reward import Reward, score
from hiper.benchmarks.webshop.search import HITS

Mode = Literal["exact", "strict"]


class Catalogue(Protocol):
    """The shop that sessions visit; one serves all sessions of a process. Only `exact` uses the last three methods."""

    def product(self, asin: str) -> Product:
        """KeyError when there is none."""
        ...

    def price(self, asin: str) -> float:
        """In dollars; one value even where the page shows a range."""
        ...

    def search(self, keywords: str) -> Sequence[str]:
        """Asins of at most HITS products, best first; never of a product that `product` lacks."""
        ...

    def nouns(self, title: str) -> Sequence[str]:
        """The nouns of a product's title, in lower case, repeats included."""
        ...

    def random_products(self, count: int) -> Sequence[str]: ...

    def by_query(self, query: str) -> Sequence[str]: ...

    def by_category(self, category: str) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What an action led to. `accepted`: the page allowed it, though it may show the same as before (an option).

    `reward` in [0, 1] and its parts, `detail`, come with the purchase.
    """

    page: Page
    reward: float
    done: bool
    accepted: bool
    detail: Reward | None = None


class _Place(Enum):
    START, RESULTS, ITEM, SUB_PAGE, DONE = range(5)


class Session:
    """A customer with one goal; made at the start page.

    `pages` may be shared by all sessions on the same catalogue. Any string is an action. In `strict` no action raises,
    and after the purchase nothing happens any more. In `exact` one can go on after the purchase, and two searches
    raise, as in the original: `search[<a> …]` TypeError, `search[<c>]` IndexError.
    """

    def __init__(
        self, catalogue: Catalogue, goal: Goal, mode: Mode = "strict", pages: ProductPages | None = None
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode {mode!r}: must be one of {get_args(Mode)}")
        self._catalogue = catalogue
        self._goal = goal
        self._exact = mode == "exact"
        self._pages = pages or ProductPages(catalogue.product)
        self._start = start_page(goal.instruction)
        self._heading = heading(goal.instruction) + SEPARATOR
        self.reset()

    @property
    def page(self) -> Page:
        return self._page

    @property
    def asin(self) -> str | None:
        """The product that is looked at or was bought."""
        return self._asin

    @property
    def chosen(self) -> Mapping[str, str]:
        """The options chosen for it, name -> value."""
        return MappingProxyType(self._chosen)

    def reset(self) -> Page:
        """Back to the start page; the goal stays."""
        self._place, self._page = _Place.START, self._start
        self._links: Mapping[str, str | None] = {SEARCH: None}
        self._keywords, self._number = "", 0
        self._hits: Sequence[str] = ()
        self._asin: str | None = None
        self._chosen: dict[str, str] = {}
        return self._page

    def step(self, action: str) -> Step:
        if self._place is _Place.DONE and not self._exact:
            return Step(self._page, 0.0, True, False)
        name, argument = parse_action(action)
        argument = argument.lower()
        if name == "search" and argument:
            self._hits = self._find(argument)
            self._keywords = argument
            self._show_results(1)
        elif name == "click" and argument and argument in self._links and argument != SEARCH:
            if argument == BUY_NOW:
                return self._buy()
            self._click(argument)
        else:
            return Step(self._page, 0.0, False, False)
        return Step(self._page, 0.0, False, True)

    def _click(self, name: str) -> None:
        """Buttons go before options of the same name."""
        if name == BACK_TO_SEARCH:
            self.reset()
        elif name == NEXT and self._recognised() is _Place.RESULTS:
            self._turn_to(self._number + 1)
        elif name == PREVIOUS:
            self._go_back()
        elif name in SUB_PAGES:
            self._show_body(_Place.SUB_PAGE, self._pages.sub_page(self._current(), name))
        elif self._place is _Place.RESULTS:
            self._asin = self._links[name]
            self._show_item()
        else:
            self._chosen[str(self._links[name]).lower()] = name

    def _go_back(self) -> None:
        place = self._recognised()
        if place is _Place.SUB_PAGE:
            self._show_item()
        else:
            self._turn_to(self._number - (place is _Place.RESULTS))

    def _recognised(self) -> _Place:
        """The kind of page that the session takes the current one for.

        The original looks for the names of its pages in an address that also holds the keywords and the chosen options.
        """
        if self._exact and self._place in (_Place.ITEM, _Place.SUB_PAGE):
            address = " ".join([self._keywords, *self._chosen, *self._chosen.values()])
            if "search_results" in address:
                return _Place.RESULTS
            if "item_page" in address:
                return _Place.ITEM
        return self._place

    def _turn_to(self, number: int) -> None:
        if self._exact and self._keywords.split(" ")[0] == "<r>":
            self._hits = self._find(self._keywords)  # the original draws other products for each page
        self._show_results(number)

    def _find(self, keywords: str) -> Sequence[str]:
        if not self._exact:
            return self._catalogue.search(keywords)
        first, *rest = keywords.split(" ")
        match first:
            case "<r>":
                return self._catalogue.random_products(HITS)
            case "<a>":
                raise TypeError("'NoneType' object is not subscriptable")
            case "<c>":
                if not rest:
                    raise IndexError("list index out of range")
                return self._catalogue.by_category(rest[0].strip())
            case "<q>":
                return self._catalogue.by_query(" ".join(rest).strip())
        return self._catalogue.search(keywords)

    def _buy(self) -> Step:
        asin = self._current()
        product, nouns = self._catalogue.product(asin), self._catalogue.nouns
        price = self._catalogue.price(asin)
        detail = score(self._goal, product, self._chosen, price, nouns(self._goal.name), nouns(product.title))
        self._place, self._links = _Place.DONE, {}
        self._page = done_page(asin, self._chosen, detail.total)
        return Step(self._page, detail.total, True, True, detail)

    def _current(self) -> str:
        if self._asin is None:
            raise RuntimeError("no product is being looked at")
        return self._asin

    def _show_results(self, number: int) -> None:
        """Page `number` of the last search; the page 0 of `exact` is empty."""
        self._number = number
        self._asin = None
        self._chosen = {}
        asins = self._hits[(number - 1) * PER_PAGE : number * PER_PAGE]
        self._show_body(_Place.RESULTS, self._pages.results(asins, number, len(self._hits)))

    def _show_item(self) -> None:
        self._show_body(_Place.ITEM, self._pages.item(self._current()))

    def _show_body(self, place: _Place, body: Body) -> None:
        self._place, self._links = place, body.links
        self._page = Page(self._heading + body.text, False, body.clickables)


def parse_action(action: str) -> tuple[str, str]:
    """The verb and what stands in its brackets, or the whole text and "" when it is no `verb[argument]`.

    As the original's `(.+)\\[(.+)\\]`, matched from the start: of the first line, up to the last `]`, split at the last
    `[` that leaves something on both sides; what follows is ignored. Takes time in proportion to the text.
    """
    line = action.partition("\n")[0]
    end = line.rfind("]")
    start = line.rfind("[", 0, max(end - 1, 0))
    return (line[:start], line[start + 1 : end]) if start > 0 else (action, "")
