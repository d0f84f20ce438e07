"""Who may write where: one process per folder, told apart by locks of the operating system.

A lock ends with the process that holds it, however that process ends (`kill -9` included), so none is ever stale. Lock
files lie beside what they protect (`.<name>.lock`), describe their owner, and are removed when it has done.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hiper.errors import UserError
from hiper.records import PARTIAL, without_credentials

PATIENCE = 0.5  # seconds: somebody who only asks for the owner holds a lock for an instant


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only writer of `folder` (a file or a folder, made or not); UserError that says who is, if another.

    What a killed writer left half written (in temporary folders of `hiper.records`) is removed: nobody else owns it.
    """
    with held(lock_file(folder), folder):
        inside = folder.rglob(f".*{PARTIAL}") if folder.is_dir() else folder.parent.glob(f".{folder.name}.*{PARTIAL}")
        for leftover in sorted(inside):
            shutil.rmtree(leftover)
        yield


@contextmanager
def held(path: Path, subject: Path, seconds: float = PATIENCE) -> Iterator[None]:
    """Hold the lock file `path`, waiting `seconds` at most; UserError that says who writes in `subject` instead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    limit = time.monotonic() + seconds
    while True:
        with path.open("a+", encoding="utf-8") as stream:
            if _acquired(stream, fcntl.LOCK_EX) and _in_place(stream, path):
                _describe(stream)
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
            if time.monotonic() >= limit:
                holder = _owner(stream)
                raise UserError(f"{subject}: {holder} is writing here; wait until it has finished, or stop it")
        time.sleep(0.05)


def _in_place(stream: IO[str], path: Path) -> bool:
    """Whether the file just locked is still the one of that name: its last holder removed it on leaving."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _acquired(stream: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def owner(folder: Path) -> str | None:
    """Who writes in `folder` now, in words; None when nobody does."""
    try:
        stream = lock_file(folder).open(encoding="utf-8")
    except FileNotFoundError:
        return None
    with stream:
        return None if _acquired(stream, fcntl.LOCK_SH) else _owner(stream)


def _owner(stream: IO[str]) -> str:
    stream.seek(0)
    try:
        held = json.loads(stream.read())
        return f"process {held['process']} on {held['host']} (`{held['command']}`, since {held['since']})"
    except (ValueError, TypeError, KeyError):
        return "a process that has just started"


def _describe(stream: IO[str]) -> None:
    stream.truncate(0)
    program, *arguments = sys.argv
    described = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": without_credentials(shlex.join([Path(program).name, *arguments])),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    try:
        os.write(stream.fileno(), json.dumps(described).encode())
    except OSError as error:
        error.filename = stream.name  # so that a full disk is reported with a place
        raise


def join_workflow(folder: Path) -> IO[str]:
    """Mark this Snakemake process as alive in `folder` (`.snakemake`) while the returned stream is open.

    Snakemake's own locks survive a `kill -9` and then refuse every later call until somebody says `--unlock`. When no
    other marked process is alive, they belong to nobody and are removed, so that the same command simply goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / "alive.lock").open("a", encoding="utf-8")
    if _acquired(stream, fcntl.LOCK_EX):  # else another Snakemake is at work: its locks decide what this one may do
        shutil.rmtree(folder / "locks", ignore_errors=True)
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream
