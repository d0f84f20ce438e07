"""Timing two or more ways of doing one thing against each other, and what is kept of it.

The machine may be shared: the sides take turns (A B A B …), so that noise hits all of them, and a ratio is taken within
each round before its median and quartiles are. A ratio is worth nothing when the sides compute different things: every
benchmark compares them first and raises `Disagreement` instead of measuring.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

FEWEST_ROUNDS = 3  # below that quartiles mean nothing


class Disagreement(Exception):
    """The sides did not compute the same thing, so no ratio may be printed; the message says where they differ."""


@dataclass(frozen=True)
class Budget:
    """At most `rounds` rounds, and no further one after `seconds` (but never fewer than three)."""

    rounds: int
    seconds: float


@dataclass(frozen=True)
class Side:
    """One way of doing the thing. `run(round)` does it and returns how many units of work that was; `prepare(round)`
    goes before it, untimed. Rounds count from 0."""

    name: str
    run: Callable[[int], float]
    prepare: Callable[[int], None] = lambda number: None


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(*(float(part) for part in np.percentile(values, (25, 50, 75))))


class Gauge(Protocol):
    """Memory of a device."""

    def start(self) -> None:
        """Forget the highest reading."""

    def peak(self) -> float:
        """Bytes at the highest reading since `start`, beyond those at it."""
        ...


@dataclass(frozen=True)
class Comparison:
    """`seconds` maps a side to its seconds per `unit`, one entry per round; `ratios` names (numerator, denominator).
    One of many alike is `brief`: a single row of a common table. `peaks` maps a side to the bytes of memory that it
    took at most, where they were measured."""

    title: str
    unit: str
    seconds: Mapping[str, Sequence[float]]
    ratios: Mapping[str, tuple[str, str]]
    brief: bool = False
    peaks: Mapping[str, float] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def spread(self, side: str) -> Spread:
        return Spread.of(self.seconds[side])

    def ratio(self, name: str) -> Spread:
        over, under = (np.asarray(self.seconds[side]) for side in self.ratios[name])
        return Spread.of(over / under)


@dataclass(frozen=True)
class Target:
    """A figure wanted by the project. `bound` says what keeps the figure from the target, where it does."""

    what: str
    wanted: str
    figure: float
    met: bool
    bound: str = ""


@dataclass(frozen=True)
class Result:
    """One benchmark: what it was run with, what was found equal first, what was measured, what was wanted."""

    benchmark: str
    settings: Mapping[str, Any]
    checks: Sequence[str]
    comparisons: Sequence[Comparison]
    targets: Sequence[Target] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def met(self) -> bool:
        return all(target.met for target in self.targets)


def interleave(
    title: str,
    unit: str,
    sides: Sequence[Side],
    ratios: Mapping[str, str],
    budget: Budget,
    clock: Callable[[], float] = time.perf_counter,
    gauge: Gauge | None = None,
) -> Comparison:
    """Let the sides take turns; `ratios` maps the slower side (the numerator) to the one it is compared with.

    A ratio has the name of its numerator. The first round only warms up and is not counted. `time.process_time` as the
    clock leaves out waiting for other processes; it suits work on one core only.
    """
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    peaks: dict[str, float] = {}
    gc.collect()
    started = time.perf_counter()
    for number in range(budget.rounds + 1):
        if number > FEWEST_ROUNDS and time.perf_counter() - started > budget.seconds:
            break
        for side in sides:
            spent = _timed(side, number, clock, gauge)
            if number:
                seconds[side.name].append(spent)
            if gauge is not None:
                peaks[side.name] = max(peaks.get(side.name, 0.0), gauge.peak())
    return Comparison(title, unit, seconds, {over: (over, under) for over, under in ratios.items()}, peaks=peaks)


def _timed(side: Side, number: int, clock: Callable[[], float], gauge: Gauge | None) -> float:
    """Seconds per unit of work of one run, the garbage collector kept out of it."""
    side.prepare(number)
    if gauge is not None:
        gauge.start()
    gc.disable()
    try:
        before = clock()
        units = side.run(number)
        return (clock() - before) / units
    finally:
        gc.enable()


def require_close(what: str, ours: Any, theirs: Any, tolerance: float) -> float:
    """Largest absolute difference of two arrays; Disagreement when it is over `tolerance`, or not a number."""
    one, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if one.shape != other.shape:
        raise Disagreement(f"{what}: shapes differ, {one.shape} here and {other.shape} there")
    largest = float(np.abs(one - other).max(initial=0.0))
    if not largest <= tolerance:
        place = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(np.abs(one - other))), one.shape))
        raise Disagreement(
            f"{what}: the sides differ by {largest:.3g} (allowed {tolerance:.0e}); at {place} {one[place]:.9g} here, "
            f"{other[place]:.9g} there"
        )
    return largest
