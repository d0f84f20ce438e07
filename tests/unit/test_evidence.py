"""What stands behind tables, packed: every number can be made from it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import TYPES, add_demonstrations, add_run, make_experiment

from hiper.errors import UserError
from hiper.records import read_jsonl, sha256_file, write_json, write_jsonl
from hiper.report import outputs
from hiper.report.study import load_studies
from hiper.report.tables import write_tables
from hiper.runs.evidence import pack, unpack
from hiper.views.archive import find, load

ROOT = Path(__file__).resolve().parent.parent.parent


def evaluated(folder: Path) -> Path:
    """An experiment whose runs are all evaluated, with texts and manifests as stages write them."""
    make_experiment(folder)
    add_run(folder, "ppo_turn", 1, [False, True, True, False])
    add_demonstrations(folder, {TYPES[0]: [3, 4], TYPES[1]: [8]})
    for run in folder.glob("runs/*"):
        file = run / "evaluation.jsonl"
        turn = {"observation": "a room " * 200, "response": "", "switch": True, "subgoal": None, "action": "look"}
        turn |= {"valid": True, "problems": [], "reward": 0.0, "tokens": 1}
        texts = {"decisions": [turn], "details": {"reachable": False}}
        write_jsonl(file, [{**row, **texts} for row in read_jsonl(file)])
        write_json(run / "evaluation.json", {"folder": run.name, "episodes": sha256_file(file), "inputs": {}})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_and_figures_come_back(tmp_path: Path) -> None:
    """Of an unpacked experiment the report makes the same tables and figures, byte for byte, without texts of turns."""
    experiment = evaluated(tmp_path / "results" / "paper")
    (experiment / "benchmarks" / "train").mkdir(parents=True)
    (experiment / "benchmarks" / "train" / "one.tsv").write_text("s\tcpu_time\n7200\t7200\n")
    outputs.write_report(experiment)
    pack(experiment, tmp_path / "paper.tar.xz")
    unpack(tmp_path / "paper.tar.xz", tmp_path / "again" / "paper")
    outputs.write_report(tmp_path / "again" / "paper")
    for part in ("tables", "figures", "benchmarks"):
        assert contents(tmp_path / "again" / "paper" / part) == contents(experiment / part)
    rows = [row for file in (tmp_path / "again").rglob("evaluation.jsonl") for row in read_jsonl(file)]
    assert len(rows) == 24 and not any("decisions" in row for row in rows)
    (lengths,) = (tmp_path / "again").rglob("demonstrations.jsonl")
    assert [(row["turn"], "messages" in row) for row in read_jsonl(lengths)] == [(2, False), (3, False), (7, False)]
    assert "| 8.0 |" in (experiment / "tables" / "horizon.md").read_text()
    page = (tmp_path / "again" / "paper" / "report.html").read_text()
    assert "unpacked evidence" in page and "hiper inspect results" not in page
    episodes = load(next((tmp_path / "again" / "paper").glob("runs/*-ppo_turn-*")))
    with pytest.raises(UserError, match=f"^{episodes[0].name}: packed"):
        find(episodes, episodes[0].name)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    """The file tells of its content alone: neither when nor by whom it was packed."""
    experiment = evaluated(tmp_path / "paper")
    for name in ("one", "two"):
        pack(experiment, tmp_path / f"{name}.tar.xz")
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()


def test_an_altered_outcome_is_refused(tmp_path: Path) -> None:
    """Unpacked outcomes have a checksum of their own in evaluation.json, which the report compares."""
    pack(evaluated(tmp_path / "paper"), tmp_path / "paper.tar.xz")
    unpack(tmp_path / "paper.tar.xz", tmp_path / "again")
    file = next((tmp_path / "again").rglob("evaluation.jsonl"))
    write_jsonl(file, [{**row, "won": True} for row in read_jsonl(file)])
    with pytest.raises(UserError, match=r"evaluation\.jsonl: is not the file that evaluation\.json tells of"):
        outputs.write_report(tmp_path / "again")


def test_what_cannot_be_packed_or_unpacked_is_said(tmp_path: Path) -> None:
    """A run without evaluation, a folder without runs, another ending, a folder that is there already."""
    experiment = make_experiment(tmp_path / "paper")
    archive = tmp_path / "paper.tar.xz"
    with pytest.raises(UserError, match="ppo_turn-seed1: is not evaluated"):
        pack(experiment, archive)
    with pytest.raises(UserError, match="has no runs"):
        pack(experiment / "runs", archive)
    with pytest.raises(UserError, match=r"ending \.tar\.xz"):
        pack(experiment, tmp_path / "paper.zip")
    assert not archive.exists()
    pack(evaluated(tmp_path / "whole"), archive)
    with pytest.raises(UserError, match="exists already"):
        unpack(archive, experiment)


@pytest.mark.parametrize("archive", sorted((ROOT / "docs" / "evidence").glob("*")), ids=lambda path: path.name)
def test_published_tables_can_be_made_again(archive: Path, tmp_path: Path) -> None:
    """What stands behind a published table is at most 2 MB, and its overall rates are those that the documents show."""
    assert archive.stat().st_size <= 2_000_000
    unpack(archive, tmp_path / "again")
    write_tables(load_studies(tmp_path / "again"), tmp_path / "again" / "tables")
    shown = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    lines = (tmp_path / "again" / "tables" / "success.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    place = rows[0].index("All")
    overall = [row[place] for row in rows if row[place][:1].isdigit()]
    assert overall and [rate for rate in overall if f"| {rate} |" not in shown] == []
