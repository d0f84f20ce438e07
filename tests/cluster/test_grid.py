"""The demo's kind of grid through a real Slurm, with everything that happens to jobs on a cluster; all results equal
those of a local run, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout import ITERATIONS
from grid import jobs, restarts
from local_slurm import NODES, LocalSlurm
from story import DRAINED, KILLED, REQUEUED, WARM_START, WARNED, Story, about

from hiper.runs.comparison import compare

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(5400)]


def test_the_results_are_those_of_a_local_run(story: Story, reference: Path) -> None:
    """Killed, warned, requeued, drained, orphaned, retried: no byte differs, no file is missing."""
    for status, output in story.ends:
        assert status == 0, output
    total, differences = compare(reference / "results/test", story.project / "results/test")
    assert differences == [] and total > 40


def test_a_second_snakemake_is_refused_while_the_first_runs(story: Story) -> None:
    """By Snakemake's own lock."""
    assert story.locked.process.returncode != 0 and "cannot be locked" in story.locked.output


def test_after_a_killed_snakemake_its_jobs_are_not_started_again_while_they_run(story: Story) -> None:
    """The message names the run, the process and what to do; the running job's log is as it was, or longer."""
    assert story.refused.process.returncode != 0
    assert re.search(rf"{WARM_START}: process \d+ on \S+ .*hiper warmstart.* still at work", story.refused.output)
    assert "Traceback" not in story.refused.output
    assert story.log_before and story.log_after.startswith(story.log_before)


def test_the_orphaned_jobs_were_not_lost(slurm: LocalSlurm, story: Story) -> None:
    """What they had finished was not done again: one job for each warm start."""
    for run in (WARM_START, WARM_START.replace("alfworld", "webshop")):
        assert [job.state for job in jobs(slurm, about(run.replace("-warmstart", ""), "warm_start"))] == ["COMPLETED"]


def test_a_warned_training_saves_its_work_and_is_tried_again(slurm: LocalSlurm, story: Story) -> None:
    """Its first job ends by itself after the iteration, with a checkpoint; the second goes on from there."""
    assert [job.state for job in jobs(slurm, about(WARNED))] == ["FAILED", "COMPLETED"]
    (log,) = (story.project / ".snakemake/slurm_logs").rglob(f"{story.warned_job}.log")
    stopped = re.search(rf"SIGUSR1: stopped after iteration (\d+) of {ITERATIONS}", log.read_text())
    assert stopped, log.read_text()
    assert f"resuming after iteration {stopped[1]} of {ITERATIONS}" in training_log(story, WARNED)


def test_a_killed_training_is_tried_again(slurm: LocalSlurm, story: Story) -> None:
    """`kill -9` of the stage: the job fails, Snakemake submits another."""
    assert [job.state for job in jobs(slurm, about(KILLED))] == ["FAILED", "COMPLETED"]


def test_a_requeued_training_goes_on_in_the_same_job(slurm: LocalSlurm, story: Story) -> None:
    """`scontrol requeue`: Slurm starts the job again, Snakemake waits for it and submits no other."""
    assert [job.number for job in jobs(slurm, about(REQUEUED))] == [story.requeued_job]
    assert restarts(slurm, story.requeued_job) == 1


def test_a_preempted_training_goes_on_elsewhere_when_its_node_is_drained(slurm: LocalSlurm, story: Story) -> None:
    """It ends after a checkpoint; it and all that is submitted later run on the other node."""
    before, after = jobs(slurm, about(DRAINED))
    assert (before.state, before.node, after.state) == ("FAILED", story.drained_node, "COMPLETED")
    assert "resuming after iteration" in training_log(story, DRAINED)
    later = [job for job in jobs(slurm) if int(job.number) > int(story.drained_after)]
    assert {job.node for job in later} == set(NODES) - {story.drained_node}


def test_small_jobs_share_a_submission(slurm: LocalSlurm, story: Story) -> None:
    """Demonstrations and tokenizers of both benchmarks are one job; tables and their records are another."""
    assert len(jobs(slurm, "preparation")) == 1 and len(jobs(slurm, "results")) == 1


def training_log(story: Story, run: str) -> str:
    return (story.project / "results/test/logs/train" / f"{run}.log").read_text()
