"""What all settings are made of: the strict base class, and numbers with limits."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
