"""Periodic state of a run, complete and atomic: `<run>/checkpoints/<progress>.pt` with its SHA-256 beside it.

Randomness is drawn from (seed, purpose, progress), so the progress count is all the random state there is.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, Any

import torch

from hiper.errors import UserError
from hiper.records import atomic_write, read_json, sha256_file, write_json, write_text

log = logging.getLogger(__name__)

KEPT = 2  # the newest, and one to fall back on
IDENTITY = "identity.json"


class SinceCheckpoint:
    """How long ago the last checkpoint was, by this process's clock, and whether that is `enough` for another."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60.0 * minutes
        self.restart()

    def restart(self) -> None:
        self.began = monotonic()

    @property
    def enough(self) -> bool:
        return monotonic() - self.began >= self.seconds


def begin(folder: Path, identity: dict[str, Any]) -> None:
    """Keep the checkpoints in `folder` only if they belong to the same work: `identity` says what determines it."""
    path = folder / IDENTITY
    if folder.is_dir() and not _belongs(path, identity):
        log.warning("%s: checkpoints of another configuration, starting point or data set, starting afresh", folder)
        clear(folder)
    write_json(path, identity)


def _belongs(path: Path, identity: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == identity)
    except UserError:  # missing or damaged: nobody knows what these checkpoints are of
        return False


def clear(folder: Path) -> None:
    """Remove all checkpoints: the work is done, and a later run starts from the beginning."""
    for path in _found(folder):
        path.unlink()
        path.with_suffix(".sha256").unlink(missing_ok=True)
    (folder / IDENTITY).unlink(missing_ok=True)
    with suppress(OSError):  # what somebody else put there stays
        folder.rmdir()


def _found(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; copies that a file manager made of them are none."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdecimal())


def save(folder: Path, progress: int, state: dict[str, Any]) -> None:
    """Write checkpoint number `progress` (steps or iterations done), then drop all but the newest two.

    The checksum is that of the bytes in memory, so it also finds what was damaged on its way to the disk.
    """
    path = folder / f"{progress:08d}.pt"
    with atomic_write(path, "wb") as stream:
        summed = _Summed(stream)
        try:
            torch.save(state, summed)
        except RuntimeError:
            # torch closes its archive after a write that failed, and complains of that in place of the full disk
            if summed.failure is None:
                raise
            raise summed.failure from None
    write_text(path.with_suffix(".sha256"), summed.digest.hexdigest() + "\n")
    for old in _found(folder)[:-KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


class _Summed:
    """A binary stream that knows the SHA-256 of what was written to it: a large state is not held in memory twice."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, part: bytes) -> int:
        self.digest.update(part)
        try:
            return self.stream.write(part)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def load_latest(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint whose checksum holds, or None; damaged ones are skipped loudly."""
    found = _found(folder)[::-1]
    for path in found:
        expected = path.with_suffix(".sha256")
        if expected.exists() and expected.read_text(encoding="utf-8", errors="replace").strip() == sha256_file(path):
            return int(path.stem), _read(path)
        log.error("%s is damaged or incomplete (checksum): using the checkpoint before it", path)
    if found:
        log.error("%s: no checkpoint is whole; starting from the beginning", folder)
    return None


def _read(path: Path) -> dict[str, Any]:
    """Tensors and plain values only: nothing in a checkpoint is ever executed. What is read of the file is what is
    used of it, once for all processes of a machine."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
    except Exception as error:  # what torch raises here depends on how the file is wrong
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint of this program ({first}); remove {path.parent}") from None
    return state
