"""`hiper diff`: settings, paired success and curves of two folders of results."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import add_run

from hiper.cli.main import main
from hiper.records import read_json, write_json


def settings(**algorithm: float) -> dict[str, object]:
    return {"benchmark": {"name": "alfworld"}, "algorithm": {"name": "hiper", **algorithm}}


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """B won two tasks more, with another gamma, at another commit, and has an algorithm more."""
    found = [tmp_path / "results" / name for name in ("first", "second")]
    for folder, won, gamma in zip(found, (4, 6), (0.9, 0.95), strict=True):
        run = add_run(folder, "hiper", 0, [number < won for number in range(8)])
        made = {"settings": settings(gamma=gamma), "git": {"commit": f"{folder.name}-commit"}, "data": {"dvc": "1e"}}
        write_json(run / "manifest.json", made)
    add_run(found[1], "ppo_turn", 0, [True] * 8)
    monkeypatch.chdir(tmp_path)
    return found


def test_two_experiments_are_compared_by_name(sides: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """50 and 75 % on the same eight tasks: 25 points, with the interval of tasks that one seed has; one figure. A seed
    of one side alone is in neither rate nor curve."""
    picture = sides[0].parent / "diff-first-second.png"
    assert main(["diff", "first", "second"]) == 0
    paired = picture.read_bytes()
    made = read_json(next(sides[0].glob("runs/*/manifest.json")))
    write_json(add_run(sides[0], "hiper", 1, [False] * 8, iterations=2) / "manifest.json", made)
    capsys.readouterr()
    assert main(["diff", "first", "second"]) == 0
    shown = capsys.readouterr().out
    assert "algorithm.gamma: 0.9 → 0.95" in shown and "commit first-c" in shown and "commit second-" in shown
    assert "Only in B: alfworld_small tiny_1.5b ppo_turn." in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("alfworld_small tiny_1.5b hiper"))
    # Agresti and Min: centre 8/10 · 0.25 = 0.2; t(9) = 2.262, half = 2.262 · √((2 + 1)/10 − 0.2²)/√10 = 0.365
    assert "50.0  75.0  +25.0  [−16.5, +56.5] tasks only" in line
    assert picture.read_bytes() == paired and len(paired) > 1000


def test_a_setting_that_differs_for_some_names_them(sides: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides have two algorithms; one of them has another gamma."""
    add_run(sides[0], "ppo_turn", 0, [True] * 8)
    assert main(["diff", "first", "second"]) == 0
    assert "algorithm.gamma: 0.9 → 0.95   (alfworld_small tiny_1.5b hiper)" in capsys.readouterr().out


def test_what_a_warm_start_does_not_read_is_no_difference(
    sides: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings of the algorithm that it was composed with."""
    for folder, gamma in zip(sides, (0.9, 0.95), strict=True):
        run = add_run(folder, "warmstart", 0, [True] * 8)
        write_json(run / "manifest.json", {"settings": settings(gamma=gamma), "data": {"dvc": "1e"}})
    assert main(["diff", "first", "second"]) == 0
    assert "algorithm.gamma: 0.9 → 0.95   (alfworld_small tiny_1.5b hiper)" in capsys.readouterr().out


def test_what_was_played_on_other_data_is_not_paired(sides: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The same names may stand for other games; the rates are shown, no difference."""
    run = sides[1] / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    write_json(run / "manifest.json", {"settings": settings(gamma=0.9), "data": {"dvc": "2e"}})
    (sides[1] / "runs" / "alfworld_small-tiny_1.5b-ppo_turn-seed0" / "evaluation.jsonl").unlink()
    assert main(["diff", *map(str, sides), "--picture", "here.png"]) == 0
    shown = capsys.readouterr().out
    assert "Settings: no difference." in shown and "other data, so not paired" in shown and "+25.0" not in shown


def test_a_folder_without_results_is_refused(sides: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with what it lacks."""
    assert main(["diff", "first", "results"]) == 2
    assert "results: holds no experiment's results (a folder runs)" in capsys.readouterr().err
