"""The two exceptions that are no fault of the code, which the command line prints without a traceback, and how their
messages show a value and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

VALUE = 80  # characters of a value


class UserError(Exception):
    """A mistake outside the code: says what was wrong, where, and what to do. The command line exits with status 2."""


class Interrupted(Exception):
    """Asked to stop in the middle of the work: what is done is saved, and the same command goes on from there. The
    command line exits with status 75."""


def shown(value: Any) -> str:
    """A value as it may stand in a message: on one line, not longer than VALUE characters."""
    if isinstance(value, Mapping):
        return f"a section with {', '.join(str(key) for key in list(value)[:5])}"[:VALUE]
    text = repr(value)
    return text if len(text) <= VALUE else f"{text[:VALUE]}…"


def nearest(name: str, known: Iterable[str], alike: float = 0.6) -> str:
    """`; did you mean …?` for a name that is nearly a known one (by difflib's ratio, 1 for equal ones), else
    nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=alike)
    return f"; did you mean {found[0]!r}?" if found else ""
