"""Comparison with recorded outputs of the original advantage computation (schema: top-level `tolerance` and `cases`).

The recordings keep the original's conventions, which this adapter translates: stale bootstraps are handed in where the
real next state's values would stand, and a configuration that gives the high-level advantage to switch tokens becomes
an `Assignment`. Everything else runs through the same functions as training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hiper.algorithms import hiper
from hiper.algorithms.hae import boundaries
from hiper.algorithms.interface import Bools, Floats, Turns
from hiper.algorithms.returns import last_turns
from hiper.algorithms.shaping import HierarchyPenalties
from hiper.errors import UserError

DEFAULT_TOLERANCE = 2e-4  # the recordings are float32
MISMATCHES_PER_CASE = 3


@dataclass(frozen=True)
class ParityResult:
    """`matched` of `total` cases agree in every field of every turn; `mismatches` says where others do not."""

    matched: int
    total: int
    mismatches: list[str]


@dataclass(frozen=True)
class _Case:
    """A recorded case as arrays; `place[i]` is the (trajectory, turn) of row i of the recording."""

    turns: Turns
    values: Mapping[str, Floats]
    settings: hiper.HiperSettings
    assignment: hiper.Assignment
    place: list[tuple[int, int]] = field(repr=False)


def compare_recording(file: Path) -> ParityResult:
    """Compare every case of a recording of HiPER's advantages; UserError when the file is not such a recording."""
    return compare_cases(file, _compare_case, "advantage estimation")


def compare_cases(file: Path, compare: Callable[[dict[str, Any], float], list[str]], kind: str) -> ParityResult:
    """`compare(case, tolerance)` says what is wrong with a case of the recording `file` of a `kind`, if anything."""
    try:
        recording = json.loads(file.read_text(encoding="utf-8-sig"))
        tolerance = float(recording.get("tolerance", DEFAULT_TOLERANCE))
        reports = [compare(case, tolerance) for case in recording["cases"]]
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: not valid JSON ({error})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: not a recording of {kind} ({type(error).__name__}: {error})") from None
    return ParityResult(
        matched=sum(not report for report in reports),
        total=len(reports),
        mismatches=[line for report in reports for line in report],
    )


def _compare_case(case: dict[str, Any], tolerance: float) -> list[str]:
    """Mismatches of one case as text, at most a few; empty when it agrees."""
    name = f"case {case.get('id')} ({case.get('shape')}, {case.get('setting')})"
    if len(case["inputs"]) != len(case["outputs"]):
        return [f"{name}: {len(case['inputs'])} inputs but {len(case['outputs'])} outputs"]
    arrays = _read_case(case)
    if arrays is None:
        return [f"{name}: an episode is done before its last turn"]
    computed = _compute(arrays)
    problems = []
    for row, (place, expected) in enumerate(zip(arrays.place, case["outputs"], strict=True)):
        for key, ours in computed.items():
            if not agree(ours[place], expected[key], tolerance):
                turn = case["inputs"][row]
                problems.append(f"{name}: {turn['traj']} turn {turn['turn']}: {key} {ours[place]}, not {expected[key]}")
    return problems[:MISMATCHES_PER_CASE]


def agree(ours: Any, expected: Any, tolerance: float) -> bool:
    """Equal within the absolute tolerance; NaN (ours: no value there) agrees with null only."""
    recorded = np.array(expected, dtype=np.float64)  # null becomes NaN
    computed = np.asarray(ours, dtype=np.float64)
    if recorded.shape != computed.shape:
        return False
    return bool(np.allclose(computed, recorded, rtol=0.0, atol=tolerance, equal_nan=True))


def _compute(case: _Case) -> dict[str, Any]:
    """The recording's fields as arrays `[trajectory, turn]` (token fields with a further axis of four)."""
    turns, given = case.turns, case.assignment
    levels = hiper.estimate(turns, case.values, case.settings, given)
    credit = hiper.credit(turns, case.values, case.settings, given)
    has_head = case.settings.switch_advantage == "return"
    whole = ~turns.has_action
    switch_trained = turns.has_switch & (
        (has_head and given.switch_to_switch) | (levels.boundary & given.high_to_switch)
    )
    trained = (switch_trained | whole, credit.trained_subgoal | whole, np.ones_like(whole), whole)
    return {
        "adv_low": levels.low,
        "adv_high": levels.high * turns.has_subgoal * given.high_to_subgoal,
        "adv_term": levels.switch,
        "ret_low": levels.low_return,
        "ret_high": np.where(levels.boundary, levels.high_return, np.nan),
        "ret_term": levels.segment_return if has_head else np.full(whole.shape, np.nan),
        "token_adv": np.stack([credit.switch, credit.subgoal, credit.action, credit.other], axis=-1),
        "train_mask": np.stack(trained, axis=-1),
    }


