"""Paths as people write them: `~` and `$VARIABLE` stand for folders, in every setting, option and variable that names a
path.

They are read where the path is used and nowhere before, so that files which travel (config.yaml, manifests, reports)
keep what was written and name no home of anybody.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from hiper.errors import UserError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")


def expanded(text: str, setting: str) -> Path:
    """The path that `text` means; UserError names the setting and the variable that is unset, or the user there is
    not."""
    return Path(expanded_text(text, setting))


def expanded_text(text: str, setting: str) -> str:
    """As `expanded`, for what may be an address as well."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not (found := os.environ.get(name)):
            raise UserError(f"{setting} is {text}: ${name} is not set; export it, or write the path out")
        return found

    path = os.path.expanduser(_VARIABLE.sub(value, text))
    if path.startswith("~"):
        raise UserError(f"{setting} is {text}: there is no user {path.split('/')[0][1:]!r} here; write the path out")
    return path


def looks_like_path(text: str) -> bool:
    """Whether a name that may be a model's on a hub (OWNER/NAME) was surely meant for a folder."""
    return text.startswith(("~", "/", ".", "$")) or text.count("/") > 1


def astray(path: Path) -> str:
    """What may be wrong with a path that is not there: a name in it, or the folder that it begins in."""
    if (hint := near(path)) or path.is_absolute() or Path("configs").is_dir():
        return hint
    return "; run this command in the project's root, where configs/ is"


def near(path: Path) -> str:
    """`; did you mean …?` with a path that is there and differs in the one name that is not; else nothing."""
    for folder in reversed(path.parents):
        name = path.relative_to(folder).parts[0]
        if folder.is_dir() and not (folder / name).exists():
            found = get_close_matches(name, [other.name for other in folder.iterdir()])
            meant = (folder / other / path.relative_to(folder / name) for other in found)
            return next((f"; did you mean {str(one)!r}?" for one in meant if one.exists()), "")
    return ""
