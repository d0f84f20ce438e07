"""The files below a folder, and a checksum of them."""

from __future__ import annotations

import os
from pathlib import Path

from hiper.records import leftover, sha256_file, sha256_json

MANIFEST = "manifest.json"


def files_of(folder: Path) -> list[Path]:
    """The files below a folder, sorted; links are followed, what file managers and editors left there is not taken."""
    found = []
    for path, inside, files in os.walk(folder, followlinks=True):
        inside[:] = [name for name in inside if not leftover(name) and not _leads_back(Path(path, name))]
        found += [entry for name in files if not leftover(name) and (entry := Path(path, name)).is_file()]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in: who follows it comes by again and again."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def content_hash(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and contents below a folder; None when there is nothing. The folder's own
    manifest is no part of it: it says when and where the rest was made."""
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        files = [entry for entry in files_of(path) if entry != path / MANIFEST]
        return sha256_json({str(entry.relative_to(path)): sha256_file(entry) for entry in files})
    return None
