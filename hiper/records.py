"""Files as the truth: atomic writes, JSON lines, hashes. Everything that lands in `results/` goes through here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hiper.errors import UserError

PARTIAL = ".partial"  # how the names of temporary folders end, which begin with a dot

# What to do about a damaged file, by who made it: a user or a download, the data stage, another stage.
FETCH_AGAIN = "fetch it again, or restore it"
MAKE_DATA_AGAIN = "make the data set again (`hiper data repro`, or `hiper data make`)"
MAKE_AGAIN = "restore it, or delete it and run the stage that makes it again"

_USER_PART = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@]+@")
# What file managers, editors and file systems leave behind: copies, backups, records of their own.
_LEFTOVER = re.compile(
    r"\._.*|\.DS_Store|\.nfs[0-9a-f]+|\..*\.sw[a-p]|\..*\.partial|Thumbs\.db|desktop\.ini|__MACOSX|#.*#|.*~"
    r"|.*\.(?:bak|orig)|copy of .*|.* copy(?: \d+| \(\d+\))?(?:\.\w+)?|.* \((?:.*copy.*|\d+)\)(?:\.\w+)?",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"(?i)((?:token|password|secret|api_?key|access_?key)=)\S+")


def absolute(path: Path) -> Path:
    """The absolute path by the names that lead to it. Links are not followed: what belongs to a project or an
    experiment may lie on another disk."""
    return Path(os.path.abspath(path))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name for the block to write; on success synced and renamed over `path`, on any error removed.

    It lies in a folder of its own beside `path`, where libraries may leave temporary files too. An OSError without a
    file name gets that of `path`, so that a full disk is reported with the file it hit.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent))
        try:
            temporary = folder / path.name
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno is not None and (error.filename is None or PARTIAL in str(error.filename)):
            error.filename = str(path)
        raise


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success sync it and rename it over `path`, on any error remove it."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding) as stream:
        yield stream


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)


def dumps(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


def leftover(name: str) -> bool:
    """Whether a file or folder of this name is what a file manager, an editor or a file system left behind (`._x`,
    `Thumbs.db`, `x~`, `x.bak`, `x (copy)`): never the thing itself."""
    return _LEFTOVER.fullmatch(name) is not None


def read_json(path: Path, remedy: str = FETCH_AGAIN) -> Any:
    """The value in a JSON file; UserError names the file when it is missing, cut short or no JSON, and says what to do
    then: `remedy`, empty where the caller does."""
    try:
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}){remedy and f'; {remedy}'}") from None


def _parsed(content: bytes) -> Any:
    """The value in a JSON text; ValueError for whatever is wrong with it. A byte order mark is passed over.

    Python's parser also takes what JSON does not have (NaN, halves of a surrogate pair) and stops at deep nesting with
    an error of another kind.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=_refused)
        if b"\\ud" in content.lower():
            dumps(value).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def require(row: Any, types: Mapping[str, type | tuple[type, ...]], where: str) -> dict[str, Any]:
    """`row` when it is an object in which each key of `types` has a value of that type; UserError begins with `where`.

    A truth value does not count as a number.
    """
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
    if missing := [key for key in types if key not in row]:
        raise UserError(f"{where}: no {', '.join(missing)}")
    for key, kind in types.items():
        wanted = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(row[key], wanted) or (isinstance(row[key], bool) and bool not in wanted):
            names = " or ".join(one.__name__ for one in wanted)
            raise UserError(f"{where}: `{key}` = {repr(row[key])[:60]} must be of type {names}")
    return row


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")


def append_jsonl(path: Path, row: Any) -> None:
    """Append one line, whole or, on a full disk, not at all.

    A line cut short by a crash is dropped by `read_jsonl(..., partial_ok=True)`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = f"{dumps(row)}\n".encode()
    with path.open("ab", buffering=0) as stream:
        before = os.fstat(stream.fileno()).st_size
        try:
            while line:
                line = line[stream.write(line) :]
        except OSError as error:
            stream.truncate(before)
            error.filename = str(path)
            raise


def read_jsonl(path: Path, *, partial_ok: bool = False, remedy: str = MAKE_AGAIN) -> list[Any]:
    """All rows of a JSONL file; a broken line raises UserError naming it and saying what to do (`remedy`), unless it is
    the last one and `partial_ok`."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line and number == len(lines):
            break  # what follows the last line's end
        try:
            rows.append(_parsed(line))
        except ValueError as error:
            if partial_ok and number == len(lines):
                break
            raise UserError(f"{path}:{number}: not valid JSON ({error}); {remedy}") from None
    return rows


def each_row(path: Path, remedy: str = MAKE_AGAIN) -> Iterator[Any]:
    """The rows of a JSONL file one after the other, for files larger than one wants in memory; a broken line raises
    UserError as in `read_jsonl`."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield _parsed(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not valid JSON ({error}); {remedy}") from None


def read_last_rows(path: Path, count: int) -> list[Any]:
    """The last `count` rows of a JSONL file of any size, which may be growing; only they are parsed."""
    with path.open("rb") as stream:
        lines = deque(stream, maxlen=count + 1)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # still being written
    kept = list(lines)[-count:]
    try:
        return [_parsed(line) for line in kept]
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON among the last {len(kept)} lines ({error}); {MAKE_AGAIN}") from None


def without_credentials(text: str) -> str:
    """`text` with the user part of addresses (`https://name:password@host`) and the values of settings that are called
    token, password, secret or key replaced by `***`: for everything that describes a process to others."""
    return _SECRET_VALUE.sub(r"\1***", _USER_PART.sub(r"\1***@", text))


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    return hashlib.sha256(dumps(value).encode()).hexdigest()
