"""What a setting's annotation says besides its type and limits: which stages read it, and what was done before it.

A stage's digest (`hiper.digests`) is of what the stage reads, so each setting must say so: it, or a section that it is
in, has `ReadBy`, or has `Unread` with the reason. `hiper.config.declared` refuses settings of which nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Stage = Literal["data", "demonstrations", "tokenizer", "warmstart", "train", "evaluate", "variance"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, init=False)
class ReadBy:
    """The stages that read a setting, or a section as a whole, whatever is added to it; with `parts`, only those of the
    section's settings. Of a setting within a section: the stages that read it besides those that read the section.

    What a stage gets through the files of the stages before it is not named again.
    """

    stages: tuple[Stage, ...]
    parts: tuple[str, ...]

    def __init__(self, *stages: Stage, parts: tuple[str, ...] = ()) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True)
class Unread:
    """No stage's digest reads the setting or section, so that changing it makes nothing anew."""

    reason: str


@dataclass(frozen=True)
class Before:
    """The setting is younger than the first results: what was done before there was a choice."""

    value: Any