def _read_case(case: dict[str, Any]) -> _Case | None:
    """Arrays of a recorded case, or None if `done` stands before an episode's last turn."""
    rows = case["inputs"]
    names = sorted({row["traj"] for row in rows}, key=str)
    order = {name: sorted(row["turn"] for row in rows if row["traj"] == name) for name in names}
    index = {(name, turn): t for name in names for t, turn in enumerate(order[name])}
    place = [(names.index(row["traj"]), index[row["traj"], row["turn"]]) for row in rows]
    shape = (len(names), max((len(turns) for turns in order.values()), default=0))

    def gather(key: str, kind: type = np.float64) -> Any:
        array: Any = np.zeros(shape, dtype=kind)
        for row, at in zip(rows, place, strict=True):
            array[at] = row.get(key) or 0 if key.startswith("v_") else row[key]
        return array

    present = np.zeros(shape, dtype=np.bool_)
    for at in place:
        present[at] = True
    done, last = gather("done", np.bool_), last_turns(present)
    if (done & ~last).any():
        return None
    has_subgoal, token = gather("has_subgoal", np.bool_), gather("subgoal_token", np.int64)
    copied = np.zeros(shape, dtype=np.bool_)
    copied[:, 1:] = (token[:, 1:] == token[:, :-1]) & has_subgoal[:, 1:] & has_subgoal[:, :-1]
    turns = Turns(
        present=present,
        reward=gather("reward"),
        switch=gather("switch", np.bool_),
        valid=gather("valid", np.bool_),
        has_switch=gather("has_switch", np.bool_),
        has_subgoal=has_subgoal,
        has_action=gather("has_action", np.bool_),
        copied=copied,
        switch_probability=np.zeros(shape),
        terminated=(done & last).any(axis=1),
        won=np.zeros(len(names), dtype=np.bool_),
        group=np.arange(len(names)),
        anchor=np.zeros(shape, dtype=np.int64),
        chosen=present[:, :, None],
    )
    settings, assignment = _read_config(case)
    values = _with_stale_bootstraps(
        turns, {"low": gather("v_low"), "high": gather("v_high"), "switch": gather("v_term")}
    )
    return _Case(turns, values, settings, assignment, place)


def _with_stale_bootstraps(turns: Turns, values: Mapping[str, Floats]) -> dict[str, Floats]:
    """Append the original's bootstraps: V_low of the last turn, V_high at the start of the last segment."""
    boundary = boundaries(turns.switch, turns.present)
    sources: dict[str, Bools] = {"low": turns.present, "high": boundary, "switch": turns.present}
    extended = {}
    for name, array in values.items():
        columns = np.where(sources[name], np.arange(array.shape[1]), 0).max(axis=1)
        wide = np.concatenate([array, np.zeros((len(array), 1))], axis=1)
        wide[np.arange(len(array)), turns.present.sum(axis=1)] = array[np.arange(len(array)), columns]
        extended[name] = wide
    return extended


def _read_config(case: dict[str, Any]) -> tuple[hiper.HiperSettings, hiper.Assignment]:
    """The original's keyword arguments with its defaults for those left out."""
    config = case["config"]
    settings = hiper.HiperSettings(
        name="hiper",
        group_size=1,
        gamma=config["gamma"],
        lam_turn=config["lam_turn"],
        lam_seg=config["lam_seg"],
        lam_boundary=0.0,
        switch_advantage="return" if case["has_term"] else "none",
        normalize=config.get("norm_adv", False),
        target_lambda=None,
        bootstrap_truncated=config.get("bootstrap_truncated", False),
        penalties=HierarchyPenalties(
            invalid=config.get("invalid_action_penalty_coef", 0.0),
            keep=config.get("keep_penalty", 0.0),
            keep_mode=config.get("keep_penalty_mode", "fixed"),
            keep_skip_first=False,
            consistency=config.get("keep_consistency_penalty", 0.0),
            consistency_requires_both=config.get("keep_consistency_requires_both", True),
            switch_floor=0.0,
            switch_floor_rate=0.0,
        ),
    )
    assignment = hiper.Assignment(
        high_to_subgoal=config.get("assign_high_to_subgoal", True),
        high_to_switch=config.get("assign_high_to_switch", False),
        switch_to_switch=config.get("assign_term_to_switch", True),
    )
    return settings, assignment
