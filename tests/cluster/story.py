"""What happens to a grid on a cluster, in one go: the tests look at what is left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from checkout import ITERATIONS, snakemake
from grid import Call, busy, call, jobs, restarts, rows, signal_stage, until
from local_slurm import LocalSlurm

RUNS = Path("results/test/runs")
TRAININGS = WARNED, KILLED, REQUEUED, DRAINED = tuple(
    f"{benchmark}-test-{algorithm}-seed0"
    for benchmark in ("alfworld_test", "webshop_test")
    for algorithm in ("hiper", "ppo_turn")
)
WARM_START, OTHER_WARM_START = (f"{benchmark}-test-warmstart-seed0" for benchmark in ("alfworld_test", "webshop_test"))


def about(run: str, rule: str = "train") -> str:
    """How the executor describes a run's job."""
    return f"rule_{rule}_wildcards_test_{run.replace('-', '_').replace('seed', '')}"


@dataclass
class Story:
    """What happened, for the tests to look at."""

    project: Path
    locked: Call
    refused: Call
    log_before: str
    log_after: str
    trainings: Call
    warned_job: str = ""
    requeued_job: str = ""
    drained_node: str = ""
    drained_after: str = ""  # the newest job at that moment
    ends: list[tuple[int, str]] = field(default_factory=list)  # status and output of each call that went through


def tell(slurm: LocalSlurm, project: Path) -> Story:
    """All that happens on the cluster."""
    runs = project / RUNS
    # warm starts alone: no training shall begin, and be over, before it is disturbed
    first = call(slurm, project, *(f"{RUNS}/{start}/manifest.json" for start in (WARM_START, OTHER_WARM_START)))
    log = project / "results/test/logs/warm_start" / f"{WARM_START.replace('-warmstart', '')}.log"
    until(lambda: log.exists() and log.stat().st_size > 0, "a warm start", first)
    signal_stage(runs / WARM_START, signal.SIGSTOP)  # it shall still be at work when the others have looked
    locked = call(slurm, project)
    locked.wait()
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    before = log.read_text()
    refused = call(slurm, project)
    refused.wait()
    after = log.read_text()
    signal_stage(runs / WARM_START, signal.SIGCONT)
    until(lambda: not busy(slurm), "the orphaned jobs' end", pause=1.0)
    trainings = call(slurm, project, *(f"{RUNS}/{run}/manifest.json" for run in TRAININGS))
    told = Story(project, locked, refused, before, after, trainings)
    disturb(slurm, told)
    told.ends.append((trainings.wait(), trainings.output))
    # not on the cluster: to it they are jobs like the warm starts, and each job starts Snakemake twice
    starts = (WARM_START, OTHER_WARM_START)
    evaluations = [f"{RUNS}/{run}/evaluation.jsonl" for run in (*TRAININGS, *starts)]
    here = snakemake(project, *evaluations, *(f"results/test/variance/{start}.json" for start in starts))
    told.ends.append((here.returncode, here.stdout + here.stderr))
    last = call(slurm, project)
    told.ends.append((last.wait(), last.output))
    slurm.command("scontrol", "update", f"nodename={told.drained_node}", "state=resume")
    return told


def disturb(slurm: LocalSlurm, told: Story) -> None:
    """Each training once, in its own way, after its first iteration."""
    waiting: dict[str, Callable[[str], None]] = {
        WARNED: lambda run: warn(slurm, told, run),
        KILLED: lambda run: signal_stage(told.project / RUNS / run, signal.SIGKILL),
        REQUEUED: lambda run: requeue(slurm, told, run),
        DRAINED: lambda run: drain(slurm, told, run),
    }

    def each() -> bool:
        for run in [run for run in waiting if rows(told.project / RUNS / run)]:
            assert rows(told.project / RUNS / run) < ITERATIONS, f"{run} was too quick"
            waiting.pop(run)(run)
        return not waiting

    until(each, "all trainings", told.trainings)
    until(lambda: waits_or_goes_on(slurm, told.requeued_job), "the requeued job's end", told.trainings, pause=1.0)
    # Slurm would wait two minutes; on a busy machine they may be over already
    slurm.command("scontrol", "update", f"jobid={told.requeued_job}", "starttime=now", check=False)


def waits_or_goes_on(slurm: LocalSlurm, number: str) -> bool:
    """Whether a requeued job has ended and is again one like others."""
    (job,) = [job for job in jobs(slurm) if job.number == number]
    return restarts(slurm, number) == 1 and job.state in ("PENDING", "RUNNING", "COMPLETED")


def warn(slurm: LocalSlurm, told: Story, run: str) -> None:
    """As Slurm does `--signal` seconds before the limit: to every process of the job's steps."""
    told.warned_job = jobs(slurm, about(run))[-1].number
    slurm.command("scancel", "--signal=USR1", told.warned_job)


def requeue(slurm: LocalSlurm, told: Story, run: str) -> None:
    told.requeued_job = jobs(slurm, about(run))[-1].number
    slurm.command("scontrol", "requeue", told.requeued_job)


def drain(slurm: LocalSlurm, told: Story, run: str) -> None:
    """Its node takes no more jobs, and it is preempted: in the time of grace Slurm sends SIGTERM to the job's steps."""
    told.drained_node = jobs(slurm, about(run))[-1].node
    slurm.command("scontrol", "update", f"nodename={told.drained_node}", "state=drain", "reason=test")
    told.drained_after = jobs(slurm)[-1].number
    slurm.command("scancel", "--signal=TERM", jobs(slurm, about(run))[-1].number)
