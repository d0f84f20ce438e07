"""The estimators against recorded outputs of the original code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dev.parity.hae import compare_recording
from hiper.errors import UserError

# Two turns, SWITCH then KEEP, done; γ = 0.5, λ_turn = 1, λ_seg = 1; everything below worked by hand:
# R1 = 4, R0 = 2 + 0.5 · 4 = 4; A_low = R − V_low; A_high = 4 − 1 = 3; A_switch = R − V_switch.
HAND_MADE: dict[str, Any] = {
    "tolerance": 1e-6,
    "cases": [
        {
            "id": 0,
            "shape": "hand",
            "setting": "made",
            "has_term": True,
            "config": {"gamma": 0.5, "lam_turn": 1.0, "lam_seg": 1.0},
            "inputs": [
                {
                    "traj": "a", "turn": 1, "reward": 4.0, "done": True, "switch": False, "valid": True,
                    "subgoal_token": 1, "has_switch": True, "has_subgoal": True, "has_action": True,
                    "v_low": 3.0, "v_high": 9.0, "v_term": 1.0,
                },
                {
                    "traj": "a", "turn": 0, "reward": 2.0, "done": False, "switch": True, "valid": True,
                    "subgoal_token": 1, "has_switch": True, "has_subgoal": True, "has_action": False,
                    "v_low": 2.0, "v_high": 1.0, "v_term": 0.5,
                },
            ],
            "outputs": [
                {
                    "adv_low": 1.0, "adv_high": 0.0, "adv_term": 3.0, "ret_low": 4.0, "ret_high": None, "ret_term": 4.0,
                    "token_adv": [3.0, 0.0, 1.0, 0.0], "train_mask": [1, 0, 1, 0],
                },
                {
                    "adv_low": 2.0, "adv_high": 3.0, "adv_term": 3.5, "ret_low": 4.0, "ret_high": 4.0, "ret_term": 4.0,
                    "token_adv": [5.5, 5.0, 2.0, 2.0], "train_mask": [1, 1, 1, 1],
                },
            ],
        }
    ],
}  # fmt: skip


def written(folder: Path, recording: Any) -> Path:
    file = folder / "recording.json"
    file.write_text(json.dumps(recording), encoding="utf-8")
    return file


def test_every_recorded_case_matches(shared_data: Path) -> None:
    """All fields of all turns of all cases, within the file's tolerance."""
    result = compare_recording(shared_data / "golden" / "hae.json")
    assert result.mismatches == []
    assert result.matched == result.total == 20


def test_a_hand_made_recording_matches(tmp_path: Path) -> None:
    """The adapter reads shuffled rows and the fallback for a missing action block."""
    result = compare_recording(written(tmp_path, HAND_MADE))
    assert (result.matched, result.total, result.mismatches) == (1, 1, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("adv_low", 2.1), ("ret_high", None), ("ret_term", 3.0), ("token_adv", [5.5, 5.0, 2.0, 0.0]), ("train_mask", [1])],
)
def test_any_changed_field_is_noticed(tmp_path: Path, field: str, value: Any) -> None:
    """Numbers, nulls, token fields and shapes; the report names trajectory, turn and field."""
    changed = json.loads(json.dumps(HAND_MADE))
    changed["cases"][0]["outputs"][1][field] = value
    result = compare_recording(written(tmp_path, changed))
    assert (result.matched, result.total) == (0, 1)
    assert f"a turn 0: {field}" in result.mismatches[0]


def test_high_level_credit_can_go_to_switch_tokens(tmp_path: Path) -> None:
    """`assign_high_to_switch` adds A_high to the switch tokens of boundary turns; without the switch level's share."""
    changed = json.loads(json.dumps(HAND_MADE))
    case = changed["cases"][0]
    case["config"] |= {"assign_high_to_switch": True, "assign_term_to_switch": False}
    # turn 1 is no boundary: its switch tokens get nothing and are not trained; turn 0: A_high 3 + A_low 2
    case["outputs"][0] |= {"adv_term": 0.0, "token_adv": [0.0, 0.0, 1.0, 0.0], "train_mask": [0, 0, 1, 0]}
    case["outputs"][1] |= {"adv_term": 0.0, "token_adv": [5.0, 5.0, 2.0, 2.0]}
    assert compare_recording(written(tmp_path, changed)).mismatches == []


@pytest.mark.parametrize("recording", [[], {"cases": [{"id": 1}]}, {"cases": None}, {"steps": []}])
def test_other_files_are_refused_by_name(tmp_path: Path, recording: Any) -> None:
    """A wrong file is the user's mistake, told without a traceback."""
    with pytest.raises(UserError, match="not a recording of advantage estimation"):
        compare_recording(written(tmp_path, recording))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As above."""
    with pytest.raises(UserError, match=r"nowhere\.json: no such file"):
        compare_recording(tmp_path / "nowhere.json")
