"""Are two runs of an experiment the same, byte for byte? What a clock or a process number enters is left out.

Between two commits or two machines the provenance differs: commit, versions, command lines, settings. It stands in
files of its own and in known keys of others, so what was computed can be compared without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.manifest import EVALUATION_MANIFEST, MANIFEST, TAKEN_FROM, files_of
from hiper.records import dumps, read_json, sha256_file

# Folders and files that tell of one particular execution: when, how long, in which process, or where MLflow keeps it.
EXECUTION = ("tracking", "logs", "benchmarks", "timings.jsonl", "tracking.log")
TIMES = ("finished", "hardware", TAKEN_FROM, "wall_time_seconds")  # keys of a manifest: when, where, for how long
EXECUTION_LINE = '<dl id="execution">'  # how the one line of report.html begins that tells of the same
PAGE = "report.html"
PROVENANCE_FILES = {
    "config.yaml": "differs in settings",
    PAGE: "differs; beside what the tables hold it shows commits and settings",
}
MANIFEST_PROVENANCE = ("code", "command", "configuration", "git", "packages", "python", "settings", *TIMES)  # keys
VARIANCE_PROVENANCE = ("git", "packages", "settings", "variance")  # keys; the last holds the section of settings


@dataclass(frozen=True)
class Difference:
    """A file, relative to both folders, and what is wrong with it; `computed`: in more than its provenance."""

    path: str
    problem: str
    computed: bool = True


def compare(first: Path, second: Path, results_only: bool = False) -> tuple[int, list[Difference]]:
    """(number of files compared, differences) of two folders `results/<experiment>`; UserError where one is empty.
    `results_only`: only what was computed, without PROVENANCE_FILES and the keys of provenance in other files."""
    left, right = (dict(_files(folder)) for folder in (first, second))
    for folder, files in ((first, left), (second, right)):
        if not files:
            raise UserError(f"{folder}: no results here; give two folders results/<experiment>")
    if results_only:
        left, right = (
            {name: path for name, path in files.items() if path.name not in PROVENANCE_FILES} for files in (left, right)
        )
    found = [
        Difference(name, f"missing in {lacking}", Path(name).name not in PROVENANCE_FILES)
        for some, others, lacking in ((left, right, second), (right, left, first))
        for name in sorted(some.keys() - others.keys())
    ]
    for name in sorted(left.keys() & right.keys()):
        one, other = left[name], right[name]
        if not results_only and _whole(one) == _whole(other):
            continue
        if _computed(one) != _computed(other):
            found.append(Difference(name, "differs"))
        elif not results_only:
            problem = PROVENANCE_FILES.get(one.name, "differs in its provenance alone")
            found.append(Difference(name, problem, computed=False))
    return len(left.keys() | right.keys()), found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in files_of(folder):
        name = path.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts) and not set(EXECUTION) & set(name.parts):
            yield name.as_posix(), path


def _whole(path: Path) -> str:
    """All of a file but when, where and for how long it was made."""
    if path.name == PAGE:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(EXECUTION_LINE))
    return _without(path, TIMES) if _is_manifest(path) else sha256_file(path)


def _computed(path: Path) -> str | None:
    """What was computed of a file's content; None where that is nothing that other files do not hold."""
    if path.name in PROVENANCE_FILES:
        return None
    if _is_manifest(path):
        return _without(path, MANIFEST_PROVENANCE)
    if path.parent.name == "variance" and path.suffix == ".json":
        return _without(path, VARIANCE_PROVENANCE)
    return sha256_file(path)


def _is_manifest(path: Path) -> bool:
    return path.name in (MANIFEST, EVALUATION_MANIFEST)


def _without(path: Path, keys: tuple[str, ...]) -> str:
    content: dict[str, Any] = read_json(path)
    return dumps({key: value for key, value in content.items() if key not in keys})
