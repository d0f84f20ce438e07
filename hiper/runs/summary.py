"""Numbers that describe a batch of episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hiper.algorithms.interface import Floats
from hiper.trajectory import Trajectory


@dataclass(frozen=True)
class ReadOuts:
    """What one value head said and was to say, where its targets count, [read-outs] each: `targets` are what it learns,
    `returns` the Monte-Carlo returns that it stands for."""

    values: Floats
    targets: Floats
    returns: Floats


def segments(trajectory: Trajectory) -> int:
    """Number of subgoal segments: turn 0 opens one, so does every later SWITCH."""
    return sum(t == 0 or turn.switch for t, turn in enumerate(trajectory.turns))


def rollout_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means over episodes (success, task score, turns, failures) and over turns (switch rate after turn 0, valid
    format, shortened prompts, tokens)."""
    played = [t for t in trajectories if t.turns]
    turns = [turn for t in played for turn in t.turns]
    later = [turn.switch for t in played for turn in t.turns[1:]]
    tokens = [len(turn.generation.response_tokens) for turn in turns if turn.generation is not None]
    return {
        "train/success": float(np.mean([t.won for t in trajectories])),
        "train/score": float(np.mean([t.info.get("score", 0.0) for t in trajectories])),
        "train/return": float(np.mean([sum(turn.reward for turn in t.turns) for t in trajectories])),
        "train/turns": float(np.mean([len(t.turns) for t in trajectories])),
        "train/failures": float(np.mean([t.failure is not None for t in trajectories])),
        "train/switch_rate": float(np.mean(later)) if later else 0.0,
        "train/segment_length": len(turns) / max(1, sum(segments(t) for t in played)),
        "train/valid_rate": float(np.mean([turn.valid for turn in turns])) if turns else 0.0,
        "train/shortened_prompts": float(np.mean([turn.shortened for turn in turns])) if turns else 0.0,
        "train/response_tokens": float(np.mean(tokens)) if tokens else 0.0,
    }


def explained_variance(heads: Mapping[str, ReadOuts]) -> dict[str, float]:
    """Per head the explained variance of Monte-Carlo returns, and that of its own targets, which may hold the critic's
    values themselves and then says too much."""
    found = {}
    for name, read in heads.items():
        found[f"critic/explained_variance_{name}"] = explained(read.returns, read.values)
        found[f"critic/target_explained_variance_{name}"] = explained(read.targets, read.values)
    return found


def explained(wanted: Floats, values: Floats) -> float:
    """The share of the variance of `wanted` [n] that `values` [n] explain, below 0 if they are worse than their mean; 0
    where it does not vary."""
    spread = float(wanted.var()) if wanted.size else 0.0
    return 1.0 - float((wanted - values).var()) / spread if spread > 1e-12 else 0.0
