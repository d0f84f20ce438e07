"""Where a user says that data are."""

from __future__ import annotations

import os
from pathlib import Path

from hiper.errors import UserError
from hiper.paths import expanded


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names, None where it is unset; UserError for a name of no folder: data
    from another source must not take the place of a mistyped one's."""
    name = os.environ.get(variable)
    if not name:
        return None
    folder = expanded(name, variable)
    if not folder.is_dir():
        raise UserError(f"{variable} is {name}: no such folder; correct the variable, or unset it")
    return folder
