"""The sqlite file of an experiment's records: one writer at a time, looked at before MLflow opens it.

MLflow itself tries ten times, over minutes, to open a file that is locked or is no database, and leaves one half
migrated when it is killed. The file is a mirror: one that cannot be read is set aside (never deleted) and made anew.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path

from hiper.errors import UserError
from hiper.locks import held
from hiper.tracking.destination import client_class

log = logging.getLogger(__name__)

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
COMPANIONS = (DATABASE, f"{DATABASE}-journal", f"{DATABASE}-wal", f"{DATABASE}-shm", ARTIFACTS)
BUSY_SECONDS = 5.0
_spellings = itertools.count()


def exclusive(tracking: Path, seconds: float) -> AbstractContextManager[None]:
    """Be the only one who writes records of this experiment on this machine; UserError when others do for so long."""
    return held(tracking / "lock", tracking, seconds)


def prepare(tracking: Path) -> str:
    """Make sure that `tracking/mlflow.db` is a database that MLflow can open now; its address for MLflow.

    UserError when another program keeps it locked. The caller holds the lock of `exclusive`.
    """
    path = tracking / DATABASE
    if path.exists() and (damage := inspect(path)):
        aside = _free_name(tracking)
        set_aside(tracking, aside)
        log.warning("%s was damaged (%s): kept in %s, made anew from the files", path, damage, aside)
    if not path.exists() or not path.stat().st_size:
        _make(path)
    _follow_the_folder(path)
    return _address(path)


def _follow_the_folder(path: Path) -> None:
    """MLflow keeps absolute addresses of artifacts. After the folder has been moved or copied those of ours are set
    right: they lie beside the database."""
    place = (path.parent / ARTIFACTS).resolve().as_uri()
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as opened, opened:
        for number, old in opened.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
            if not old or old == place or not old.endswith(f"/tracking/{ARTIFACTS}"):
                continue
            opened.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (place, number))
            opened.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE experiment_id = ?"
                " AND substr(artifact_uri, 1, ?) = ?",
                (place, len(old) + 1, number, len(old) + 1, f"{old}/"),
            )


def inspect(path: Path, seconds: float | None = None) -> str | None:
    """What is wrong with the database, None when nothing is; UserError when somebody else's transaction holds it for so
    long (`BUSY_SECONDS` unless told)."""
    patience = BUSY_SECONDS if seconds is None else seconds
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=patience)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            (found,) = opened.execute("PRAGMA quick_check(1)").fetchone()
            opened.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError(f"{path}: {error}; check its permissions and the disk") from None
        raise UserError(f"{path}: locked by {_holders(path)}; end its transaction, then try again") from None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else str(found)


def _holders(path: Path) -> str:
    """The processes that the operating system lists with a lock on the file."""
    inode, found = path.stat().st_ino, []
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "->" not in words and words[5].endswith(f":{inode}") and int(words[4]) > 0:
                command = Path(f"/proc/{words[4]}/cmdline").read_text().replace("\0", " ").strip()
                found.append(f"process {words[4]} (`{command[:80]}`)")
    except (OSError, ValueError, IndexError):
        pass
    return " and ".join(dict.fromkeys(found)) or "another program (an `mlflow server`, a sqlite shell, a backup)"


def _make(path: Path) -> None:
    """A migrated, empty database, complete or not there at all."""
    unfinished = path.with_name(f".{path.name}.new")
    for name in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        name.unlink(missing_ok=True)
    client_class()(_address(unfinished)).get_experiment_by_name("Default")
    unfinished.replace(path)


def _address(path: Path) -> str:
    """A spelling of the path that this process has not used: MLflow keeps connections by address, and they would go on
    writing into a file that has been deleted or replaced."""
    return f"sqlite:///{path.parent.resolve()}/{'./' * next(_spellings)}{path.name}"


def remove(tracking: Path) -> None:
    """Delete the database, what sqlite keeps beside it and the artifacts."""
    for name in COMPANIONS:
        path = tracking / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def put_back(source: Path, tracking: Path) -> None:
    """Undo `set_aside`."""
    for path in source.iterdir():
        path.replace(tracking / path.name)
    source.rmdir()


def set_aside(tracking: Path, target: Path) -> None:
    """Move the database, what sqlite keeps beside it and the artifacts into the new folder `target`."""
    target.mkdir(parents=True)
    for name in COMPANIONS:
        if (tracking / name).exists():
            (tracking / name).replace(target / name)


def _free_name(tracking: Path) -> Path:
    return next(path for n in itertools.count(1) if not (path := tracking / f"damaged-{n}").exists())
