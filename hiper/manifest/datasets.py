"""What a data set is told by, its hash, and whether it is the one that dvc.lock or an earlier stage speaks of."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hiper.errors import UserError
from hiper.manifest.contents import MANIFEST, files_of
from hiper.manifest.reading import again, read_manifest
from hiper.records import MAKE_DATA_AGAIN, absolute, read_json, require, sha256_file

INDEX = "dataset.json"  # of a data set
SHOWN = 3  # files named in a message
MADE = "{}.made.json"  # beside a data set that DVC has no stage for: what it was made from, and its hash
REWRITING = 2.0  # seconds; DVC writes dvc.lock in place, so that for a moment it is empty or cut
CHANGED = "{}: changed while this stage was at work; run the same command again"


def data_hash(data_root: Path, dataset: str) -> dict[str, str] | None:
    """What tells a data set from every other: the hash that DVC gives a folder of its content; None without data.

    It is taken of the files, whoever made them. UserError when `dvc.lock` has another, so that what it says of the data
    of a commit is true, or, for a data set that DVC has no stage for, the record of its making.
    """
    folder, lock = data_root / dataset, absolute(data_root).parent / "dvc.lock"
    locked = None
    if not (folder / INDEX).exists():
        return None
    found = folder_hash(folder)
    while lock.exists():
        settled = time.time() - lock.stat().st_mtime > REWRITING
        try:
            locked = _locked(lock, f"{data_root.name}/{dataset}")
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
            if settled:
                message = f"is no lock file of DVC ({error}); take it from the repository again"
                raise UserError(f"{lock}: {message}") from None
            locked = None
        if locked == found or (settled and locked is None):
            break
        if settled and locked is not None:
            raise UserError(
                f"{folder}: its content is not what dvc.lock says{_differing(folder, lock.parent, locked)}; "
                f"`hiper data repro {dataset}` makes it again, `dvc checkout --force {data_root.name}/{dataset}` takes "
                "it from DVC's cache"
            )
        time.sleep(0.1)
    if locked is None and (made := read_made(data_root, dataset)) is not None and made["md5"] != found:
        raise UserError(
            f"{folder}: its content is not what {MADE.format(dataset)} beside it says; `hiper data repro {dataset}` "
            "makes it again"
        )
    return {"dvc": found}


def read_made(data_root: Path, dataset: str) -> dict[str, Any] | None:
    """The record that `hiper data repro` leaves of a data set that DVC has no stage for; None where there is none."""
    path = data_root / MADE.format(dataset)
    if not path.exists():
        return None
    remedy = f"remove it, then `hiper data repro {dataset}` makes the data set again"
    return require(read_json(path, remedy), {"from": str, "md5": str}, str(path))


def folder_hash(folder: Path) -> str:
    """DVC's hash of a folder: of its files' names and MD5 sums, without what file managers left. Files that have not
    been touched since this process last read them are not read again."""
    signature: list[tuple[str, tuple[int, ...]]] = []
    for entry in files_of(folder):
        found = entry.stat()
        signature.append((str(entry), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)))
    known = _HASHES.get(str(folder))
    if known is None or known[0] != signature:
        sums = {os.path.relpath(name, folder): _md5(name) for name, _ in signature}
        known = _HASHES[str(folder)] = signature, _tree_hash(sums)
    return known[1]


_HASHES: dict[str, tuple[list[tuple[str, tuple[int, ...]]], str]] = {}


def _md5(path: str | Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _tree_hash(sums: Mapping[str, str]) -> str:
    listing = [{"md5": digest, "relpath": name} for name, digest in sorted(sums.items())]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _differing(folder: Path, root: Path, locked: str) -> str:
    """Which files those are, if DVC's cache has the list that a hash stands for."""
    try:
        listed = json.loads((root / ".dvc/cache/files/md5" / locked[:2] / locked[2:]).read_bytes())
        wanted = {str(entry["relpath"]): str(entry["md5"]) for entry in listed}
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    present = {path.relative_to(folder).as_posix() for path in files_of(folder)}
    found = [f"{name} is missing" for name in sorted(wanted.keys() - present)]
    found += [f"{name} is additional" for name in sorted(present - wanted.keys())]
    found += [f"{name} differs" for name in sorted(present & wanted.keys()) if _md5(folder / name) != wanted[name]]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f" ({', '.join(found[:SHOWN])}{more})"


def require_unchanged(data: Mapping[str, str] | None, data_root: Path, dataset: str) -> None:
    """UserError when a data set is no longer the one that had the hash `data` (None: whatever it is)."""
    if data is not None and data_hash(data_root, dataset) != data:
        raise UserError(CHANGED.format(data_root / dataset))


def require_data(folder: Path, data_root: Path, dataset: str) -> dict[str, str] | None:
    """The hash of a data set that goes on being used with what lies in `folder`: UserError when its manifest tells of
    other data. Two data sets never meet in one run."""
    found = data_hash(data_root, dataset)
    recorded = (read_manifest(folder) or {}).get("data")
    earlier = {INDEX: sha256_file(data_root / dataset / INDEX)} if found else None  # how old manifests tell of data
    if recorded and found and recorded not in (found, earlier):
        raise UserError(
            f"{folder}: was made with other data than {data_root / dataset} holds now (its {MANIFEST} says "
            f"{_named(recorded)}, there is {_named(found)}); put those data back, or {again(folder)}"
        )
    return found


def _named(data: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items()) if isinstance(data, Mapping) else str(data)


def _locked(lock: Path, output: str) -> str | None:
    """The hash of `output` in a `dvc.lock`; None where it has none."""
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages") or {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            if out.get("path") == output and "md5" in out:
                return str(out["md5"])
    return None


def data_source(data_root: Path, dataset: str) -> str | None:
    """Where the data came from (folder, archives, download, generate), as the data set's index says."""
    path, index = _index(data_root, dataset)
    kind = require(index.get("source") or {}, {}, f"{path}, source").get("kind")
    return None if kind is None else str(kind)


def data_tagger(data_root: Path, dataset: str) -> str | None:
    """What tagged the texts that the data were made of; None for data without."""
    _, index = _index(data_root, dataset)
    return index.get("tagger")


def _index(data_root: Path, dataset: str) -> tuple[Path, dict[str, Any]]:
    """A data set's `dataset.json` and its content, empty where there is none."""
    path = data_root / dataset / INDEX
    return path, require(read_json(path, MAKE_DATA_AGAIN), {}, str(path)) if path.exists() else {}
