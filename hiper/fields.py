"""What all settings are made of, a run's and an algorithm's: the strict base class, and numbers with limits."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hiper.errors import shown

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Width = Annotated[int, Field(ge=1, le=1 << 20)]  # of a layer or a vocabulary: more is a slip of the keyboard


def _distinct(values: Sequence[Hashable]) -> Sequence[Hashable]:
    if twice := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(twice)} is listed twice; remove the repetition")
    return values


Distinct = AfterValidator(_distinct)  # for lists


def _named(value: str) -> str:
    if value.strip().lower() in ("", "null", "none"):
        raise ValueError(f"{value!r} is a text; for none write null, without quotes")
    return value


PathText = Annotated[str, AfterValidator(_named)]  # as it was written: `hiper.paths` reads `~` and `$VARIABLE` in it


def _number_or_auto(value: Any) -> Any:
    """One message for both; pydantic has one for each."""
    if value == "auto" or (type(value) in (int, float) and 0 <= value <= 1):
        return value
    raise ValueError(f"{shown(value)} must be 'auto' or a number from 0 to 1")


ProbabilityOrAuto = Annotated[float | Literal["auto"], BeforeValidator(_number_or_auto)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
