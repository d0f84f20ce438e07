"""What a run writes while it goes on: deterministic metrics, timings apart from them, and progress with the time
left."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.records import append_jsonl, read_jsonl, require, write_jsonl

log = logging.getLogger(__name__)


METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
ELAPSED = "elapsed"  # seconds since the stage began, those of earlier attempts included


def resume_rows(path: Path, counter: str, keep: int) -> None:
    """Make `path` ready to be appended to: rows after `keep` (from before a crash, past the checkpoint) are dropped."""
    remedy = "restore it, or remove it and the folder checkpoints beside it: the stage then begins anew"
    rows = read_jsonl(path, partial_ok=True, remedy=remedy) if path.exists() else []
    checked = [require(row, {counter: int}, f"{path}:{number}") for number, row in enumerate(rows, start=1)]
    write_jsonl(path, [row for row in checked if row[counter] <= keep])


class MetricsLog:
    """`<run>/metrics.jsonl`, one row per step, those after `keep` dropped.

    Times go to `timings.jsonl`, so that equal runs have equal metrics. `before`: seconds that earlier attempts took up
    to their last row, also one that is dropped.
    """

    def __init__(self, folder: Path, counter: str, keep: int) -> None:
        self.path, self.timings = folder / METRICS, folder / TIMINGS
        self.before = _elapsed(self.timings) if keep else 0.0
        for path in (self.path, self.timings):
            resume_rows(path, counter, keep)
        self.counter = counter
        self.started = time.monotonic() - self.before

    def require(self, wanted: Iterable[int]) -> None:
        """UserError unless the file has exactly the rows with these numbers: a stage that ended short has failed."""
        expected, found = list(wanted), [row[self.counter] for row in read_jsonl(self.path)]
        if found != expected:
            lacking = sorted(set(expected) - set(found)) or "none, but others are there"
            raise UserError(
                f"{self.path}: {len(found)} of {len(expected)} rows, missing {self.counter}: {lacking}; "
                f"remove {self.path.parent / 'checkpoints'} and run the stage again"
            )

    def write(self, row: dict[str, Any], timings: dict[str, float] | None = None) -> None:
        """Append a row; UserError when a number is not finite: training has diverged, and going on wastes the time."""
        if wrong := sorted(name for name, value in row.items() if not math.isfinite(value)):
            raise UserError(
                f"{self.path}: {self.counter} {row[self.counter]}: {', '.join(wrong)} not finite: training has "
                "diverged; lower the learning rate, or look at the last episodes with `hiper inspect`"
            )
        append_jsonl(self.path, row)
        seconds = {name: round(value, 3) for name, value in (timings or {}).items()}
        append_jsonl(
            self.timings,
            {self.counter: row[self.counter], ELAPSED: round(time.monotonic() - self.started, 3), **seconds},
        )


def _elapsed(timings: Path) -> float:
    with suppress(UserError):  # a damaged file is refused by `resume_rows`, with what to do
        rows = read_jsonl(timings, partial_ok=True) if timings.exists() else []
        last = rows[-1].get(ELAPSED) if rows else None
        return float(last) if isinstance(last, int | float) else 0.0
    return 0.0


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
