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
    place="You walk through rooms of a grid, of which you see the part ahead; distances are in cells.",
    acting=" They work on the cell ahead of you; toggle opens or closes a door, a locked one with its key in hand.",
    now=_short,
    before=_glimpse,
)
