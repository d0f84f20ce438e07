"""One real Slurm and one copy of the project for all tests on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from local_slurm import LocalSlurm, NotHere

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "workflow"))  # the copies of the project, shared with the tests of the workflow


@pytest.fixture(scope="session")
def slurm() -> Iterator[LocalSlurm]:
    """The cluster, running; a skip with the reason where there can be none."""
    try:
        cluster = LocalSlurm.started()
    except NotHere as reason:
        pytest.skip(f"no cluster of our own: {reason}")
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def project(slurm: LocalSlurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project whose experiment `test` trains long enough to be disturbed, with an experiment for GPUs."""
    from checkout import copy_project, git
    from grid import ITERATIONS, STARTED

    folder = copy_project(tmp_path_factory.mktemp("cluster") / "project")
    path = folder / "configs" / "experiment" / "test.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["training"] |= {"iterations": ITERATIONS, "checkpoint_every": 2}
    settings["warm_start"] |= {"steps": 50}
    settings["variance"]["batches"] = 0  # a job like those of the evaluation
    path.write_text("# @package _global_\n" + yaml.safe_dump(settings))
    settings |= {"defaults": [{"override /engine": "cuda"}], "engine": {"threads": 1}}
    path.with_stem("gpus").write_text("# @package _global_\n" + yaml.safe_dump(settings))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "longer trainings")
    yield folder
    for process in STARTED:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def story(slurm: LocalSlurm, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The grid, begun, orphaned, taken up again and disturbed in four ways, beside an undisturbed local run."""
    from checkout import git, start
    from story import tell

    elsewhere = tmp_path_factory.mktemp("local") / "project"
    git(project, "clone", "-q", str(project), str(elsewhere))
    local = start(elsewhere, "--quiet", "all")
    try:
        told = tell(slurm, project, elsewhere)
        output, errors = local.communicate()
    finally:
        local.kill()
    assert local.returncode == 0, output + errors
    return told
