"""Where views are shown: a console of at most 100 columns, and foreign text made harmless for it."""

from __future__ import annotations

from typing import IO

from rich.console import Console

WIDTH = 100


def console(stream: IO[str] | None = None) -> Console:
    """A console on `stream` (default: stdout). Without a terminal behind it, it is 100 columns of text without colours;
    `NO_COLOR` and `FORCE_COLOR` are respected. Brackets and colons in text mean nothing to it."""
    made = Console(file=stream, highlight=False, markup=False, emoji=False)
    made.width = min(made.width, WIDTH) if made.is_terminal else WIDTH
    return made


def harmless(text: str) -> str:
    """Text of a model or a game with whatever could steer a terminal (escape sequences, direction marks) written out;
    line ends stay, empty lines go."""
    lines = [line for line in text.split("\n") if line.strip()]
    return "\n".join(inline(line) for line in lines)


def seen(observation: str) -> str:
    """An observation, harmless; a dot in place of the `[SEP]` that sets texts of a page apart."""
    return harmless(observation.replace(" [SEP] ", " · "))


def inline(text: str) -> str:
    """The same on one line: line ends are written out too."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
