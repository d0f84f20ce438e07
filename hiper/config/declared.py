"""What the annotations of all settings together say (`hiper.declarations`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hiper.config.errors import SettingsByName, section_of
from hiper.declarations import STAGES, Before, ReadBy, Stage, Unread


@dataclass(frozen=True)
class Read:
    """Dotted names: of what each stage reads, sections that it reads as a whole by their own name; of what is `unread`,
    also within such sections."""

    by: Mapping[Stage, tuple[str, ...]]
    unread: tuple[str, ...]


def stages_read(model: type[BaseModel], values: Mapping[str, Any] | None = None) -> Read:
    """What the annotations of a run's settings say; with `values`, also those of the benchmark's and the algorithm's
    own, whichever these name. TypeError with the settings of which they say nothing."""
    named = ((name, field) for name, field in model.model_fields.items() if _is_named(field))
    return _stages_read(model, tuple((name, section_of(field, (values or {}).get(name))) for name, field in named))


def _is_named(field: FieldInfo) -> bool:
    return any(isinstance(mark, SettingsByName) for mark in field.metadata)


@cache
def _stages_read(model: type[BaseModel], named: tuple[tuple[str, type[BaseModel] | None], ...]) -> Read:
    sections = dict(named)
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
        section = sections.get(name) or section_of(field)
        for inner, setting in section.model_fields.items() if section is not None else ():
            visit(f"{name}.{inner}", setting, readers)
        if section is None and not readers:
            undeclared[name] = None

    for name, field in model.model_fields.items():
        visit(name, field, frozenset())
    if undeclared:
        raise TypeError(
            f"{', '.join(undeclared)}: no stage is said to read this; add ReadBy(…) or Unread(reason) of "
            "hiper.declarations to its annotation, so that the digests of results are true"
        )
    return Read({stage: tuple(names) for stage, names in by.items()}, tuple(unread))


def without_later(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without the settings that do what was done before there was a choice: the rest has the digest that
    earlier results have, so that a new setting makes none of them anew."""
    left = {}
    for name, value in values.items():
        field = model.model_fields[name]
        section = section_of(field, value)

        def stripped(found: Any, section: type[BaseModel] | None = section) -> Any:
            return without_later(section, found) if isinstance(found, Mapping) and section is not None else found

        kept = stripped(value)
        # of a section that is younger itself, both sides without what came into it later still
        if not any(isinstance(said, Before) and stripped(said.value) == kept for said in field.metadata):
            left[name] = kept
    return left


def with_earlier(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, recorded by a version that had fewer settings, with what each setting that they lack says was done
    `Before`, in the sections that they have."""
    filled = dict(values)
    for name, field in model.model_fields.items():
        for said in field.metadata:
            if isinstance(said, Before):
                filled.setdefault(name, said.value)
        inner = filled.get(name)
        section = section_of(field, inner)
        if isinstance(inner, Mapping) and section is not None:
            filled[name] = with_earlier(section, inner)
    return filled
