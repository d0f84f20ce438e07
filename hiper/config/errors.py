"""What is wrong with a configuration, on one screen: each key with its value, what is allowed, the nearest name.

Where another notation of the value would do ("write 20 without quotes") it has been tried before it is advised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from hiper.errors import nearest, shown

SHOWN = 15  # problems; more would not fit on one screen
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
FOR_SOME = ("by_benchmark", "by_model", "by_algorithm")  # of an experiment's file, beside its sections
NOTHING = ("null", "none", "~")


@dataclass(frozen=True)
class SettingsByName:
    """Marks a field whose own key `name` says which settings the section has: `model(section)` is their model, None
    where the name is unknown."""

    model: Callable[[Any], type[BaseModel] | None]


def message_of(error: ValidationError, source: str, model: type[BaseModel], values: Any) -> str:
    """One line per problem of `values`, the first SHOWN of them; `source` names where they came from."""
    problems = error.errors(include_url=False)
    lines = [f"{source}: invalid configuration"]
    for problem in problems[:SHOWN]:
        key = ".".join(map(str, problem["loc"]))
        text = _described(problem, key, model, values) + _notation(problem, model, values)
        lines += [f"  {line}" for line in text.splitlines()]
    if len(problems) > SHOWN:
        lines.append(f"  … and {len(problems) - SHOWN} more problems")
    return "\n".join(lines)


def _described(problem: ErrorDetails, key: str, model: type[BaseModel], values: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    kind = problem["type"]
    if kind == "extra_forbidden":
        name, names = str(problem["loc"][-1]), fields_at(model, problem["loc"][:-1], values)
        names += FOR_SOME if len(problem["loc"]) == 1 else ()
        hint = _elsewhere(name, model, values) or nearest(name, names) or "; remove it or correct its name"
        return f"{key}: unknown setting (value {shown(problem['input'])}){hint}"
    if kind == "missing":
        return f"{key}: missing; add it{_where(problem['loc'], values)}"
    if kind == "value_error":
        return f"{key}: {message}" if key and not message.startswith(key.split(".")[0] + ".") else message
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key or '(whole)'} = {shown(problem['input'])}: must be a section, a mapping of settings"
    if kind.startswith("union_tag"):
        context = problem.get("ctx", {})
        allowed, found = str(context.get("expected_tags", "")), str(context.get("tag", ""))
        names = [name.strip(" '") for name in allowed.split(",")]
        wrong = f"{key}.name = {found!r}: must be one of {', '.join(names)}{nearest(found, names)}"
        return wrong if found else f"{key}.name: missing; add it"
    if kind == "literal_error" and isinstance(problem["input"], str):
        allowed = str(problem.get("ctx", {}).get("expected", ""))
        message += nearest(problem["input"], [part.strip(" '") for part in allowed.replace(" or ", ",").split(",")])
    return f"{key or '(whole)'} = {shown(problem['input'])}: {message}"


def _elsewhere(name: str, model: type[BaseModel], values: Any) -> str:
    """The sections that have a setting of this name, if any has."""
    found = [".".join((*place, name)) for place in _sections(model, values) if name in fields_at(model, place, values)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _sections(model: type[BaseModel], values: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all sections within the one at `place`."""
    for key in fields_at(model, place, values):
        if fields_at(model, (*place, key), values):
            yield (*place, key)
            yield from _sections(model, values, (*place, key))


def _where(place: tuple[int | str, ...], values: Any) -> str:
    """The file that holds the default of an algorithm's own setting, which its author may have forgotten."""
    section = values.get("algorithm") if isinstance(values, Mapping) else None
    name = section.get("name") if isinstance(section, Mapping) else None
    return f" to configs/algorithm/{name}.yaml" if name and place[0] == "algorithm" and len(place) > 1 else ""


def _notation(problem: ErrorDetails, model: type[BaseModel], values: Any) -> str:
    """Advice where the value is right and only its notation is not: the first of its readings that is accepted in its
    place."""
    if not problem["type"].endswith(("_type", "literal_error")):
        return ""
    value = problem["input"]
    for reading in _readings(value):
        try:
            model.model_validate(_replaced(values, problem["loc"], reading))
        except ValidationError as error:
            if any(other["loc"][: len(problem["loc"])] == problem["loc"] for other in error.errors(include_url=False)):
                continue
        if isinstance(value, str) and not isinstance(reading, list):
            return f" (it is a text; write {written(reading)} without quotes)"
        return f" (write {written(reading)})"
    return ""


def _readings(value: Any) -> Iterator[Any]:
    """What a value may have been meant to be. YAML takes for a text what is in quotes, and 1e-3: only with a point and
    a sign is that a number to every reader."""
    numbers = list(_numbers(value))
    yield from numbers
    if isinstance(value, str):
        word = value.strip().lower()
        if word in WORDS:
            yield WORDS[word]
        if word in NOTHING:
            yield None
        if "," in value:
            parts = [part.strip() for part in value.strip("[]").split(",")]
            yield [next(_numbers(part), part) for part in parts]
    elif value is None:
        yield "none"
    elif not isinstance(value, (bool, dict, list)):
        yield str(value)
        if value in (0, 1):
            yield bool(value)
    yield from ([number] for number in numbers)
    if value is not None:
        yield [value]


def _numbers(value: Any) -> Iterator[int | float]:
    with suppress(ValueError, OverflowError):
        if isinstance(value, (str, float)):
            number = float(value)
            if number.is_integer() and abs(number) < 1e15:
                yield int(number)
            yield number


def written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, list):
        return f"[{', '.join(written(one) if not isinstance(one, str) else one for one in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def _replaced(values: Any, place: tuple[int | str, ...], value: Any) -> Any:
    """`values` with another one at pydantic's `place`."""
    if not place:
        return value
    key, rest = place[0], place[1:]
    if isinstance(values, Mapping) and key in values:
        return {**values, key: _replaced(values[key], rest, value)}
    if isinstance(values, list) and isinstance(key, int):
        return [_replaced(one, rest, value) if number == key else one for number, one in enumerate(values)]
    return _replaced(values, rest, value)


def fields_at(model: type[BaseModel], place: Iterable[int | str], values: Any = None) -> list[str]:
    """The settings of the section at `place`, a path of keys from `model` down; `values` say which model a section has
    that is told by its name."""
    section: type[BaseModel] | None = model
    for part in place:
        field = section.model_fields.get(str(part)) if section is not None else None
        values = values.get(part) if isinstance(values, Mapping) else None
        section = section_of(field, values) if field is not None else None
    return list(section.model_fields) if section is not None else []


def section_of(field: FieldInfo, value: Any = None) -> type[BaseModel] | None:
    """The model of a section: the one that its value names, else the one in `Section` or `Section | None`; None for a
    field that is no section."""
    named = [mark.model(value) for mark in field.metadata if isinstance(mark, SettingsByName)]
    parts = (*filter(None, named), field.annotation, *get_args(field.annotation))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
