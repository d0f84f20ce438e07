"""The group baselines against recorded outputs of the originals."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dev.parity.__main__ import main
from dev.parity.groups import compare_recording
from hiper.errors import UserError


def row(traj: str, turn: int, anchor: str, reward: float, episode: float, step: float) -> dict[str, Any]:
    return {"group": "g", "traj": traj, "turn": turn, "anchor": anchor, "reward": reward,
            "episode_return": episode, "step_return": step}  # fmt: skip


# γ = 0.5: two episodes of one task, returns 4 and 1, rows in no order; turns numbered with a gap. Over turns the mean
# is (4 + 4 + 1) / 3 = 3; at the common observation it is (2 + 1) / 2.
HAND_MADE: dict[str, Any] = {
    "tolerance": 1e-6,
    "cases": [
        {
            "id": 0,
            "algorithm": "gigpo",
            "settings": {"omega": 2.0, "mode": "mean_norm", "gamma": 0.5},
            "inputs": [row("a", 3, "room", 4, 4, 4), row("b", 0, "hall", 1, 1, 1), row("a", 0, "hall", 0, 4, 2)],
            "outputs": [1.0, -2.0 - 2 * 0.5, 1.0 + 2 * 0.5],
        }
    ],
}


def written(folder: Path, recording: Any, name: str = "recording.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(recording), encoding="utf-8")
    return file


def changed(**changes: Any) -> dict[str, Any]:
    recording = copy.deepcopy(HAND_MADE)
    recording["cases"][0] |= changes
    return recording


def test_every_recorded_case_matches(shared_data: Path) -> None:
    """All turns of all cases, within the file's tolerance."""
    result = compare_recording(shared_data / "golden" / "group_advantages.json")
    assert result.mismatches == []
    assert result.matched == result.total == 20


def test_a_hand_made_recording_matches(tmp_path: Path) -> None:
    """The adapter reads shuffled rows and the original's settings."""
    result = compare_recording(written(tmp_path, HAND_MADE))
    assert (result.matched, result.total, result.mismatches) == (1, 1, [])


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"outputs": [1.0, -3.0, 2.1]}, "a turn 0: advantage 2.0, not 2.1"),
        ({"outputs": [1.0, -3.0]}, "3 inputs but 2 outputs"),
        ({"algorithm": "ppo"}, "no such group algorithm; there are grpo, rloo, gigpo, hgpo"),
        ({"settings": {**HAND_MADE["cases"][0]["settings"], "similarity": 0.9}}, "does not know: similarity"),
        ({"settings": {"omega": 1.0, "mode": "mean_norm", "gamma": 0.5}}, "b turn 0: advantage -2.5, not -3.0"),
        ({"settings": {"omega": 2.0, "mode": "mean_norm", "gamma": 1.0}}, "a turn 0: step_return 4.0, not 2"),
        ({"inputs": [HAND_MADE["cases"][0]["inputs"][0]] * 3}, "a turn stands in two rows"),
    ],
)
def test_any_difference_is_noticed(tmp_path: Path, change: dict[str, Any], wanted: str) -> None:
    """Numbers, settings, returns and rows; the report names the turn."""
    result = compare_recording(written(tmp_path, changed(**change)))
    assert (result.matched, result.total) == (0, 1)
    assert any(wanted in line for line in result.mismatches), result.mismatches


# Three episodes of one turn and of return 9.9, and two of another task. float32 may have the mean of 9.9, 9.9, 9.9
# wrong in the last place; that deviation of a millionth, divided by a standard deviation of 0 + 1e-6, is not small.
EQUAL = {
    "algorithm": "grpo",
    "settings": {"norm_std": True, "cross_steps": True, "gamma": 1.0},
    "inputs": [
        *(row(name, 0, "hall", 9.9, 9.9, 9.9) for name in "abc"),
        *({**row(name, 0, "hall", value, value, value), "group": "other"} for name, value in (("d", 3.0), ("e", 1.0))),
    ],
}


def test_only_what_float32_left_to_chance_may_differ(tmp_path: Path) -> None:
    """Equal returns may have any deviation that rounding explains; where the values of a group differ, a number that is
    off by more than the tolerance is a mismatch."""
    half = 0.5**0.5  # two values are half a difference from their mean, by a standard deviation of 1/√2 of it
    recording = changed(**EQUAL, outputs=[-0.3, -0.3, -0.3, half, -half]) | {"tolerance": 1e-5}
    assert compare_recording(written(tmp_path, recording)).mismatches == []
    for outputs in ([-3.0, -0.3, -0.3, half, -half], [-0.3, -0.3, -0.3, half + 1e-4, -half]):
        recording["cases"][0]["outputs"] = outputs
        assert len(compare_recording(written(tmp_path, recording)).mismatches) == 1


@pytest.mark.parametrize("recording", [[], {"cases": [{"id": 1}]}, changed(settings={})])
def test_other_files_are_refused_by_name(tmp_path: Path, recording: Any) -> None:
    """A wrong file is the user's mistake, told without a traceback."""
    with pytest.raises(UserError, match=r"recording\.json: not a recording of group advantages"):
        compare_recording(written(tmp_path, recording))


def test_the_command_adds_several_files_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One count over all of them; exit status 1 when a case of any differs."""
    good = str(written(tmp_path, HAND_MADE, "good.json"))
    bad = str(written(tmp_path, changed(outputs=[0.0, 0.0, 0.0]), "bad.json"))
    assert main(["groups", good, good]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2/2 match"
    assert main(["groups", good, bad]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1/2 match"
