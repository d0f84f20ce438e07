"""Periodic state of a run, complete and atomic: `<run>/checkpoints/<progress>.pt` with its SHA-256 beside it.

Where several processes each have a part of the state, each writes its own, `<progress>.<rank>of<size>.<token>.pt`,
before the first writes the file that says how many there are: a checkpoint is whole when all of its files are. Training
goes on while they are written (`Writer`).

Randomness is drawn from (seed, purpose, progress), so the progress count is all the random state there is.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from time import monotonic, sleep
from typing import IO, Any

import torch

from hiper.errors import UserError
from hiper.learning.processes import Processes
from hiper.records import atomic_write, read_json, sha256_file, write_json, write_text

log = logging.getLogger(__name__)

KEPT = 2  # the newest, and one to fall back on
BETWEEN_LOOKS = 0.05  # seconds
FOR_OTHERS = 60.0  # seconds for parts to be seen that have been written, or whose process may have died
IDENTITY = "identity.json"
TOKEN = "token"  # of a state whose parts several processes have written
PARTS = "parts"  # of a state: how many processes have written one; of what is read: what they wrote
OURS = re.compile(r"(\d{8})(\.\d+of\d+(\.[0-9a-f]+)?)?\.(pt|sha256)")  # copies that a file manager made are not


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
    _keep(folder, [found.stem for found in _found(folder)])  # no parts of what was never finished
    write_json(path, identity)


def _belongs(path: Path, identity: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == identity)
    except UserError:  # missing or damaged: nobody knows what these checkpoints are of
        return False


def clear(folder: Path) -> None:
    """Remove all checkpoints: the work is done, and a later run starts from the beginning."""
    _keep(folder, [])
    (folder / IDENTITY).unlink(missing_ok=True)
    with suppress(OSError):  # what somebody else put there stays
        folder.rmdir()


def _found(folder: Path) -> list[Path]:
    """The checkpoints, oldest first."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdecimal() and OURS.fullmatch(path.name))


def _keep(folder: Path, numbers: Sequence[str]) -> None:
    """Remove all files of other checkpoints, also the parts of those that were never finished."""
    for path in sorted(folder.glob("*"), key=lambda path: len(path.name)):  # the one that counts them goes first
        if (ours := OURS.fullmatch(path.name)) and ours[1] not in numbers:
            path.unlink()


