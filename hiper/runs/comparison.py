"""Are two runs of an experiment the same, byte for byte? What a clock or a process number enters is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hiper.errors import UserError
from hiper.manifest import EVALUATION_MANIFEST, files_of
from hiper.manifest import FILE as MANIFEST
from hiper.records import dumps, read_json, sha256_file

# Folders and files that tell of one particular execution: when, how long, in which process, or where MLflow keeps it.
EXECUTION = ("tracking", "logs", "benchmarks", "timings.jsonl", "tracking.log")
MANIFESTS = (MANIFEST, EVALUATION_MANIFEST)
TIMES = ("wall_time_seconds",)  # keys of a manifest


@dataclass(frozen=True)
class Difference:
    """A file, relative to both folders, and what is wrong with it."""

    path: str
    problem: str


def compare(first: Path, second: Path) -> tuple[int, list[Difference]]:
    """(number of files compared, differences) of two folders `results/<experiment>`; UserError where one is empty."""
    left, right = (dict(_files(folder)) for folder in (first, second))
    for folder, files in ((first, left), (second, right)):
        if not files:
            raise UserError(f"{folder}: no results here; give two folders results/<experiment>")
    found = [Difference(name, f"missing in {second}") for name in sorted(left.keys() - right.keys())]
    found += [Difference(name, f"missing in {first}") for name in sorted(right.keys() - left.keys())]
    both = sorted(left.keys() & right.keys())
    found += [Difference(name, "differs") for name in both if _content(left[name]) != _content(right[name])]
    return len(left.keys() | right.keys()), found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in files_of(folder):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts) and not set(EXECUTION) & set(name.parts):
            yield name.as_posix(), path


def _content(path: Path) -> str:
    if path.name not in MANIFESTS:
        return sha256_file(path)
    return dumps({key: value for key, value in read_json(path).items() if key not in TIMES})
