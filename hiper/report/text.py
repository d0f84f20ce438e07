"""Text of games and models as a page may show it."""

from __future__ import annotations


def printable(text: str) -> str:
    """With characters that do not show or that turn the reading direction written out; line ends stay."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
