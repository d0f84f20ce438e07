"""Periodic state of a run, complete and atomic: `<run>/checkpoints/<progress>.pt` with its SHA-256 beside it.

Randomness is drawn from (seed, purpose, progress), so the progress count is all the random state there is.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from hiper.records import atomic_write, read_json, sha256_file, write_json, write_text

log = logging.getLogger(__name__)

KEPT = 2  # the newest, and one to fall back on
IDENTITY = "identity.json"


def begin(folder: Path, identity: dict[str, str]) -> None:
    """Keep the checkpoints in `folder` only if they belong to the same work: `identity` says what determines it."""
    path = folder / IDENTITY
    if path.exists() and read_json(path) != identity:
        log.warning("%s: checkpoints of another configuration or starting point, starting afresh", folder)
        clear(folder)
    write_json(path, identity)


def clear(folder: Path) -> None:
    """Remove all checkpoints: the work is done, and a later run starts from the beginning."""
    for path in sorted(folder.glob("*")):
        path.unlink()
    if folder.is_dir():
        folder.rmdir()


def save(folder: Path, progress: int, state: dict[str, Any]) -> None:
    """Write checkpoint number `progress` (steps or iterations done), then drop all but the newest two."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"{progress:08d}.pt"
    with atomic_write(path, "wb") as stream:
        stream.write(buffer.getvalue())
    write_text(path.with_suffix(".sha256"), sha256_file(path) + "\n")
    for old in sorted(folder.glob("*.pt"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def load_latest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint whose checksum holds, or None; damaged ones are skipped loudly."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        expected = path.with_suffix(".sha256")
        if not expected.exists() or expected.read_text().strip() != sha256_file(path):
            log.error("%s is damaged or incomplete (checksum): using the checkpoint before it", path)
            continue
        return int(path.stem), torch.load(path, weights_only=True)
    return None
