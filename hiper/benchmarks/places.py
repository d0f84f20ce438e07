"""Where a user says that data are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hiper.errors import UserError
from hiper.paths import expanded
from hiper.records import leftover


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names, None where it is unset; UserError for a name of no folder: data
    from another source must not take the place of a mistyped one's."""
    name = os.environ.get(variable, "")
    if not name.strip():
        return None
    folder = expanded(name, variable)
    if not folder.is_dir():
        raise UserError(f"{variable} is {name}: no such folder; correct the variable, or unset it")
    return folder


def near(folder: Path, holds: Callable[[Path], bool], up: int = 3, down: int = 3, breadth: int = 1000) -> Path | None:
    """The first folder that `holds` what is looked for, of those above `folder`, then of those below it (unless there
    are more than `breadth` on a level); None where there is none."""
    level = [folder]
    for place in folder.resolve().parents[:up]:
        if holds(place):
            return place
    for _ in range(down):
        level = [child for place in level for child in folders(place)]
        if found := next(filter(holds, level), None):
            return found
        if len(level) > breadth:
            break
    return None


def folders(place: Path) -> list[Path]:
    """The folders in one, sorted, without what a file manager left; none where it may not be read."""
    try:
        return sorted(child for child in place.iterdir() if child.is_dir() and not leftover(child.name))
    except OSError:
        return []


def contents(folder: Path, most: int = 5) -> str:
    """What a folder holds, for a message: the first names, sorted, and how many more there are."""
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"
