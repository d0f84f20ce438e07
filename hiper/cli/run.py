"""`hiper run`: an experiment, or a part of it, by the Snakemake call that it composes, shows and then makes."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.cli.command import Commands, Parser, declare
from hiper.errors import UserError

if TYPE_CHECKING:
    from hiper.views.grid import Progress

STAGES = ("data", "demonstrations", "tokenizer", "warmstart", "train", "evaluate", "variance", "report")
CLUSTER = "slurm"  # the profile behind --cluster
QUIET = ("progress", "rules", "host", "reason", "all")  # what may follow Snakemake's --quiet
LOOK_SECONDS, SAY_SECONDS = 2.0, 300.0
EXAMPLES = """\
hiper run demo --dry-run              what there is to do, how long it takes
hiper run demo                        do it
hiper run demo train                  up to and including the trainings
hiper run paper --cluster             by Slurm (profiles/slurm/config.yaml)
hiper run demo -- --forcerun report   what stands behind -- is Snakemake's
"""


def add(commands: Commands) -> None:
    parser = declare(commands, "run", run, "run an experiment, or what is missing of it")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "run what is missing or out of date of an experiment; exit status is Snakemake's"
    parser.epilog = EXAMPLES
    assert isinstance(parser, Parser)
    parser.passes_on = "snakemake"
    parser.usage = "hiper run EXPERIMENT [STAGE] [--cluster] [--cores N] [--dry-run] [-- SNAKEMAKE_ARGS]"
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a file name in configs/experiment, without .yaml")
    parser.add_argument(
        "stage", metavar="STAGE", nargs="?", choices=STAGES, help=f"the last one to run: {', '.join(STAGES)}"
    )
    parser.add_argument("--cluster", action="store_true", help=f"jobs go where the profile {CLUSTER} sends them")
    parser.add_argument("--cores", type=_positive, metavar="N", help="of this machine (default: all)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="show the jobs, run nothing")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    from hiper.layers import configuration_file

    root = Path.cwd()
    configuration_file("experiment", arguments.experiment, root)  # for its error, before Snakemake takes its seconds
    if arguments.cluster and arguments.cores:
        raise UserError("--cores is for this machine: give one of --cores and --cluster")
    cores = arguments.cores or len(os.sched_getaffinity(0))
    passed = list(arguments.snakemake)
    only_look = arguments.dry_run or bool({"-n", "--dry-run", "--dryrun"} & {*passed})
    where = ["--profile", CLUSTER] if arguments.cluster else ["--cores", str(cores)]
    command = call(arguments.experiment, arguments.stage, where, passed)
    print(shlex.join(command), flush=True)
    looking = call(arguments.experiment, arguments.stage, where, _without_quiet(passed))
    looked = _snakemake([*looking[:1], "--dry-run", "--quiet", "host", *looking[1:]], capture=True)
    if looked.returncode:
        sys.stderr.write(looked.stdout)
        return looked.returncode
    return _go_on(arguments.experiment, command, looked.stdout, None if arguments.cluster else cores, passed, only_look)


def call(experiment: str, stage: str | None, where: Sequence[str], passed: Sequence[str]) -> list[str]:
    """The call of Snakemake. What is passed on may hold targets, so it stands before the options that would take them
    for their values; settings of its own `--config` go together with ours."""
    from hiper.views.grid import STAGES as RULES

    passed, until = list(passed), ["--until", RULES[stage]] if stage else []
    own, flag = f"experiment={experiment}", next((name for name in ("--config", "-C") if name in passed), None)
    if flag is None:
        return ["snakemake", *where, *passed, *until, "--config", own]
    passed.insert(passed.index(flag) + 1, own)
    return ["snakemake", *where, *passed, *until]


def _without_quiet(passed: Sequence[str]) -> list[str]:
    """What is passed on, as it must be for a look at the jobs: Snakemake's last `--quiet` wins."""
    kept, values = list[str](), False
    for part in passed:
        joined = part.startswith("--quiet=") or (part.startswith("-q") and part != "-q")
        values = part in ("-q", "--quiet") or (values and part in QUIET)
        if not (values or joined):
            kept.append(part)
    return kept


