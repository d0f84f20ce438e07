"""Hierarchical advantages: vectorised over trajectories, against the per-turn loop that the formulas suggest.

The loop is written as one would write it first: trajectory by trajectory, turn by turn. It is timed on the elements of
the arrays, and on Python lists made of them first, which is several times faster.

Times are processor time of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Result, Side, Target, interleave, require_close
from dev.bench.turn_loop import Levels, loop_credit
from hiper.algorithms import hiper
from hiper.algorithms.hae import hierarchical_advantages
from hiper.algorithms.interface import Credit, Floats, Turns
from hiper.algorithms.shaping import HierarchyPenalties

TARGET_SECONDS = 3e-3
TOLERANCE = 1e-10
OURS, ALONE = "vectorised credit", "its levels alone"
LISTS, ELEMENTS = "per-turn loop on lists", "per-turn loop on array elements"
# The released ALFWorld script's, but for a discount that is not 1, so that it is computed with.
SETTINGS = hiper.HiperSettings(
    name="hiper",
    group_size=1,
    gamma=0.95,
    lam_turn=1.0,
    lam_seg=0.95,
    lam_boundary=0.0,
    switch_advantage="return",
    normalize=True,
    target_lambda=None,
    bootstrap_truncated=True,
    penalties=HierarchyPenalties(
        invalid=0.1,
        keep=-0.3,
        keep_mode="normalized",
        keep_skip_first=False,
        consistency=-0.3,
        consistency_requires_both=True,
        switch_floor=0.0,
        switch_floor_rate=0.0,
    ),
)
REPEATS = 20  # calls of ours per round: one is over too quickly


def make_batch(seed: int, lengths: Floats, columns: int) -> tuple[Turns, dict[str, Floats]]:
    """Trajectories of these lengths with everything random: rewards, decisions, missing blocks, values."""
    random = np.random.default_rng(seed)
    present = np.arange(columns)[None, :] < np.asarray(lengths)[:, None]

    def chance(probability: float) -> np.ndarray:
        return (random.random(present.shape) < probability) & present

    has_subgoal = chance(0.95)
    copied = chance(0.8) & has_subgoal
    copied[:, 1:] &= has_subgoal[:, :-1]
    copied[:, :1] = False
    turns = Turns(
        present=present,
        reward=random.normal(size=present.shape),
        switch=chance(0.3),
        valid=chance(0.95),
        has_switch=chance(0.95),
        has_subgoal=has_subgoal,
        has_action=chance(0.95),
        copied=copied,
        switch_probability=random.random(present.shape),
        terminated=random.random(len(present)) < 0.5,
        won=np.zeros(len(present), dtype=np.bool_),
        group=np.arange(len(present)),
        anchor=np.zeros(present.shape, dtype=np.int64),
        chosen=present[:, :, None],
    )
    return turns, {name: random.normal(size=(len(present), columns + 1)) for name in ("low", "high", "switch")}


def compare(turns: Turns, credit: Credit, levels: Levels, shape: str) -> str:
    """Disagreement unless advantages and targets agree; `credit` must be that of turns with all blocks present."""
    whole = np.where(turns.has_action, 0.0, credit.action)
    pairs = {
        "low": (credit.action, levels.low),
        "high": (np.where(turns.has_subgoal, credit.subgoal - whole, 0.0), levels.high),
        "switch": (credit.switch - whole, levels.switch),
        "target of low": (credit.targets["low"][0], levels.low_return),
        "target of high": (credit.targets["high"][0], levels.high_return),
        "target of switch": (credit.targets["switch"][0], levels.segment_return),
    }
    largest = max(
        require_close(f"{name} advantages", ours * turns.present, _padded(theirs, turns.present.shape), TOLERANCE)
        for name, (ours, theirs) in pairs.items()
    )
    return f"advantages and targets of {shape} agree to {largest:.1e} (allowed {TOLERANCE:.0e})"


def _padded(rows: list[list[float]], shape: tuple[int, ...]) -> Floats:
    out = np.zeros(shape)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


Loop = Callable[[Turns, Mapping[str, Floats], hiper.HiperSettings, bool], Levels]


def _levels_alone(turns: Turns, values: Mapping[str, Floats], settings: hiper.HiperSettings) -> None:
    columns = turns.present.shape[1]
    hierarchical_advantages(
        turns.reward,
        turns.switch,
        turns.present,
        turns.terminated,
        values["low"][:, :columns],
        values["high"][:, :columns],
        gamma=settings.gamma,
        lam_turn=settings.lam_turn,
        lam_seg=settings.lam_seg,
        lam_boundary=settings.lam_boundary,
        bootstrap_low=values["low"][:, columns],
        bootstrap_high=values["high"][:, columns],
        switch_advantage=settings.switch_advantage,
        value_switch=values["switch"][:, :columns],
    )


def measure(
    budget: Budget, *, trajectories: int = 128, turns: int = 50, seed: int = 0, loop: Loop = loop_credit
) -> Result:
    """Check on trajectories of unequal length, then time full ones: the whole `credit`, and the levels alone."""
    settings = SETTINGS
    ragged = np.random.default_rng(seed).integers(1, turns + 1, trajectories)
    checks = []
    for lengths, shape in ((ragged, f"1 to {turns} turns"), (np.full(trajectories, turns), f"{turns} turns")):
        batch, values = make_batch(seed, lengths, turns)
        checks.append(compare(batch, hiper.credit(batch, values, settings), loop(batch, values, settings, True), shape))
    credit = interleave(
        f"credit of {trajectories} × {turns} turns",
        "batch",
        [
            Side(OURS, lambda number: _repeat(lambda: hiper.credit(batch, values, settings), REPEATS)),
            Side(ALONE, lambda number: _repeat(lambda: _levels_alone(batch, values, settings), REPEATS)),
            Side(LISTS, lambda number: _repeat(lambda: loop(batch, values, settings, True))),
            Side(ELEMENTS, lambda number: _repeat(lambda: loop(batch, values, settings, False))),
        ],
        {LISTS: OURS, ELEMENTS: OURS},
        budget,
        time.process_time,
    )
    return Result(
        "hae",
        {"trajectories": trajectories, "turns": turns, "threads": 1, "seed": seed},
        checks,
        [credit],
        [_target(credit, lambda: hiper.credit(batch, values, settings), trajectories * turns == 128 * 50)],
        ["Credit is reward shaping, advantages, their normalisation, and what each block of a turn gets."],
    )


def _target(credit: Comparison, run: Callable[[], object], full_size: bool) -> Target:
    median = credit.spread(OURS).median
    met = median <= TARGET_SECONDS
    bound = "" if met else f"the passes over [trajectory, turn] arrays: {python_shares(run, 50)}"
    size = "" if full_size else " (at another size than the target's 128 × 50)"
    return Target(f"seconds per credit{size}", "at most 0.003 s on one core", median, met, bound)


def _repeat(call: Callable[[], object], times: int = 1) -> float:
    for _ in range(times):
        call()
    return times
