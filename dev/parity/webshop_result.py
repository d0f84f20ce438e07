"""Counting where this shop and a recording of the original agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN = 120  # characters of each of two values that differ


@dataclass(frozen=True)
class ParityResult:
    """How many points agreed in every field, out of how many; one line for each that did not."""

    matched: int
    total: int
    mismatches: list[str]


class Tally:
    """Points compared so far."""

    def __init__(self) -> None:
        self._matched = 0
        self._mismatches: list[str] = []

    def compare(self, where: str, own: Mapping[str, Any], original: Mapping[str, Any]) -> None:
        """Count one point, which agrees when both sides have the same fields with equal values."""
        absent = object()
        keys = [*own, *(key for key in original if key not in own)]
        different = [key for key in keys if own.get(key, absent) != original.get(key, absent)]
        if not different:
            self._matched += 1
            return
        self._mismatches.append(f"{where}: {'; '.join(_difference(key, own, original) for key in different)}")

    def result(self) -> ParityResult:
        return ParityResult(self._matched, self._matched + len(self._mismatches), self._mismatches)


def _difference(key: str, own: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    """Both values around the first character that differs."""
    here, there = (repr(side[key]) if key in side else "nothing" for side in (own, original))
    first = next((place for place, pair in enumerate(zip(here, there, strict=False)) if len(set(pair)) > 1), 0)
    start = max(0, first - _SHOWN // 4)
    here, there = (("…" if start else "") + text[start : start + _SHOWN] for text in (here, there))
    return f"{key}: here {here}, in the original {there}"