def _snakemake(command: Sequence[str], capture: bool) -> subprocess.CompletedProcess[str]:
    process = _start(command, capture)
    output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output or "", "")


def _start(command: Sequence[str], capture: bool) -> subprocess.Popen[str]:
    """Snakemake of this very environment, whether it is activated or not."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if capture else {}
    return subprocess.Popen([sys.executable, "-m", *command], text=True, errors="replace", **pipe)


def _go_on(
    experiment: str, command: Sequence[str], dry_run: str, cores: int | None, passed: Sequence[str], only_look: bool
) -> int:
    from hiper.grids import compose_grid
    from hiper.views import grid
    from hiper.views.durations import Durations
    from hiper.views.terminal import console

    root, screen = Path.cwd(), console()
    if jobs := grid.jobs_of(dry_run):
        known = Durations(experiment, dict(compose_grid(experiment, root)), root)
        screen.print(grid.table(jobs, known))
        if cores is not None:
            screen.print(grid.here(jobs, known, cores))
    else:
        screen.print("no job is listed" if passed else "nothing to do: all of it is there and up to date")
    if only_look:
        return 0
    if not jobs and not passed:
        _what_to_look_at(experiment)
        return 0
    quiet = [] if {"-q", "--quiet"} & {*passed} or cores is None else ["--quiet", "rules", "host", "reason", "progress"]
    progress = grid.Progress(jobs, known, root) if jobs else None
    locked = any(_locks(root))
    status = _watched(_start([*command[:1], *quiet, *command[1:]], capture=False), progress)
    if status == 0:
        _what_to_look_at(experiment)
    elif locked and any(_locks(root)):
        print(f"hiper: another call is at work in this folder: {_at_work(experiment)}", file=sys.stderr)
    else:
        for job in progress.unfinished() if progress else ():
            said = job.log is not None and job.log.exists() and job.log.stat().st_size > 0
            how = "began and did not end" if said else "was not taken, or ended before its first line (see above)"
            print(f"hiper: {job.key.rule} {job.key.name} {how}: {job.log}", file=sys.stderr)
        print("hiper: not finished; the same command goes on with what is missing", file=sys.stderr)
    return status


def _locks(root: Path) -> Iterator[Path]:
    """Snakemake's, of the calls that work in this folder (`hiper.locks` removes those of killed ones)."""
    return (root / ".snakemake" / "locks").glob("*.lock")


def _at_work(experiment: str) -> str:
    from hiper.locks import owner

    folders = sorted(Path("results", experiment, "runs").glob("*"))
    found = [f"{folder.name} by {holder}" for folder in folders if folder.is_dir() and (holder := owner(folder))]
    return ", ".join(found) or "no run of this experiment is being written (hiper doctor)"


def _watched(process: subprocess.Popen[str], progress: Progress | None) -> int:
    """Wait for Snakemake, saying how far it is; its exit status. Ctrl-C reaches Snakemake by itself, which then ends
    its jobs; a signal to this process alone is passed on."""
    import signal

    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    said = time.monotonic()
    while True:
        with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            status = process.wait(LOOK_SECONDS)
            if progress is not None and progress.look():
                print(f"grid: {progress.line()}", file=sys.stderr, flush=True)
            return status if status >= 0 else 128 - status
        if progress is not None and (progress.look() or time.monotonic() - said > SAY_SECONDS):
            print(f"grid: {progress.line()}", file=sys.stderr, flush=True)
            said = time.monotonic()


def _what_to_look_at(experiment: str) -> None:
    """What there is of the experiment, each with what it is for."""
    folder = Path("results") / experiment
    runs = sorted(path.parent for path in folder.glob("runs/*/evaluation.jsonl") if "-warmstart-" not in str(path))
    found = [
        (folder / "report.html", str(folder / "report.html"), "the whole comparison on one page"),
        (folder / "tables" / "success.md", f"hiper summary {folder}", "its success table"),
        (folder / "tracking" / "mlflow.db", f"make mlflow EXPERIMENT={experiment}", "curves, in MLflow"),
        *((run, f"hiper inspect {run}", "episodes, turn by turn") for run in runs[:1]),
    ]
    for path, what, purpose in found:
        if path.exists():
            print(f"{what}\n    {purpose}")