class Writer:
    """Writes a process's checkpoints beside what the process goes on with, one at a time. All processes of a run call
    `begin` and `finish` at the same places. As a context it waits at the end for what was begun.

    Where several processes have a part each, their parts of one attempt have a `token` in common, which the first
    draws: parts that an earlier attempt has left are never taken for this one's.
    """

    def __init__(self, folder: Path, processes: Processes, token: str | None = None) -> None:
        self.folder, self.processes = folder, processes
        self.token = token
        self.thread: Thread | None = None
        self.failure: BaseException | None = None
        self.written, self.ending = Event(), Event()

    def begin(self, progress: int, mine: dict[str, Any], further: dict[str, Any]) -> None:
        """Begin to write a checkpoint of which every process has a part (`mine`), and to which the first adds
        `further`. Nothing may change either before `finish`."""
        self.finish()
        if self.processes.size > 1 and self.token is None:
            self.token = self.processes.gathered([token_hex(4)])[0]
        self.written.clear()
        self.ending.clear()
        self.thread = Thread(target=self._run, args=(progress, mine, further), name="checkpoint")
        self.thread.start()

    def _run(self, progress: int, mine: dict[str, Any], further: dict[str, Any]) -> None:
        try:
            if self.processes.size == 1:
                save(self.folder, progress, mine | further)
            else:
                self._write_part(progress, mine, further)
        except BaseException as error:  # is raised where the process can do something about it
            self.failure = error
        finally:
            self.written.set()

    def _write_part(self, progress: int, mine: dict[str, Any], further: dict[str, Any]) -> None:
        """The first also waits for the parts of the others, then writes what says that all are there. From `ending` on
        they must be there, and it waits for `FOR_OTHERS` more."""
        rank, size = self.processes.rank, self.processes.size
        parts = [_part(self.folder, f"{progress:08d}", one, size, self.token) for one in range(size)]
        _write(parts[rank], mine)
        self.written.set()
        if not self.processes.first:
            return
        last = None
        while missing := [part for part in parts if not _sum_of(part).exists()]:
            sleep(BETWEEN_LOOKS)
            last = last or (monotonic() + FOR_OTHERS if self.ending.is_set() else None)
            if last is not None and monotonic() > last:
                raise UserError(
                    f"{missing[0]} is not there: its process has died, or the results folder is not one that all nodes "
                    "write to"
                )
        save(self.folder, progress, {PARTS: size, TOKEN: self.token} | further)

    def finish(self) -> None:
        """Wait until the checkpoint that was begun, if any was, is whole; raise what kept it from that, in every
        process."""
        if self.thread is None:
            return
        self.written.wait()
        self._raise_failures()  # all parts are written, and the first need not wait for long
        self.ending.set()
        self.thread.join()
        self.thread = None
        self._raise_failures()

    def _raise_failures(self) -> None:
        failures = self.processes.gathered([None if self.failure is None else str(self.failure)])
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        for rank, text in enumerate(failures):
            if text is not None:
                raise UserError(f"process {rank} could not write its part of a checkpoint: {text}")

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        elif self.thread is not None:  # the other processes may never come to `finish`
            self.ending.set()
            self.thread.join()
            if self.failure is not None:
                log.error("%s: the last checkpoint was not written (%s)", self.folder, self.failure)


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """The same with tensors that nobody else has; one that is there twice stays one."""
    seen: dict[tuple[Any, ...], torch.Tensor] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copy(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(copy(one) for one in value)
        if not isinstance(value, torch.Tensor):
            return value
        if not value.numel():  # all of these lie at the same place
            return value.detach().clone()
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if place not in seen:
            seen[place] = value.detach().clone()
        return seen[place]

    made: dict[str, Any] = copy(state)
    return made


def parts_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process had of a state that was read, in their order."""
    parts: list[dict[str, Any]] = state.get(PARTS) or [state]
    return parts


def _part(folder: Path, number: str, rank: int, size: int, token: str | None) -> Path:
    return folder / f"{number}.{rank}of{size}{'' if token is None else f'.{token}'}.pt"


def save(folder: Path, progress: int, state: dict[str, Any]) -> None:
    """Write checkpoint number `progress` (steps or iterations done), then drop all but the newest two."""
    _write(folder / f"{progress:08d}.pt", state)
    _keep(folder, [path.stem for path in _found(folder)[-KEPT:]])


def _sum_of(path: Path) -> Path:
    """Where the checksum of a file is, which is written after it."""
    return path.with_suffix(".sha256")


def _write(path: Path, state: dict[str, Any]) -> None:
    """The checksum is that of the bytes in memory, so it also finds what was damaged on its way to the disk."""
    with atomic_write(path, "wb") as stream:
        summed = _Summed(stream)
        try:
            torch.save(state, summed)
        except RuntimeError:
            # torch closes its archive after a write that failed, and complains of that in place of the full disk
            if summed.failure is None:
                raise
            raise summed.failure from None
    write_text(_sum_of(path), summed.digest.hexdigest() + "\n")


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
    """The newest checkpoint whose checksums hold, or None; damaged ones are skipped loudly. `parts_of` has what several
    processes have written."""
    found = _found(folder)[::-1]
    for path in found:
        damaged = path
        if _whole(path):
            state = _read(path)
            size = state.get(PARTS, 0)
            parts = [_part(folder, path.stem, rank, size, state.get(TOKEN)) for rank in range(size)]
            broken = [part for part in parts if not _whole(part)]
            if not broken:
                return int(path.stem), state | ({PARTS: [_read(part) for part in parts]} if parts else {})
            damaged = broken[0]
        log.error("%s is damaged or incomplete (checksum): using the checkpoint before it", damaged)
    if found:
        log.error("%s: no checkpoint is whole; starting from the beginning", folder)
    return None


def _whole(path: Path) -> bool:
    expected = _sum_of(path)
    if not path.exists() or not expected.exists():
        return False
    return expected.read_text(encoding="utf-8", errors="replace").strip() == sha256_file(path)


def _read(path: Path) -> dict[str, Any]:
    """Tensors and plain values only: nothing in a checkpoint is ever executed. What is read of the file is what is
    used of it, once for all processes of a machine."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
    except Exception as error:  # what torch raises here depends on how the file is wrong
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint of this program ({first}); remove {path.parent}") from None
    return state
