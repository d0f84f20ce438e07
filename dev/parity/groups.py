"""Comparison of the group baselines with recorded outputs of the originals.

A recording has `tolerance` and `cases`; a case has `algorithm` (grpo, rloo, gigpo, hgpo), `settings`, `inputs`, one
row per turn in any order (group, traj, turn, anchor, reward, episode_return, step_return), and `outputs`, the
advantage of each row. Returns are computed here from the rewards and compared as well.

The originals compute in float32. Where all values of a group are equal, their deviation from the mean is rounding,
which a division by std + 1e-6 makes visible and HGPO counts as a deviation: such an output is an accident. An advantage
therefore agrees if it lies, within the tolerance, between the least and the largest that come out here when rewards
move within the rounding of float32; for all others these are the same number.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dev.parity.hae import MISMATCHES_PER_CASE, ParityResult, agree, compare_cases
from hiper.algorithms.interface import Floats, Turns
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.returns import discounted_returns
from hiper.algorithms.sampling import NO_SAMPLING

ROUNDING = 4 * 2.0**-24  # of a float32, times a few additions
MOVES = 32

# What each original was given, beside the discount of the step returns.
SETTINGS = {
    "grpo": {"norm_std", "cross_steps"},
    "rloo": {"cross_steps"},
    "gigpo": {"omega", "mode"},
    "hgpo": {"history_length", "alpha", "mode", "base_group"},
}


def compare_recording(file: Path) -> ParityResult:
    """Compare every case of a recording; UserError when the file is not such a recording."""
    return compare_cases(file, _compare_case, "group advantages")


def _compare_case(case: dict[str, Any], tolerance: float) -> list[str]:
    """Mismatches of one case as text, at most a few; empty when it agrees."""
    name, rows = f"case {case.get('id')} ({case['algorithm']})", case["inputs"]
    if case["algorithm"] not in SETTINGS:
        return [f"{name}: no such group algorithm; there are {', '.join(SETTINGS)}"]
    if unknown := sorted(case["settings"].keys() - SETTINGS[case["algorithm"]] - {"gamma"}):
        return [f"{name}: settings that this comparison does not know: {', '.join(unknown)}"]
    if len(rows) != len(case["outputs"]):
        return [f"{name}: {len(rows)} inputs but {len(case['outputs'])} outputs"]
    turns, place = _read_rows(rows)
    if len(set(place)) < len(rows):
        return [f"{name}: a turn stands in two rows"]
    settings = _read_settings(case["algorithm"], case["settings"])
    returns = {
        "episode_return": np.where(turns.present, turns.reward.sum(axis=1, keepdims=True), 0.0),
        "step_return": discounted_returns(turns.reward, turns.present, case["settings"]["gamma"]),
    }
    advantages = _advantages(case["algorithm"], turns, settings)
    problems = []
    for at, row, output in zip(place, rows, case["outputs"], strict=True):
        ours = {key: (array[at], row[key]) for key, array in returns.items()}
        nearest = np.clip(output, advantages[:, *at].min(), advantages[:, *at].max())
        if not agree(nearest, output, tolerance):
            ours["advantage"] = (advantages[0, *at], output)
        wrong = [(key, *pair) for key, pair in ours.items() if not agree(*pair, tolerance)]
        problems += [f"{name}: {row['traj']} turn {row['turn']}: {key} {a}, not {b}" for key, a, b in wrong]
    return problems[:MISMATCHES_PER_CASE]


def _advantages(algorithm: str, turns: Turns, settings: Any) -> Floats:
    """Advantages `[1 + MOVES, trajectory, turn]`: of the rewards as they are, then moved within rounding."""
    random, estimate = np.random.default_rng(0), ALGORITHMS[algorithm].credit
    size = ROUNDING * np.abs(turns.reward).max(initial=0.0)
    twins = _with_twins(turns) if settings.group.cross_steps else turns
    moves = [size * random.uniform(-1.0, 1.0, twins.reward.shape) * twins.present for _ in range(MOVES)]
    moved = [estimate(replace(twins, reward=twins.reward + move), {}, settings).other for move in moves]
    return np.stack([estimate(turns, {}, settings).other, *(found[: len(turns.reward)] for found in moved)])


def _with_twins(turns: Turns) -> Turns:
    """With a second trajectory, which shares no observation, for each of several turns that is alone in its group: over
    turns its return is a group of equal values, which moved rewards alone would leave equal."""
    _, index, count = np.unique(turns.group, return_inverse=True, return_counts=True)
    lone = np.flatnonzero((count[index] == 1) & (turns.present.sum(axis=1) > 1))
    both = {item.name: getattr(turns, item.name) for item in fields(Turns)}
    both = {name: np.concatenate([array, array[lone]]) for name, array in both.items()}
    unseen = turns.anchor.max(initial=0) + 1 + np.arange(turns.anchor[lone].size)
    both["anchor"][len(turns.anchor) :] = unseen.reshape(turns.anchor[lone].shape)
    return Turns(**both)


def _read_rows(rows: list[dict[str, Any]]) -> tuple[Turns, list[tuple[int, int]]]:
    """The turns as arrays, and the (trajectory, turn) of each row; turns are counted as they follow each other."""
    names = list(dict.fromkeys((row["group"], row["traj"]) for row in rows))
    numbers: dict[tuple[Any, Any], list[int]] = {name: [] for name in names}
    for row in rows:
        numbers[row["group"], row["traj"]].append(row["turn"])
    order = {name: {turn: t for t, turn in enumerate(sorted(turns))} for name, turns in numbers.items()}
    index = {name: i for i, name in enumerate(names)}
    place = [(index[key], order[key][row["turn"]]) for row in rows for key in [(row["group"], row["traj"])]]
    shape = (len(names), max(map(len, numbers.values()), default=0))
    present, reward, anchor = np.zeros(shape, np.bool_), np.zeros(shape), np.zeros(shape, np.int64)
    anchors: dict[Any, int] = {}
    for row, at in zip(rows, place, strict=True):
        present[at], reward[at] = True, row["reward"]
        anchor[at] = anchors.setdefault(row["anchor"], len(anchors))
    groups = {group: number for number, group in enumerate(dict.fromkeys(group for group, _ in names))}
    turns = Turns(
        present=present,
        reward=reward,
        switch=present,
        valid=present,
        has_switch=present,
        has_subgoal=present,
        has_action=present,
        copied=np.zeros(shape, np.bool_),
        switch_probability=np.zeros(shape),
        terminated=np.ones(len(names), np.bool_),
        won=np.zeros(len(names), np.bool_),
        group=np.array([groups[group] for group, _ in names], dtype=np.int64),
        anchor=anchor,
        chosen=present[:, :, None],
    )
    return turns, place


def _read_settings(algorithm: str, given: dict[str, Any]) -> Any:
    """The originals' arguments, and theirs where a case has none. GiGPO and HGPO always form an episode's group of
    turns, without an argument for it."""
    group = {"cross_steps": True, "lone_return": True}
    group |= {key: value for key, value in given.items() if key not in ("gamma", "norm_std")}
    values = {"name": algorithm, "group_size": 8, "normalize": False, "penalties": {"invalid": 0.0}, "group": group}
    values |= {"planning_weight": 0.0, "sampling": NO_SAMPLING}
    if algorithm != "rloo":
        group["by_rank"] = False
    if algorithm == "grpo":
        group["mode"] = "mean_std_norm" if given.get("norm_std", True) else "mean_norm"
    if algorithm in ("gigpo", "hgpo"):
        values["gamma"] = given["gamma"]
    return ALGORITHMS[algorithm].settings.model_validate(values)
