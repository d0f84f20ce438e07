"""The nouns of a title, for the reward's title score: by spaCy's tagger where its model is installed, else by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from hiper.errors import UserError

MODEL = "en_core_web_sm"
RULE = "rule-1"  # to be raised with every change of what the rule returns
_NOUN_TAGS = frozenset({"PNOUN", "NOUN", "PROPN"})  # the first exists nowhere, but the original asks for it

_WORD = re.compile(r"[^\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)*")
_POSSESSIVE = re.compile("['\N{RIGHT SINGLE QUOTATION MARK}]s?$")
_QUANTITY = re.compile(
    r"\d+(?:x\d+)*(?:st|nd|rd|th|mm|cm|m|km|in|inch|inches|ft|feet|yd|oz|lb|lbs|g|mg|kg|ml|l|qt|w|v|mah|gb|tb|mp|hz|"
    r"pcs|pc|pk|ct|fl|x|k|d|hr|hrs)?"
)
_CLOSED_WORDS = """
a an the this that these those each every all any both either neither no some such same other another many much more
most few less least several own and or but nor so yet if than as because while though of in on at by for from to into
onto with without within over under up down out off about above below between against across along around before after
behind during through until upon via per plus versus vs i you he she it we they me him her us them my your his its our
their mine yours who whom whose which what where when why how there here is are am was were be been being do does did
done has have had having can could will would shall should may might must not only just also very too even ever never
again once now then always inch inches oz ounce ounces fl ft one two three four five six seven eight nine ten first
second
"""
_ADJECTIVES = """
new old big small large little mini great good best better nice easy fast quick slow high low long short tall wide slim
thin thick deep light heavy soft hard hot cold cool warm dry wet clean fresh pure real true full empty extra super ultra
modern vintage classic casual cute sexy elegant simple smart strong safe healthy natural organic perfect ideal unique
original professional universal digital electric electronic manual automatic dual double single multi loose tight plain
round square flat free funny cozy young rich open curly friendly lovely ugly daily fully highly
"""
_DROPPED = frozenset((_CLOSED_WORDS + _ADJECTIVES).split())
_ADJECTIVE_ENDS = ("able", "ible", "ful", "less", "ous", "proof", "resistant", "ish")
_SHORT = 5  # letters; shorter words are no adjectives by their ending, such as `fish`, `table`, `cable`
_NOUNS_ALL_THE_SAME = frozenset({"vegetable", "handful", "mouthful", "radish", "polish"})


@dataclass(frozen=True)
class Tagger:
    """`name` identifies model and versions, for manifests; `nouns` gives one list a title, lower case, repeats kept."""

    name: str
    nouns: Callable[[Iterable[str]], Iterator[list[str]]]


def rule_nouns(title: str) -> list[str]:
    """Words of a title that are likely nouns, by a rule of our own; product titles are little else than nouns.

    Lower-cased runs of letters and digits, without a possessive ending. Left out: single characters, words of the
    closed classes, common adjectives and words with the ending of one, numbers and quantities (`12`, `10oz`, `2x4`);
    model names with digits (`y9`) stay. It differs from a trained tagger, so partial scores do too; the goal's own
    product shares all its nouns either way.
    """
    words = (_POSSESSIVE.sub("", word) for word in _WORD.findall(title.lower()))
    return [word for word in words if len(word) > 1 and not _dropped(word)]


def _dropped(word: str) -> bool:
    if word in _DROPPED or _QUANTITY.fullmatch(word):
        return True
    return len(word) > _SHORT and word.endswith(_ADJECTIVE_ENDS) and word not in _NOUNS_ALL_THE_SAME


def find_tagger(kind: Literal["auto", "spacy", "rule"] = "auto") -> Tagger:
    """spaCy's tagger where `en_core_web_sm` is installed, else the rule; or the one asked for.

    UserError when spaCy is asked for and its model is absent.
    """
    if kind != "rule":
        try:
            version = metadata.version(MODEL)
        except metadata.PackageNotFoundError:
            version = None
        if version is not None:
            return Tagger(f"spacy-{metadata.version('spacy')}/{MODEL}-{version}", _spacy_nouns)
        if kind == "spacy":
            raise UserError(f"spaCy's model {MODEL} is not installed; install it, or use the tagger `rule`")
    return Tagger(RULE, lambda titles: map(rule_nouns, titles))


def _spacy_nouns(titles: Iterable[str]) -> Iterator[list[str]]:
    import spacy

    pipeline = spacy.load(MODEL, exclude=["parser", "ner", "lemmatizer"])
    for document in pipeline.pipe(titles, batch_size=256):
        yield [token.text.lower() for token in document if token.pos_ in _NOUN_TAGS]
