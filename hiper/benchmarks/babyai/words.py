"""How BabyAI's observations are put into prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hiper.prompts.words import Words

_ARTICLE = re.compile(r"\b(?:a|an) ")


def _short(observation: str, instruction: str, actions: Sequence[str] = ()) -> str:
    """Without articles and the words that every observation has."""
    bare = _ARTICLE.sub("", observation)
    return bare.replace("You see ", "").replace("Walls are ", "walls ").replace("You ", "")


def _glimpse(observation: str, instruction: str) -> str:
    """The nearest object that was in view."""
    return _short(observation, instruction).split(".")[0].split(",")[0]


WORDS = Words(
    place="You act in a grid of rooms that you see in part; distances are in cells, seen from where you look.",
    now=_short,
    before=_glimpse,
)
