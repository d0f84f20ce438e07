"""HiPER's credit as a loop over trajectories and turns: what one writes first from the formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hiper.algorithms.interface import Floats, Turns
from hiper.algorithms.normalize import EPSILON


@dataclass(frozen=True)
class Penalties:
    """The released ALFWorld script's."""

    invalid: float = 0.1
    keep: float = -0.3
    keep_mode: str = "normalized"
    keep_skip_first: bool = False
    consistency: float = -0.3
    consistency_requires_both: bool = True
    switch_floor: float = 0.0
    switch_floor_rate: float = 0.0


@dataclass(frozen=True)
class Settings:
    """The released ALFWorld script's, but for a discount that is not 1, so that it is computed with."""

    gamma: float = 0.95
    lam_turn: float = 1.0
    lam_seg: float = 0.95
    lam_boundary: float = 0.0
    target_lambda: float | None = None
    switch_advantage: str = "return"
    normalize: bool = True
    bootstrap_truncated: bool = True
    penalties: Penalties = field(default_factory=Penalties)


@dataclass(frozen=True)
class Levels:
    """Per turn `[trajectory][turn]`: the three advantages and the targets of the three heads (high at boundaries)."""

    low: list[list[float]]
    high: list[list[float]]
    switch: list[list[float]]
    low_return: list[list[float]]
    high_return: list[list[float]]
    segment_return: list[list[float]]


def loop_credit(turns: Turns, values: Mapping[str, Floats], settings: Settings, as_lists: bool = True) -> Levels:
    """Shaped rewards, three levels and their normalisation, one turn after the other."""
    levels = Levels([], [], [], [], [], [])
    low, high, head = (values[name].tolist() if as_lists else values[name] for name in ("low", "high", "switch"))
    lists = {name: getattr(turns, name).tolist() if as_lists else getattr(turns, name) for name in _READ}
    for i, length in enumerate(turns.present.sum(axis=1).tolist()):
        row = {name: lists[name][i] for name in _READ}
        reward = [_shaped(row, t, length, settings.penalties) for t in range(length)]
        starts = [t for t in range(length) if t == 0 or row["switch"][t]]
        terminated = bool(turns.terminated[i])
        _loop_trajectory(levels, reward, starts, terminated, low[i], high[i], head[i], settings)
    if settings.normalize:
        _normalise(levels.low, [[True] * len(row) for row in levels.low])
        boundary = [[t == 0 or lists["switch"][i][t] for t in range(len(row))] for i, row in enumerate(levels.low)]
        spans = lists["has_subgoal"]
        given = [[b and s for b, s in zip(*pair, strict=False)] for pair in zip(boundary, spans, strict=True)]
        _normalise(levels.high, given)
        _normalise(levels.switch, lists["has_switch"])
    return levels


_READ = ("reward", "switch", "valid", "has_switch", "has_subgoal", "copied")


def _shaped(row: Mapping[str, Any], t: int, length: int, penalties: Penalties) -> float:
    reward = row["reward"][t]
    if not row["switch"][t]:
        if length > 1:
            reward += penalties.keep / length
        if t > 0 and row["has_subgoal"][t] and row["has_subgoal"][t - 1] and not row["copied"][t]:
            reward += penalties.consistency
    if not row["valid"][t]:
        reward -= penalties.invalid
    return float(reward)


def _loop_trajectory(
    levels: Levels,
    reward: list[float],
    starts: list[int],
    terminated: bool,
    low: list[float],
    high: list[float],
    head: list[float],
    settings: Settings,
) -> None:
    """One trajectory: segments from the last to the first, the turns of each from the last to the first."""
    length, gamma = len(reward), settings.gamma
    bootstraps = not terminated and settings.bootstrap_truncated
    advantage_low, advantage_high = [0.0] * length, [0.0] * length
    returns, high_returns = [0.0] * length, [0.0] * length
    carried_high = 0.0
    for start, stop in reversed(list(zip(starts, [*starts[1:], length], strict=True))):
        final = stop == length
        after_high = high[stop] if not final or bootstraps else 0.0
        after_low = high[stop] if not final else (low[stop] if bootstraps else 0.0)
        carried, gathered = 0.0, after_high
        for t in range(stop - 1, start - 1, -1):
            following = after_low if t == stop - 1 else low[t + 1]
            carried = reward[t] + gamma * following - low[t] + gamma * settings.lam_turn * carried
            gathered = reward[t] + gamma * gathered
            advantage_low[t], returns[t] = carried, gathered
        discount = gamma ** (stop - start)
        carried_high = gathered - high[start] + (0.0 if final else discount * settings.lam_seg * carried_high)
        advantage_high[start], high_returns[start] = carried_high, carried_high + high[start]
    levels.low.append(advantage_low)
    levels.high.append(advantage_high)
    levels.switch.append([returns[t] - head[t] for t in range(length)])
    levels.low_return.append([advantage_low[t] + low[t] for t in range(length)])
    levels.high_return.append(high_returns)
    levels.segment_return.append(returns)


def _normalise(rows: list[list[float]], masks: list[list[bool]]) -> None:
    chosen = [value for row, mask in zip(rows, masks, strict=True) for value, m in zip(row, mask, strict=False) if m]
    mean = sum(chosen) / len(chosen)
    deviation = (sum((value - mean) ** 2 for value in chosen) / len(chosen)) ** 0.5
    for row, mask in zip(rows, masks, strict=True):
        for t in range(len(row)):
            row[t] = (row[t] - mean) / (deviation + EPSILON) if mask[t] else 0.0
