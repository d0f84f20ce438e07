"""`hiper run`: the jobs that Snakemake would start, as a table of a few lines, and how far they are.

Snakemake decides what there is to do; what it says in a dry run is read here. Whether a job is done is seen by its
benchmark file, which Snakemake writes when a job has succeeded, on this machine or on a cluster.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.views.durations import Duration, Durations, Key

if TYPE_CHECKING:
    from rich.table import Table

# What `hiper run EXPERIMENT STAGE` calls the workflow's rules: as the commands that they run, in their order.
STAGES = {
    "data": "data",
    "demonstrations": "demonstrations",
    "tokenizer": "tokenizer",
    "warmstart": "warm_start",
    "train": "train",
    "evaluate": "evaluate",
    "variance": "gradient_variance",
    "report": "report",
}
ORDER = ("tracking_database", "data", "demonstrations", "tokenizer", "warm_start", "preflight", "train", "evaluate")
ORDER += ("gradient_variance", "report", "track_results")
HOUR, MINUTE = 3600.0, 60.0

_RULE = re.compile(r"\s*(?:local)?rule (\w+):\s*$")
_FIELD = re.compile(r"\s+(benchmark|log|threads): (.+)$")


@dataclass(frozen=True)
class Job:
    """A job that is to be done; paths from the project's root."""

    key: Key
    benchmark: Path
    log: Path | None
    threads: int


def jobs_of(dry_run: str) -> list[Job]:
    """The jobs that a dry run of Snakemake lists, without those that only gather others (`all`)."""
    found: list[Job] = []
    fields: dict[str, str] = {}

    def finish() -> None:
        if "benchmark" in fields:
            benchmark, log = Path(fields["benchmark"]), fields.get("log")
            found.append(Job(Key.of(benchmark), benchmark, Path(log) if log else None, int(fields.get("threads", 1))))
        fields.clear()

    for line in dry_run.splitlines():
        if _RULE.match(line):
            finish()
        elif match := _FIELD.match(line):
            fields[match[1]] = match[2].strip()
    finish()
    return found


def table(jobs: Sequence[Job], known: Durations) -> Table:
    """A row for each stage: jobs, GPUs of one, hours of one and of all, GPU-hours; minutes where all takes less than
    two hours."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    expected = {job: known.of(job.key) for job in jobs}
    total = sum(one.seconds for one in expected.values() if one)
    unit, name = (HOUR, "hours") if total >= 2 * HOUR else (MINUTE, "minutes")
    on_gpu = any(known.gpus(job.key) for job in jobs)
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("stage", no_wrap=True)
    for head in ("jobs", *(["GPUs each"] if on_gpu else []), f"{name} each", name, *(["GPU-hours"] if on_gpu else [])):
        made.add_column(head, justify="right", no_wrap=True)
    made.add_column("from", overflow="fold")
    all_gpu = 0.0
    for rule in sorted({job.key.rule for job in jobs}, key=_place):
        own = [job for job in jobs if job.key.rule == rule]
        times = [one for job in own if (one := expected[job])]
        seconds = [one.seconds for one in times]
        gpus = sorted({known.gpus(job.key) for job in own})
        spent = sum(known.gpus(job.key) * (one.seconds if (one := expected[job]) else 0.0) for job in own) / HOUR
        all_gpu += spent
        row = [rule, f"{len(own):,}"]
        row += ["–".join(map(str, dict.fromkeys((gpus[0], gpus[-1])))) if gpus[-1] else ""] if on_gpu else []
        row += [_span([one / unit for one in seconds]), f"{sum(seconds) / unit:,.1f}" if seconds else "?"]
        row += [f"{spent:,.1f}" if spent else ""] if on_gpu else []
        made.add_row(*row, _sources(times, len(own)))
    least = "≥ " if None in expected.values() else ""  # what is not known comes on top
    last = ["all", f"{len(jobs):,}", *([""] if on_gpu else []), "", f"{least}{total / unit:,.1f}"]
    made.add_row(*last, *([f"{least}{all_gpu:,.1f}"] if on_gpu else []), "", style="bold")
    return made


def _place(rule: str) -> int:
    return ORDER.index(rule) if rule in ORDER else len(ORDER)


def _span(values: Sequence[float]) -> str:
    if not values:
        return "?"
    low, high = (f"{value:,.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def _sources(times: Sequence[Duration], jobs: int) -> str:
    counts = Counter(one.source for one in times)
    counts["not known"] += jobs - len(times)
    told = [(name, count) for name, count in counts.items() if count]
    return told[0][0] if len(told) == 1 else ", ".join(f"{count} {name}" for name, count in told)


def here(jobs: Sequence[Job], known: Durations, cores: int) -> str:
    """How long this machine will take, in words; what is not known is said."""
    expected = [(job, known.of(job.key)) for job in jobs]
    longest: dict[str, float] = {}  # of each stage: they follow each other
    for job, one in expected:
        longest[job.key.rule] = max(longest.get(job.key.rule, 0.0), one.seconds if one else 0.0)
    shared = sum(one.seconds * min(job.threads, cores) for job, one in expected if one) / cores
    busy = max(shared, sum(longest.values()))
    unknown = sorted({job.key.rule for job, one in expected if one is None}, key=_place)
    here = f"{cores} core{'s' * (cores != 1)}"
    if not unknown:
        return f"about {words(busy)} on {here}"
    rest = f"no time is known of {', '.join(unknown)} before one of each has run"
    return f"{words(busy)} on {here} and more: {rest}" if busy >= MINUTE else rest


def words(seconds: float) -> str:
    """A time for people: two units at most."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(seconds / HOUR)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


