"""A training of several processes on two nodes: srun, torchrun and DeepSpeed, on CPUs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import clone
from grid import call, jobs, rows, until
from local_slurm import NODES, LocalSlurm
from story import WARM_START, Story

from hiper.runs.comparison import compare

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.timeout(5400),
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"),
]

RESULTS = Path("results/nodes")
RUN = RESULTS / "runs" / "alfworld_test-test-hiper-seed0"
CHANGES = {
    "defaults": [{"override /engine": "deepspeed"}],
    "engine": {"device": "cpu", "gpus": 1, "nodes": 2, "threads": 1, "dtype": "float32", "zero_stage": 2},
    "tracking": {"live": False},
}


def prepare(project: Path, source: Path) -> Path:
    """An experiment for two nodes; all that its training needs is taken from `source`, where `test` has run."""
    path = project / "configs" / "experiment" / "test.yaml"
    settings = yaml.safe_load(path.read_text()) | CHANGES
    settings["training"]["iterations"] = 5  # enough to be warned after the first
    path.with_stem("nodes").write_text("# @package _global_\n" + yaml.safe_dump(settings))
    for name in ("demonstrations", "tokenizers", "tracking", f"runs/{WARM_START}"):
        shutil.copytree(source / "results" / "test" / name, project / RESULTS / name)
    tried = project / RESULTS / "preflight" / "test.json"  # the rule is not allowed here: tests/deepspeed has it
    tried.parent.mkdir()
    tried.write_text("{}")
    return project


def torchrun(project: Path) -> subprocess.Popen[bytes]:
    """The same training in two processes of this machine, without a cluster."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    hiper = [sys.executable, "-m", "hiper"]
    subprocess.run(
        [*hiper, "compose", "nodes", RUN.name, "--output", str(RUN / "config.yaml")],
        cwd=project,
        env=environment,
        check=True,
    )
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--no-python",
        "--",
    ]
    train = ["train", str(RUN), "--start", str(RESULTS / "runs" / WARM_START / "model")]
    return subprocess.Popen([*start, *hiper, *train], cwd=project, env=environment, stderr=subprocess.DEVNULL)


def test_a_training_on_two_nodes_is_warned_and_ends_as_without_a_cluster(
    slurm: LocalSlurm, story: Story, tmp_path: Path
) -> None:
    """One step with a task on each node; all processes stop after the same iteration and go on in the next job."""
    project = story.project
    elsewhere = prepare(clone(project, tmp_path / "elsewhere"), project)
    shutil.copytree(project / "data", elsewhere / "data")
    local = torchrun(elsewhere)
    prepare(project, project)
    arguments = ["--config", "experiment=nodes", "--allowed-rules", "train"]
    running = call(slurm, project, str(RUN / "manifest.json"), *arguments)
    until(lambda: rows(project / RUN) > 0, "two nodes", running)
    (job,) = jobs(slurm, "rule_train_wildcards_nodes")
    step = slurm.command("squeue", "--steps", "--noheader", "--format=%i %N", "--jobs", job.number)
    assert f"{job.number}.0 {NODES[0][0]}[{NODES[0][1:]}-{NODES[1][1:]}]" in step
    slurm.command("scancel", "--signal=USR1", job.number)
    assert running.wait() == 0, running.output
    assert [job.state for job in jobs(slurm, "rule_train_wildcards_nodes")] == ["FAILED", "COMPLETED"]
    log = project / RESULTS / "logs" / "train" / "alfworld_test-test-hiper-seed0.log"
    assert "resuming after iteration" in log.read_text()
    assert local.wait() == 0
    assert compare(elsewhere / RUN, project / RUN)[1] == []
