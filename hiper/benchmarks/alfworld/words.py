"""How ALFWorld's rooms are put into words."""

from __future__ import annotations

from collections.abc import Sequence

from hiper.prompts.words import Words

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"


def _room(observation: str, instruction: str, actions: Sequence[str] = ()) -> str:
    """Without the welcome line and the task sentence."""
    return observation.replace(WELCOME, "").split("Your task is to:")[0].strip()


WORDS = Words(place="You act in a house described in text.", now=_room, before=_room)
