"""When credit by subgoals pays: the report's map of success against how many turns a win takes."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from synthetic_runs import TYPES, add_demonstrations, add_run, episode, make_experiment, metrics

from hiper.errors import UserError
from hiper.records import read_jsonl, write_jsonl, write_text
from hiper.report import figures, horizon
from hiper.report.study import load_studies
from hiper.report.tables import write_tables

PICK, LOOK = TYPES


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Two seeds; four tasks of Pick, four of Look. HiPER wins all of them, PPO those of Pick. Pick takes five turns and
    two segments, Look nine turns and three segments (with seed 1 five)."""
    folder = tmp_path / "results" / "map"
    for algorithm, seed in (("hiper", 0), ("hiper", 1), ("ppo", 0), ("ppo", 1)):
        run = add_run(folder, algorithm, seed, None)
        rows = []
        for number in range(8):
            look = number % 2 == 1
            row = episode(number, algorithm == "hiper" or not look, "unseen")
            rows.append({**row, "turns": 9 if look else 5, "segments": (5 if seed else 3) if look else 2})
        write_jsonl(run / "evaluation.jsonl", rows)
    add_demonstrations(folder, {PICK: [4, 6, 40], LOOK: [9, 11]})
    return folder


def read(experiment: Path, name: str) -> list[dict[str, str]]:
    write_tables(load_studies(experiment), experiment / "tables")
    with (experiment / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_gaps_by_hand(experiment: Path) -> None:
    """Pick: no gap, Look: 100 points; demonstrations beyond the limit of 30 turns are not in the horizon."""
    rows = {(row["algorithm"], row["task_type"]): row for row in read(experiment, "horizon")}
    pick, look = rows["hiper", PICK], rows["hiper", LOOK]
    assert (pick["horizon"], look["horizon"]) == ("5.00", "10.00")
    assert (look["mean"], pick["gap"], look["gap"], look["gap_std"]) == ("1.0000", "0.0000", "1.0000", "0.0000")
    # seeds agree, so over tasks; of four with one more half won, half lost, each: t(5) = 2.570582;
    # Look: centre 4/6, half 2.570582 · √(5/6 − 4/9)/√6 = 0.654441; Pick: centre 0, half 2.570582 · √(1/6)/√6 = 0.428430
    assert (look["gap_low"], look["gap_high"], look["differs"]) == ("0.0122", "1.0000", "True")
    assert (pick["gap_low"], pick["gap_high"], pick["differs"]) == ("-0.4284", "0.4284", "False")
    # change: 1 − √((1 − 0.012226)² + 0.428430²) = −0.076684, 1 + 0.428430
    assert (look["change"], look["change_low"], look["change_high"]) == ("1.0000", "-0.0767", "1.4284")
    assert (pick["change"], look["changes"], rows["ppo", LOOK]["gap"]) == ("", "False", "")
    text = (experiment / "tables" / "horizon.md").read_text(encoding="utf-8")
    assert "| HiPER | Look | 10.0 | 100.0 ± 0.0 |" in text and "| +100.0 * | [+1.2, +100.0] | +100.0 | [−7.7, " in text


def test_switching_by_hand(experiment: Path) -> None:
    """Look: two and four switches in the eight turns after the first, nine turns in three and five segments."""
    rows = {(row["algorithm"], row["task_type"]): row for row in read(experiment, "horizon_switching")}
    pick, look = rows["hiper", PICK], rows["hiper", LOOK]
    assert (pick["switch_rate"], pick["segment_length"], pick["segment_length_low"]) == ("0.2500", "2.5000", "2.5000")
    assert (look["switch_rate"], look["segment_length"]) == ("0.3750", "2.4000")
    # 0.375 ± 12.7062 · 0.1768/√2 would be no share; a segment has a turn
    assert (look["switch_rate_low"], look["switch_rate_high"], look["segment_length_low"]) == (
        "0.0000",
        "1.0000",
        "1.0000",
    )


def test_without_demonstrations_the_winners_tell_the_horizon(experiment: Path) -> None:
    """And the caption says so; damaged demonstrations are named, not passed over."""
    path = experiment / "demonstrations" / "alfworld_small" / "demonstrations.jsonl"
    write_text(path, '{"task": "a", "task_type": "b", "turn": -1}\n')
    with pytest.raises(UserError, match=r"demonstrations\.jsonl:1: `turn` = -1 is no turn"):
        load_studies(experiment)
    path.unlink()
    assert {(row["task_type"], row["horizon"]) for row in read(experiment, "horizon")} == {
        (PICK, "5.00"),
        (LOOK, "9.00"),
    }
    assert "any run won" in (experiment / "tables" / "horizon.md").read_text(encoding="utf-8")


def test_with_one_horizon_there_is_nothing_to_show(tmp_path: Path) -> None:
    """Half a turn between the task types is no horizon."""
    experiment = make_experiment(tmp_path / "results" / "demo")
    add_demonstrations(experiment, {PICK: [8, 9], LOOK: [9]})
    assert read(experiment, "horizon") == []
    assert (experiment / "tables" / "horizon.md").read_text() == f"{horizon.NONE}\n"
    studies = load_studies(experiment)
    hidden = [name for name in figures.FIGURES if not figures.shown(name, studies)]
    assert hidden == ["horizon", "horizon_gap", "horizon_switching", "horizon_episodes", "critic_gaps"]


def test_episodes_to_a_level_by_horizon_by_hand(experiment: Path) -> None:
    """Of each task type the highest level that half of all runs reached twice in a row; PPO's second seed, which does
    not get there on Look, counts with all it played."""
    courses = {"hiper": [0.1, 0.5, 0.5, 0.6], "ppo": [0.1, 0.1, 0.5, 0.5]}
    for run in sorted((experiment / "runs").glob("*")):
        course = courses["hiper" if "hiper" in run.name else "ppo"]
        rows = [metrics(i, 0.5, 0.5) for i in range(1, 9)]
        for row, success in zip(rows[1::2], course, strict=True):
            look = 0.1 if "ppo-seed1" in run.name else success
            row |= {"validation/success": 0.5, f"validation/success/{PICK}": 0.9, f"validation/success/{LOOK}": look}
        write_jsonl(run / "metrics.jsonl", rows)
    write_tables(load_studies(experiment), experiment / "tables")
    lines = (experiment / "tables" / "horizon_episodes.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| HiPER") or line.startswith("| PPO")] == [
        "| HiPER | Pick | 5.0 | 90.0 | 32 ± 0 | 2 of 2 |",
        "| PPO | Pick | 5.0 | 90.0 | 32 ± 0 | 2 of 2 |",
        "| HiPER | Look | 10.0 | 50.0 | 64 ± 0 | 2 of 2 |",
        "| PPO | Look | 10.0 | 50.0 | ≥ 112 | 1 of 2 |",  # 96 and, of all it played, 128
    ]
    (axis,) = figures.make("horizon_episodes", load_studies(experiment)).axes
    points = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in axis.lines]
    assert {(5.0, 32.0, "o"), (10.0, 64.0, "o"), (10.0, 112.0, "^")} < set(points)


