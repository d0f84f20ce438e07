"""Snakemake on the local cluster, and what can happen to its jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from checkout import SNAKEMAKE
from local_slurm import LocalSlurm

from hiper.locks import lock_file

STARTED: list[subprocess.Popen[bytes]] = []  # to be ended with the tests, however they end
PROFILES = ["--profile", "slurm", "--profile", "tests/cluster/profile"]


@dataclass
class Call:
    """One call of Snakemake."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait(self) -> int:
        return self.process.wait()


def call(slurm: LocalSlurm, project: Path, *arguments: str) -> Call:
    """Snakemake with the project's own profile and the tests' additions to it."""
    log = project.parent / f"call{len(list(project.parent.glob('call*')))}.log"
    environment = {**slurm.environment, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [str(SNAKEMAKE), *PROFILES, *arguments]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=stream, stderr=stream)
    STARTED.append(process)
    return Call(process, log)


def until(condition: Callable[[], bool], what: str, running: Call | None = None, pause: float = 0.1) -> None:
    """Wait for it, asking every `pause` seconds; AssertionError when the call it depends on ends before."""
    while not condition():
        assert running is None or running.process.poll() is None, f"{what}: Snakemake ended\n{running.output}"
        time.sleep(pause)


@dataclass(frozen=True)
class Job:
    """A job of the cluster, as `squeue` lists it; `about` names the rule and the run."""

    number: str
    state: str
    node: str
    about: str


def jobs(slurm: LocalSlurm, about: str = "") -> list[Job]:
    """All jobs, finished ones too, oldest first; those of a rule and run if `about` says which."""
    lines = slurm.command("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%T|%N|%k").splitlines()
    found = [Job(*line.split("|")) for line in lines]
    return [job for job in found if about in job.about]


def restarts(slurm: LocalSlurm, number: str) -> int:
    """How often Slurm has begun a job again."""
    return int(slurm.command("scontrol", "show", "job", number).split("Restarts=")[1].split()[0])


def busy(slurm: LocalSlurm) -> bool:
    """Whether any job still waits or runs."""
    return bool(slurm.command("squeue", "--noheader").strip())


def rows(run: Path) -> int:
    """Iterations done."""
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def signal_stage(run: Path, number: signal.Signals) -> None:
    """To the process that works on a run now."""
    os.kill(int(json.loads(lock_file(run).read_text())["process"]), number)
