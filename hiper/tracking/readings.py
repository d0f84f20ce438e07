"""What the files of a run say, as MLflow wants it: metrics by name and step, parameters as flat text."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiper.manifest import MANIFEST
from hiper.records import read_jsonl, sha256_file
from hiper.trajectory import evaluated_on

FOLLOWED = "tracking.log"  # what a follower says, from before its run's first metrics
COUNTERS = ("iteration", "step")  # what a row of metrics.jsonl counts
GROWING = {"metrics.jsonl": "", "timings.jsonl": "seconds/"}  # file to the prefix of its metrics

Metrics = dict[tuple[str, int], float]  # (name, step) to value
Signature = tuple[int, int, int]  # inode, size, time of the last change


class RunFiles:
    """The files of one run, for a reader that comes again and again: only what has changed is read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, tuple[int, int, Metrics]] = {}  # inode, bytes read, values found in them
        self._evaluation: tuple[Signature | None, Metrics] = (None, {})
        self._hashes: dict[str, tuple[Signature, str]] = {}

    def read(self) -> Metrics:
        """All metrics of the run: those of its iterations (or steps), times as `seconds/…`, and its evaluation."""
        found: Metrics = {}
        for name, prefix in GROWING.items():
            found |= self._grown(name, prefix)
        found |= self._evaluated()
        return found

    def _grown(self, name: str, prefix: str) -> Metrics:
        """The values of a file that only grows; one that was replaced or cut is read from its beginning."""
        path = self.folder / name
        if not path.exists():
            return {}
        with path.open("rb") as stream:
            inode = path.stat().st_ino
            known, position, values = self._rows.get(name, (inode, 0, {}))
            if known != inode or path.stat().st_size < position:
                position, values = 0, {}
            stream.seek(position)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]  # the last line may still be being written
        for line in whole.splitlines():
            values |= _row_values(json.loads(line), prefix)
        self._rows[name] = (inode, position + len(whole), values)
        return values

    def _evaluated(self) -> Metrics:
        signature = _signature(self.folder / "evaluation.jsonl")
        if signature != self._evaluation[0]:
            self._evaluation = (signature, evaluation_metrics(self.folder))
        return self._evaluation[1]

    def hashes(self, names: Sequence[str]) -> dict[str, str]:
        """SHA-256 of those of the files that are there."""
        found = {}
        for name in names:
            signature = _signature(self.folder / name)
            if signature is None:
                continue
            if self._hashes.get(name, (None, ""))[0] != signature:
                self._hashes[name] = (signature, sha256_file(self.folder / name))
            found[name] = self._hashes[name][1]
        return found


def _signature(path: Path) -> Signature | None:
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _row_values(row: dict[str, Any], prefix: str) -> Metrics:
    step = next(int(row[counter]) for counter in COUNTERS if counter in row)
    return {(f"{prefix}{key}", step): float(value) for key, value in row.items() if key not in COUNTERS}


def evaluation_metrics(folder: Path) -> Metrics:
    """Success rate per split and temperature, overall and per task type, and mean turns, from `evaluation.jsonl`."""
    path = folder / "evaluation.jsonl"
    groups: dict[str, list[float]] = {}
    for row in read_jsonl(path) if path.exists() else []:
        part = f"evaluation/{evaluated_on(row)}/T{row['temperature']:g}"
        groups.setdefault(f"{part}/success", []).append(float(row["won"]))
        groups.setdefault(f"{part}/success/{row['task_type']}", []).append(float(row["won"]))
        groups.setdefault(f"{part}/turns", []).append(float(row["turns"]))
    return {(name, 0): sum(values) / len(values) for name, values in groups.items()}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.key: text`; lists and null as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def columns(path: Path) -> dict[str, list[str]]:
    """A CSV table by columns."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = list(csv.reader(stream))
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


def started(folder: Path) -> bool:
    """Whether a stage has begun to make this run; its config.yaml alone only says that one will."""
    return any((folder / name).exists() for name in (*GROWING, MANIFEST, FOLLOWED))


def ended(folder: Path) -> int:
    """When the run's manifest was written, in milliseconds since 1970."""
    return int((folder / MANIFEST).stat().st_mtime * 1000)


def spent(manifest: dict[str, Any]) -> int:
    """The wall time of the stage that made a run, in milliseconds."""
    return int(1000 * (manifest.get("wall_time_seconds") or 0.0))