def test_critics_and_gaps_by_hand(experiment: Path) -> None:
    """One row per run of HiPER: explained variance 0.1 to 0.4 over training, 8 − 4 of 8 tasks more than PPO."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    config = (run / "config.yaml").read_text()
    write_text(run / "config.yaml", config.replace("name: hiper", "name: hiper, lam_boundary: auto"))
    heads = ("critic/explained_variance_high", "critic/target_explained_variance_high", "critic/lam_boundary")
    rows = [metrics(i, 0.5, 0.5) | dict(zip(heads, (0.1 * i, 0.9, 0.2 * i), strict=True)) for i in range(1, 5)]
    write_jsonl(run / "metrics.jsonl", rows)
    (row,) = read(experiment, "critic_gaps")
    assert (row["algorithm"], row["seed"], row["lam_boundary"], row["trace"]) == ("hiper", "0", "auto", "0.5000")
    assert (row["high"], row["low"], row["gap"], row["tasks"]) == ("0.2500", "", "0.5000", "8")
    assert "| HiPER | 0 | auto, 0.50 | 0.25 | – | – | +50.0 |" in (experiment / "tables" / "critic_gaps.md").read_text()


def test_only_gaps_that_exclude_zero_are_filled(experiment: Path) -> None:
    """HiPER's on Look, not that on Pick; of one seed none, whatever the gap."""
    for filled in (["white", "#0072b2"], ["white", "white"]):
        studies = load_studies(experiment)
        (axis,) = figures.make("horizon_gap", studies).axes
        marks = [line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"]
        assert [axis.get_title(), marks] == ["HiPER", filled]
        for run in (experiment / "runs").glob("*-seed1"):
            shutil.rmtree(run)


def test_episodes_to_a_level_are_shown_of_benchmarks_with_different_horizons(experiment: Path) -> None:
    """HiPER and PPO reach 40 % after four of nine iterations of 16 episodes, with both; a run that does not reach the
    level makes the mean a lower bound."""
    for run in sorted((experiment / "runs").glob("*")):
        write_jsonl(run / "metrics.jsonl", [metrics(i, success=0.1 * i, switch_rate=0.5) for i in range(1, 10)])
    assert not figures.shown("horizon_episodes", load_studies(experiment))
    for run in sorted((experiment / "runs").glob("*")):
        shutil.copytree(run, run.with_name(run.name.replace("small", "long")))
    slow = experiment / "runs" / "alfworld_long-tiny_1.5b-hiper-seed0" / "metrics.jsonl"
    write_jsonl(slow, [row | {"train/success": 0.1} for row in read_jsonl(slow)])
    add_demonstrations(experiment, {PICK: [12], LOOK: [20]}, "alfworld_long")
    found = {(row["benchmark"], row["horizon"]) for row in read(experiment, "efficiency")}
    assert found == {("alfworld_small", "7.50"), ("alfworld_long", "16.00")}
    studies = load_studies(experiment)
    assert figures.shown("horizon_episodes", studies)
    (axis,) = figures.make("horizon_episodes", studies).axes
    points = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in axis.lines[1::2]]
    # PPO, then HiPER, each with both benchmarks: 64 episodes; (144 + 64) / 2 where one seed of two used all it had
    assert points == [(16.0, 64.0, "o"), (7.5, 64.0, "s"), (16.0, 104.0, "^"), (7.5, 64.0, "s")]
