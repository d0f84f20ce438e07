"""The section `algorithm` of a run: its `name` says whose settings the others are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, SerializeAsAny

from hiper.algorithms.interface import AlgorithmSettings
from hiper.algorithms.registry import ALGORITHMS, unknown
from hiper.config.errors import SettingsByName, fields_at


def _registered(name: str) -> str:
    if name not in ALGORITHMS:
        raise ValueError(unknown(name))
    return name


class _Named(BaseModel):
    """What there is to check, for its errors, where the name is missing or unknown."""

    name: Annotated[str, AfterValidator(_registered)]


def settings_model(section: Any) -> type[AlgorithmSettings] | None:
    """The model of the algorithm that a section names; None where it names none that is known."""
    name = section.get("name") if isinstance(section, Mapping) else None
    return ALGORITHMS[name].settings if isinstance(name, str) and name in ALGORITHMS else None


def _validated(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section  # for the message that it must be a section
    model = settings_model(section)
    return (model or _Named).model_validate(section)


AlgorithmSection = Annotated[
    SerializeAsAny[AlgorithmSettings], BeforeValidator(_validated), SettingsByName(settings_model)
]


def has(model: type[AlgorithmSettings], key: str) -> bool:
    """Whether an algorithm has the setting, or the section of settings, of this dotted name."""
    *above, last = key.split(".")
    return last in fields_at(model, above)


def owner(key: str) -> str | None:
    """The first algorithm that has the setting of this dotted name; None: there is none."""
    return next((name for name, one in ALGORITHMS.items() if has(one.settings, key)), None)


def without_others(section: Any, kept: Collection[str] = ()) -> Any:
    """The section of an algorithm without the settings that it lacks and another algorithm has, but for the dotted
    names in `kept`. What no algorithm has stays, to be an error."""
    model = settings_model(section)
    if model is None:
        return section

    def own(values: Mapping[str, Any], above: str) -> dict[str, Any]:
        left: dict[str, Any] = {}
        for key, value in values.items():
            name = f"{above}{key}"
            if isinstance(value, Mapping) and value:
                inner = own(value, f"{name}.")
                if inner or has(model, name):
                    left[key] = inner
            elif name in kept or has(model, name) or owner(name) is None:
                left[key] = value
        return left

    return own(section, "")
