"""Recordings of original environments: reading and counting them, and where the data lies that they were made on."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
_AROUND = 40  # characters shown before the first that differs, and three times as many after it


@dataclass(frozen=True)
class ParityResult:
    """How many compared points agreed in every field; one line for each that did not."""

    matched: int
    total: int
    mismatches: list[str]


class Tally:
    """Compares point by point."""

    def __init__(self) -> None:
        self._matched = 0
        self._mismatches: list[str] = []

    def compare(self, where: str, own: Mapping[str, Any], original: Mapping[str, Any]) -> None:
        """One point: every field that either side has, with exactly equal values."""
        fields = [*original, *(field for field in own if field not in original)]
        details = [_difference(field, own, original) for field in fields if _differs(field, own, original)]
        if details:
            self._mismatches.append(f"{where}: {'; '.join(details)}")
        else:
            self._matched += 1

    def result(self) -> ParityResult:
        return ParityResult(self._matched, self._matched + len(self._mismatches), self._mismatches)


def _differs(field: str, own: Mapping[str, Any], original: Mapping[str, Any]) -> bool:
    return field not in own or field not in original or own[field] != original[field]


def _difference(field: str, own: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    here, there = (repr(side[field]) if field in side else "nothing" for side in (own, original))
    first = next((place for place, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), 0)
    start = max(0, first - _AROUND)
    here, there = (f"{'…' if start else ''}{text[start : first + 3 * _AROUND]}" for text in (here, there))
    return f"{field}: here {here}, in the original {there}"


def read_recording(file: Path) -> Any:
    """The value in a JSON file, plain or gzipped whatever its name; UserError names the file."""
    try:
        content = file.read_bytes()
        return json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except (ValueError, EOFError, RecursionError, zlib.error) as error:
        raise UserError(f"{file}: not JSON, plain or gzipped ({error})") from None


def places(data: Path | None, variable: str, benchmark: str) -> list[Path]:
    """The folders to look for a benchmark's data in, in order.

    `data`, where it is given, and the folders in it. Else the folder that the environment variable names, the project's
    own data sets, and in $HIPER_SHARED_DATA or `shared` beside the project the benchmark's folder, and those around it.
    """
    if data is not None:
        return [data, *_folders(data)]
    own = os.environ.get(variable)
    shared = Path(os.environ.get("HIPER_SHARED_DATA", PROJECT.parent / "shared"))
    usual = [*([Path(own).expanduser()] if own else []), *_folders(PROJECT / "data")]
    usual += [shared / "data" / benchmark, shared / "data", shared]
    return [place for place in usual if place.is_dir()]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir())
