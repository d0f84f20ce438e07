"""Porter's stemmer, in the form that its author's program and Lucene have.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the program's departures from the paper:
words of one or two letters stay, `bli` becomes `ble`, `logi` becomes `log`. Measured to be that of NLTK's
`MARTIN_EXTENSIONS`, whose import costs two seconds and 180 MB in every process that searches.
"""

from __future__ import annotations

from collections.abc import Sequence

_SECOND = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
)
_THIRD = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_FOURTH = (
    "al",
    "ance",
    "ence",
    "er",
    "ic",
    "able",
    "ible",
    "ant",
    "ement",
    "ment",
    "ent",
    "sion",
    "tion",
    "ou",
    "ism",
    "ate",
    "iti",
    "ous",
    "ive",
    "ize",
)


def stem(word: str) -> str:
    """The stem of a word in lower case."""
    if len(word) <= 2:
        return word
    word = _participle(_plural(word))
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(_replaced(word, _SECOND), _THIRD)
    for suffix in _FOURTH:
        if word.endswith(suffix):
            rest = word[: -len(suffix)] + (suffix[0] if suffix in ("sion", "tion") else "")
            word = rest if _measure(rest) > 1 else word
            break
    return _tidied(word)


def _shape(word: str) -> str:
    """`c` for a consonant, `v` for a vowel; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        shape += "v" if letter in "aeiou" or (letter == "y" and shape[-1:] == "c") else "c"
    return shape


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant."""
    return _shape(word).count("vc")


def _closed(word: str) -> bool:
    """Does it end in consonant, vowel, consonant, of which the last is none of w, x, y?"""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _participle(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    suffix = next((one for one in ("ed", "ing") if word.endswith(one)), "")
    rest = word[: len(word) - len(suffix)]
    if not suffix or "v" not in _shape(rest):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if rest[-1:] == rest[-2:-1] and _shape(rest)[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _closed(rest) else rest


def _replaced(word: str, rules: Sequence[tuple[str, str]]) -> str:
    """Only the first suffix that fits counts, whether or not what precedes it is long enough."""
    for suffix, new in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + new if _measure(rest) > 0 else word
    return word


def _tidied(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        word = word[:-1] if measure > 1 or (measure == 1 and not _closed(word[:-1])) else word
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
