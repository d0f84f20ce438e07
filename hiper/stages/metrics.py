"""What a run writes while it goes on: deterministic metrics, timings apart from them, and progress with the time
left."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from hiper.records import append_jsonl, read_jsonl, write_jsonl

log = logging.getLogger(__name__)


class MetricsLog:
    """`<run>/metrics.jsonl`, one row per step. Rows after `keep` (from before a crash, past the checkpoint) are
    dropped.

    Times go to `timings.jsonl`, so that equal runs have equal metrics.
    """

    def __init__(self, folder: Path, counter: str, keep: int) -> None:
        self.path, self.timings = folder / "metrics.jsonl", folder / "timings.jsonl"
        for path in (self.path, self.timings):
            rows = read_jsonl(path, partial_ok=True) if path.exists() else []
            write_jsonl(path, [row for row in rows if row[counter] <= keep])
        self.counter = counter
        self.started = time.monotonic()

    def write(self, row: dict[str, Any], timings: dict[str, float] | None = None) -> None:
        append_jsonl(self.path, row)
        seconds = {name: round(value, 3) for name, value in (timings or {}).items()}
        append_jsonl(
            self.timings,
            {self.counter: row[self.counter], "elapsed": round(time.monotonic() - self.started, 3), **seconds},
        )


class Progress:
    """A log line now and then with the share done and an estimate of the time left."""

    def __init__(self, name: str, total: int, done: int) -> None:
        self.name, self.total, self.first = name, total, done
        self.started = time.monotonic()

    def show(self, done: int, message: str) -> None:
        spent = time.monotonic() - self.started
        left = spent / max(1, done - self.first) * (self.total - done)
        log.info("%s %d/%d  %s  (%s left)", self.name, done, self.total, message, _duration(left))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
