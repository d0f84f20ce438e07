"""Same commit, configuration and seed, same bytes: in other surroundings, and after `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from checkout import copy_project, git, run_whole, start

from hiper.runs.comparison import compare

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

KILLS = 3
# What differs between two machines, as far as one machine can play two.
ELSEWHERE = {"PYTHONHASHSEED": "4321", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "COLUMNS": "50", "OMP_NUM_THREADS": "2"}


def clone(project: Path, folder: Path) -> Path:
    """The same commit in another folder, without data and results."""
    git(project, "clone", "-q", str(project), str(folder))
    return folder


def test_two_runs_from_scratch_are_equal(finished: Path, tmp_path: Path) -> None:
    """Tables, figures, metrics, models, episodes: with another hash seed, clock, locale, thread count and schedule."""
    again = run_whole(clone(finished, tmp_path / "a longer name"), "--cores", "1", **ELSEWHERE)
    total, differences = compare(finished / "results" / "test", again)
    assert differences == [] and total > 40


def test_a_killed_workflow_goes_on_with_the_same_command(finished: Path, tmp_path: Path) -> None:
    """`kill -9` of Snakemake and all its jobs, several times; the command that follows ends with the same bytes."""
    folder = clone(finished, tmp_path / "killed")
    random = np.random.default_rng(int(os.environ.get("HIPER_FAULT_SEED", "0")))
    for _ in range(KILLS):
        process = start(folder)
        try:
            process.communicate(timeout=float(random.uniform(4, 30)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    again = run_whole(folder)
    assert compare(finished / "results" / "test", again)[1] == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_demos_from_scratch_are_equal(tmp_path: Path) -> None:
    """The demo itself, twice, the second time one job after the other."""
    project = copy_project(tmp_path / "first")
    first = run_whole(project, experiment="demo")
    second = run_whole(clone(project, tmp_path / "second"), "--cores", "1", experiment="demo", **ELSEWHERE)
    assert compare(first, second)[1] == []
