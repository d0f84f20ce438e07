"""When two texts of WebShop count as the same: fuzzy token sets, and colours told by the first known word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

THRESHOLD = 85  # per cent; a match is above it

# The order decides which word a text with several of them becomes; substrings count, so `tangerine` becomes `tan`.
_IN_ORDER = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo caramel
champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal dark denim
eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki
lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard
natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire seashell silver
skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut wheat white wine yellow
"""
COLOURS = tuple(_IN_ORDER.split())

_NOT_WORD = re.compile(r"\W")
_LATIN_1 = dict.fromkeys(range(128, 256))


@lru_cache(maxsize=1 << 17)
def _processed(text: str) -> str:
    """The text as thefuzz compares it: U+0080-U+00FF dropped, other than letters, digits and `_` blank, lower case."""
    return _NOT_WORD.sub(" ", text.translate(_LATIN_1)).lower().strip()


@lru_cache(maxsize=1 << 18)
def similar(one: str, other: str) -> bool:
    """Whether thefuzz 0.19's `token_set_ratio(one, other)`, in its pure Python form, is above 85.

    rapidfuzz's ratio counts the longest common subsequence and is never the smaller one, so that a "no" of it stands;
    its "yes" is confirmed with difflib's matching blocks, which the original counted, unless one set holds the other.
    """
    from rapidfuzz.fuzz import token_set_ratio

    one, other = _processed(one), _processed(other)
    if not one or not other:
        return False
    score = token_set_ratio(one, other)
    return round(score) > THRESHOLD and (score == 100.0 or _difflib_ratio(one, other) > THRESHOLD)


def _difflib_ratio(one: str, other: str) -> int:
    first, second = set(one.split()), set(other.split())
    shared = " ".join(sorted(first & second))
    combined = [f"{shared} {' '.join(sorted(rest))}".strip() for rest in (first - second, second - first)]
    pairs = ((shared, combined[0]), (shared, combined[1]), (combined[0], combined[1]))
    return max(round(100 * SequenceMatcher(None, *pair).ratio()) if all(pair) else 0 for pair in pairs)


@lru_cache(maxsize=1 << 17)
def colour_of(value: str) -> str:
    """The first known colour that the value holds, else the value."""
    return next((colour for colour in COLOURS if colour in value), value)


@lru_cache(maxsize=1 << 17)
def wanted_text(option: str | tuple[str, str]) -> str:
    """A goal's option as it is compared.

    The options of synthetic goals are (name, value) pairs there, of which only one equal to a colour becomes that
    colour; else the text of the whole pair is compared. A chosen `infrared` is `red`, which `('color', 'infrared')`
    does not hold as a word, so 6.6% of the small set's goals cannot be met in full.
    """
    if isinstance(option, str):
        return colour_of(option)
    return next((colour for colour in COLOURS if colour in option), str(option))


def option_matches(value: str, wanted: str | tuple[str, str]) -> bool:
    """Whether a chosen value satisfies a goal's option; names of options are not compared."""
    return similar(colour_of(value), wanted_text(wanted))


def attribute_matches(wanted: str, attributes: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    """Whether one of a product's attributes is like the wanted one, or one of its lower-case texts holds it."""
    return any(similar(attribute, wanted) for attribute in attributes) or any(wanted in text for text in texts)
