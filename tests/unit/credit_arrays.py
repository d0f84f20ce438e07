"""Builders of small batches for the tests of the estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hiper.algorithms.interface import Floats, Turns
from hiper.algorithms.registry import ALGORITHMS
from hiper.config.algorithm import without_others
from hiper.layers import layers

ROOT = Path(__file__).resolve().parents[2]

# Plain settings: no discount, no trace that fades, no penalty, no division.
PLAIN: dict[str, Any] = {
    "group_size": 2,
    "gamma": 1.0,
    "lam_turn": 1.0,
    "lam_seg": 0.95,
    "lam_boundary": 0.0,
    "switch_advantage": "return",
    "normalize": False,
    "bootstrap_truncated": True,
    "target_lambda": None,
    "token_weight": 1.0,
    "planning_weight": 0.0,
    "penalties": {
        "invalid": 0.0,
        "keep": 0.0,
        "keep_mode": "fixed",
        "keep_skip_first": False,
        "consistency": 0.0,
        "consistency_requires_both": True,
        "switch_floor": 0.0,
        "switch_floor_rate": 0.0,
    },
    "group": {
        "mode": "mean_norm",
        "by_rank": False,
        "cross_steps": False,
        "lone_return": False,
        "omega": 1.0,
        "history_length": 2,
        "alpha": 1.0,
        "base_group": False,
        "potential_floor": 0.01,
    },
}


def settings_of(algorithm: str, **given: Any) -> Any:
    """The algorithm's own settings: those given, else PLAIN ones, else the defaults of its file, of each those that it
    has. Sections are given as mappings; a setting that no algorithm has is an error."""
    defaults: dict[str, Any] = {}
    for layer in layers("algorithm", algorithm, ROOT):
        defaults |= layer.values
    sections = {key: {**defaults.get(key, {}), **PLAIN[key], **given.pop(key, {})} for key in ("penalties", "group")}
    values = without_others({**defaults, **PLAIN, **given, **sections, "name": algorithm})
    return ALGORITHMS[algorithm].settings.model_validate(values)


def prefix(lengths: Sequence[int], width: int | None = None) -> Any:
    """`present` for trajectories of these lengths."""
    columns = np.arange(width if width is not None else max(lengths))
    return columns[None, :] < np.array(lengths)[:, None]


def make_turns(lengths: Sequence[int], **given: Any) -> Turns:
    """A batch in which every turn is a valid SWITCH with all blocks and reward 0, except for the arrays given."""
    present = prefix(lengths)
    rows = len(lengths)
    arrays: dict[str, Any] = {
        "present": present,
        "reward": np.zeros(present.shape),
        "switch": present.copy(),
        "valid": present.copy(),
        "has_switch": present.copy(),
        "has_subgoal": present.copy(),
        "has_action": present.copy(),
        "copied": np.zeros_like(present),
        "switch_probability": np.full(present.shape, 0.5),
        "terminated": np.ones(rows, dtype=bool),
        "won": np.ones(rows, dtype=bool),
        "group": np.arange(rows),
        "anchor": np.zeros(present.shape, dtype=np.int64),
        "chosen": present[:, :, None],
    }
    arrays.update({name: np.asarray(value) for name, value in given.items()})
    return Turns(**arrays)


def random_turns(rng: np.random.Generator, lengths: Sequence[int]) -> Turns:
    """A batch with everything random: rewards, decisions, missing blocks, endings."""
    present = prefix(lengths)

    def chance(probability: float) -> Any:
        return (rng.random(present.shape) < probability) & present

    has_subgoal = chance(0.8)
    copied = chance(0.5) & has_subgoal
    copied[:, :1] = False
    copied[:, 1:] &= has_subgoal[:, :-1]
    return make_turns(
        lengths,
        reward=rng.normal(size=present.shape),
        switch=chance(0.4),
        valid=chance(0.8),
        has_switch=chance(0.8),
        has_subgoal=has_subgoal,
        has_action=chance(0.8),
        copied=copied,
        switch_probability=rng.random(present.shape),
        terminated=rng.random(len(lengths)) < 0.5,
        won=rng.random(len(lengths)) < 0.5,
    )


def random_values(rng: np.random.Generator, turns: Turns, names: Sequence[str]) -> dict[str, Floats]:
    """Values `[trajectory, turn + 1]`, random everywhere (padding included)."""
    rows, columns = turns.present.shape
    return {name: rng.normal(size=(rows, columns + 1)) for name in names}


def widen(array: Any, fill: Any) -> Any:
    """Two more columns."""
    added = np.full((len(array), 2, *array.shape[2:]), fill, dtype=array.dtype)
    return np.concatenate([array, added], axis=1)


def permuted_and_padded(turns: Turns, order: Any) -> Turns:
    """Rows in another order, and padding columns that hold misleading entries."""
    arrays = {}
    for item in fields(turns):
        array = getattr(turns, item.name)
        if array.ndim > 1:
            plain = item.name in ("present", "chosen")
            array = widen(array, array.dtype.type(np.nan) if array.dtype == np.float64 else not plain)
        arrays[item.name] = array[order]
    return Turns(**arrays)