class Progress:
    """How far a grid is. It begins where it is made; `look` is called again and again."""

    def __init__(self, jobs: Sequence[Job], known: Durations, root: Path) -> None:
        self.jobs, self.root = list(jobs), root
        self.expected = {job: one.seconds if (one := known.of(job.key)) else None for job in jobs}
        self.before = {job: _written(root / job.benchmark) for job in jobs}
        self.logs = {job: _written(root / job.log) if job.log else None for job in jobs}
        self.done: dict[Job, float] = {}  # seconds since the beginning
        self.begun: dict[Job, float] = {}
        self.started = time.monotonic()

    def look(self) -> bool:
        """Look at the files; True where a job has ended since the last look."""
        now, before = time.monotonic() - self.started, len(self.done)
        for job in self.jobs:
            if job in self.done:
                continue
            if _written(self.root / job.benchmark) != self.before[job]:
                self.done[job] = now
            elif job not in self.begun and job.log and _written(self.root / job.log) != self.logs[job]:
                self.begun[job] = now
        return len(self.done) > before

    def unfinished(self) -> list[Job]:
        """Those that have begun and not ended well."""
        return [job for job in self.begun if job not in self.done]

    def line(self) -> str:
        """`12 of 31 jobs (39 %) after 14 min, about 20 min left; now: 2 train`."""
        now = time.monotonic() - self.started
        share = 100 * len(self.done) // max(1, len(self.jobs))
        running = Counter(job.key.rule for job in self.unfinished())
        at_work = ", ".join(f"{running[rule]} {rule}" for rule in sorted(running, key=_place))
        text = f"{len(self.done)} of {len(self.jobs)} jobs ({share} %) after {words(now)}{self._left(now)}"
        return f"{text}; now: {at_work}" if at_work and len(self.done) < len(self.jobs) else text

    def _left(self, now: float) -> str:
        """At the pace until now, jobs weighed by what they should take. A rule that has no time takes it from its jobs
        that have ended here; before there are any nothing is said."""
        if len(self.done) == len(self.jobs):
            return ""
        weights: dict[Job, float] = {}
        for job in self.jobs:
            own = [self.done[one] - self.begun.get(one, 0.0) for one in self.done if one.key.rule == job.key.rule]
            known = self.expected[job]
            if known is None and not own:
                return f", time left is known after the first {job.key.rule}"
            weights[job] = max(sum(own) / len(own) if known is None else known, 0.1)
        worked = sum(weights[job] for job in self.done)
        worked += sum(min(now - since, 0.9 * weights[job]) for job, since in self.begun.items() if job not in self.done)
        return f", about {words(now * (sum(weights.values()) - worked) / worked)} left" if worked > 0 else ""


def _written(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
