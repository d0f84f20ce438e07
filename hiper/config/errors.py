"""What is wrong with a configuration, on one screen: each key with its value, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SHOWN = 15  # problems; more would not fit on one screen
VALUE = 80  # characters of a value


def explain(error: ValidationError, source: str, model: type[BaseModel]) -> str:
    """One line per problem, the first SHOWN of them; `source` names where the settings came from."""
    problems = error.errors(include_url=False)
    lines = [f"{source}: invalid configuration"]
    for problem in problems[:SHOWN]:
        key = ".".join(_followed(model, problem["loc"])[0])
        lines += [f"  {line}" for line in _explained(problem, key, model).splitlines()]
    if len(problems) > SHOWN:
        lines.append(f"  … and {len(problems) - SHOWN} more problems")
    return "\n".join(lines)


def _explained(problem: ErrorDetails, key: str, model: type[BaseModel]) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    kind = problem["type"]
    if kind == "extra_forbidden":
        names = fields_at(model, problem["loc"][:-1])
        hint = nearest(str(problem["loc"][-1]), names) or "; remove it or correct its name"
        return f"{key}: unknown setting (value {shown(problem['input'])}){hint}"
    if kind == "missing":
        return f"{key}: missing; add it"
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
    return f"{key or '(whole)'} = {shown(problem['input'])}: {message}{_notation(problem)}"


def _notation(problem: ErrorDetails) -> str:
    """YAML takes 1e-3 for a text: only with a point and a sign is it a number to every reader."""
    value = problem["input"]
    if problem["type"] not in ("float_type", "int_type") or not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    return f" (it is a text; write {number!r} without quotes)"


def shown(value: Any) -> str:
    """A value as it may stand in a message: on one line, not longer than VALUE characters."""
    if isinstance(value, Mapping):
        return f"a section with {', '.join(str(key) for key in list(value)[:5])}"[:VALUE]
    text = repr(value)
    return text if len(text) <= VALUE else f"{text[:VALUE]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a name that is nearly a known one, else nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def fields_at(model: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """The settings of the section at `place`, a path of keys from `model` down."""
    _, section = _followed(model, place)
    return list(section.model_fields) if section is not None else []


def _followed(model: type[BaseModel], place: Iterable[int | str]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys of pydantic's `place` as a person writes them, and the section there (None: there is none).

    Where a section has several forms pydantic puts the chosen one's name into the place, which is no key.
    """
    keys: list[str] = []
    forms: list[type[BaseModel]] = [model]
    for part in place:
        chosen = [form for form in forms if len(forms) > 1 and part in get_args(form.model_fields["name"].annotation)]
        if chosen:
            forms = chosen
            continue
        keys.append(str(part))
        fields = [form.model_fields[str(part)] for form in forms[:1] if str(part) in form.model_fields]
        forms = [section for field in fields for section in _sections(field.annotation)]
    return keys, forms[0] if forms else None


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The section types in `Section`, `Section | None` or `Section | Other`."""
    parts = (annotation, *get_args(annotation))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
