"""What a setting's annotation says besides its type and limits: which stages read it, and what was done before it.

A stage's digest (`hiper.digests`) is of what the stage reads, so each setting must say so: it, or a section that it is
in, has `ReadBy`, or has `Unread` with the reason. `stages_read` refuses settings of which nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hiper.config.errors import sections_of

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


@dataclass(frozen=True)
class Read:
    """Dotted names: of what each stage reads, sections that it reads as a whole by their own name; of what is `unread`,
    also within such sections."""

    by: Mapping[Stage, tuple[str, ...]]
    unread: tuple[str, ...]


@cache
def stages_read(model: type[BaseModel]) -> Read:
    """What the annotations of a run's settings say. TypeError with the settings of which they say nothing."""
    by: dict[Stage, dict[str, None]] = {stage: {} for stage in STAGES}
    unread: dict[str, None] = {}
    undeclared: dict[str, None] = {}

    def visit(name: str, field: FieldInfo, around: frozenset[Stage]) -> None:
        """`around`: the stages that read the section around it as a whole."""
        if any(isinstance(said, Unread) for said in field.metadata):
            unread[name] = None
            return
        said = [one for one in field.metadata if isinstance(one, ReadBy)]
        readers = around | {stage for one in said if not one.parts for stage in one.stages}
        for stage in readers - around:
            by[stage][name] = None
        for one in said:
            for stage in one.stages if one.parts else ():
                by[stage] |= dict.fromkeys(f"{name}.{part}" for part in one.parts)
        sections = sections_of(field.annotation)
        for section in sections:
            for inner, setting in section.model_fields.items():
                visit(f"{name}.{inner}", setting, readers)
        if not sections and not readers:
            undeclared[name] = None

    for name, field in model.model_fields.items():
        visit(name, field, frozenset())
    if undeclared:
        raise TypeError(
            f"{', '.join(undeclared)}: no stage is said to read this; add ReadBy(…) or Unread(reason) to the "
            "annotation, so that the digests of results are true"
        )
    return Read({stage: tuple(names) for stage, names in by.items()}, tuple(unread))


def with_earlier(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, recorded by a version that had fewer settings, with what each setting that they lack says was done
    `Before`, in the sections that they have."""
    filled = dict(values)
    for name, field in model.model_fields.items():
        for said in field.metadata:
            if isinstance(said, Before):
                filled.setdefault(name, said.value)
        inner, sections = filled.get(name), sections_of(field.annotation)
        if isinstance(inner, Mapping):
            for section in sections:  # of several forms the one whose name it has
                if len(sections) == 1 or inner.get("name") in get_args(section.model_fields["name"].annotation):
                    filled[name] = with_earlier(section, inner)
    return filled
