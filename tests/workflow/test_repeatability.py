"""Same commit, configuration and seed, same bytes: in other surroundings, and after `kill -9`."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from checkout import clone, copy_project, run_whole, start
from waiting import wait_for

from hiper.runs.comparison import compare

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

KILLED = ("demonstrations", "warm_start", "train")  # rules that are at work when everything is killed
# What differs between two machines, as far as one machine can play two.
ELSEWHERE = {"PYTHONHASHSEED": "4321", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "COLUMNS": "50", "OMP_NUM_THREADS": "2"}
ELSEWHERE["SLURM_JOB_ID"] = "1"  # as in a job of a cluster: no live records


def without(reference: Path, folder: Path, benchmark: str) -> Path:
    """A copy of a project where everything has run, as if of one benchmark nothing but the games had been made; tables
    and figures are gone."""
    shutil.copytree(reference, folder, symlinks=True)
    results = folder / "results" / "test"
    gone = [*results.rglob(f"{benchmark}*"), *(results / name for name in ("tables", "figures", "report.html"))]
    for path in gone:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return folder


def test_a_killed_workflow_ends_with_the_bytes_of_an_undisturbed_one_elsewhere(reference: Path, tmp_path: Path) -> None:
    """`kill -9` of Snakemake and all its jobs while stage after stage is at work, then the same command: tables,
    metrics, models and episodes are those of a run with another hash seed, clock, locale, thread count and folder.
    (Of one benchmark; the demos, `pytest -m slow`, have both.)"""
    folder = without(reference, tmp_path / "a longer name", "alfworld_test")
    random = np.random.default_rng(int(os.environ.get("HIPER_FAULT_SEED", "0")))
    for rule in KILLED:
        process = start(folder, **ELSEWHERE)
        begun, ended = (folder / "results/test/logs" / rule).glob, process.poll
        wait_for(lambda begun=begun, ended=ended: any(begun("alfworld_test*")) or ended() is not None)
        time.sleep(float(random.uniform(0, 4)))
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    again = run_whole(folder, **ELSEWHERE)
    total, differences = compare(reference / "results" / "test", again)
    assert differences == [] and total > 40


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_demos_from_scratch_are_equal(tmp_path: Path) -> None:
    """The demo itself, twice, the second time one job after the other."""
    project = copy_project(tmp_path / "first")
    first = run_whole(project, experiment="demo")
    second = run_whole(clone(project, tmp_path / "second"), "--cores", "1", experiment="demo", **ELSEWHERE)
    assert compare(first, second)[1] == []
