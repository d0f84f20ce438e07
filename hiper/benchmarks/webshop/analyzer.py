"""Texts to search terms, as the English analyzer of Lucene 8 and Anserini makes them.

Words by the rules of Unicode's annex 29, possessive 's off, lower case, stop words out, Porter's stemmer. Documents and
queries must go through the same analyzer: `ANALYZER` stands in every index, and changes with whatever changes terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

import regex

from hiper.benchmarks.webshop.porter import stem
from hiper.benchmarks.webshop.unicode9 import MARKS, MID_LETTERS, NOT_YET, PICTOGRAPHS, TAI_DIGITS

ANALYZER = "Unicode 9 words, possessive, lower case, 33 stop words, Porter; 1"
STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    )
)
LONGEST = 255  # characters of a token; a longer one is cut into pieces of so many
_POSSESSIVES = tuple(apostrophe + letter for apostrophe in "'\u2019\uff07" for letter in "sS")
_CACHED = 1 << 17  # pieces of text, and words, whose terms are remembered: some 50 MB when full
_LONG_PIECE = 64  # characters; longer ones are not worth remembering

_SKIN = r"\U0001f3fb-\U0001f3ff"  # modifiers of emoji
_FLAG = r"\U0001f1e6-\U0001f1ff"  # letters that make a flag in pairs
_MARKED = rf"[[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}{MARKS}]--[{_SKIN}{NOT_YET}]]*+"


def _one_of(characters: str, without: str = "") -> str:
    """Such a character and the marks that follow it."""
    return rf"[[{characters}]--[{without}{NOT_YET}]]{_MARKED}"


_JOINERS = "(?:" + _one_of(r"\p{WB=ExtendNumLet}") + ")"


def _word() -> str:
    """Letters, digits and katakana with what may join them; at least one of the three."""
    letter = _one_of(r"\p{WB=ALetter}\p{WB=Hebrew_Letter}", MARKS + MID_LETTERS)
    hebrew = _one_of(r"\p{WB=Hebrew_Letter}")
    digit = _one_of(r"\p{WB=Numeric}\uff10-\uff19", MARKS + TAI_DIGITS)
    katakana = _one_of(r"\p{WB=Katakana}")
    in_letters = _one_of(r"\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}" + MID_LETTERS)
    in_digits = _one_of(r"\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}")
    single, double = _one_of(r"\p{WB=Single_Quote}"), _one_of(r"\p{WB=Double_Quote}")
    core = (
        rf"(?:{katakana}(?:{_JOINERS}*{katakana})*"
        rf"|(?:{hebrew}(?:{single}|{double}{hebrew})"
        rf"|{digit}(?:(?:{_JOINERS}*|{in_digits}){digit})*"
        rf"|{letter}(?:(?:{_JOINERS}*|{in_letters}){letter})*)+)"
    )
    return f"{_JOINERS}*+{core}(?:{_JOINERS}+{core})*{_JOINERS}*"


def _emoji() -> str:
    """Pictographs, those that U+200D joins as one; flags; keycaps."""
    picture = (
        rf"[[\p{{Extended_Pictographic}}\p{{Emoji}}{PICTOGRAPHS}]--[#*0-9{_FLAG}]]"
        rf"[\p{{WB=Extend}}--[{_SKIN}]]*+(?:[{_SKIN}][\p{{WB=Extend}}--[{_SKIN}]]*+)?"
    )
    return rf"{picture}(?:\u200d{picture})*+{_MARKED}|[{_FLAG}]{_MARKED}[{_FLAG}]{_MARKED}|[#*]\ufe0f?\u20e3"


@cache
def _tokens() -> regex.Pattern[str]:
    """Every token, and underscores without a word, which are none: taken in one piece so that time stays linear."""
    undivided = _one_of(r"\p{LB=SA}" + TAI_DIGITS)  # of scripts that do not separate their words
    single = _one_of(r"\p{Script=Han}\p{Script=Hiragana}")
    return regex.compile(f"(?V1){_word()}|{_emoji()}|(?:{undivided})+|{single}|{_JOINERS}++")


# The same for ASCII, seven times as fast.
_PLAIN_WORD = r"(?:[0-9]+(?:(?:_+|[.,;'])[0-9]+)*|[A-Za-z]+(?:(?:_+|[:.'])[A-Za-z]+)*)+"
_PLAIN_TOKENS = re.compile(rf"_*{_PLAIN_WORD}(?:_+{_PLAIN_WORD})*_*|_+")
_ONLY_JOINERS = regex.compile(f"(?V1){_JOINERS}++")


def analyze(text: str) -> list[str]:
    """The terms of `text`, repeats included, in order. Never fails; time and memory are linear in its length."""
    terms: list[str] = []
    for piece in text.split(" "):  # no token holds a blank
        terms += _known_terms(piece) if len(piece) <= _LONG_PIECE else _terms(piece)
    return terms


def _terms(piece: str) -> tuple[str, ...]:
    tokens = (_PLAIN_TOKENS if piece.isascii() else _tokens()).findall(piece)
    if len(piece) > LONGEST:
        tokens = [part for token in tokens for part in _cut(token)]
    return tuple(term for token in tokens if not _ONLY_JOINERS.fullmatch(token) and (term := _term(token)))


_known_terms = lru_cache(_CACHED)(_terms)


def _cut(token: str) -> Iterator[str]:
    """The tokens of a token of any length that are found when no more than `LONGEST` characters are seen at once."""
    position = 0
    while position < len(token):
        found = _tokens().search(token, position, position + LONGEST)
        if found is None:
            position += LONGEST
        elif found.start() > position and found.end() == position + LONGEST:
            position = found.start()  # it may go on: look again from where it begins
        else:
            yield found.group()
            position = found.end()


@lru_cache(_CACHED)
def _term(token: str) -> str:
    """The stem of a token; empty for a stop word."""
    word = token[:-2] if token.endswith(_POSSESSIVES) else token
    # character by character, as in Java: no final sigma, no letter becomes two
    word = word.lower() if word.isascii() else "".join(letter.lower()[0] for letter in word)
    return "" if word in STOP_WORDS else stem(word)
