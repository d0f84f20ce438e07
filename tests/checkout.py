"""A copy of the project in a repository of its own, and Snakemake on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from project import ROOT, project_files

SNAKEMAKE = Path(sys.executable).parent / "snakemake"
ITERATIONS = 5  # of each training: enough to be disturbed before the last
# What the copy changes in the experiment `test`.
LONGER = {
    "  steps: 20": "  steps: 50",
    "  iterations: 2": f"  iterations: {ITERATIONS}",
    "  checkpoint_every: 1": "  checkpoint_every: 2",
}
# Each imports MLflow.
FEWER_FOLLOWERS = (
    "by_benchmark: {webshop_test: {tracking: {live: false}}}\nby_algorithm: {ppo_turn: {tracking: {live: false}}}\n"
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def copy_project(folder: Path) -> Path:
    """The files of the project, committed."""
    for name in project_files():
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    git(folder, "init", "-q")
    return commit(folder)


def longer_project(folder: Path) -> Path:
    """As `copy_project`; the trainings of the experiment `test` last long enough to be disturbed."""
    path = copy_project(folder) / "configs" / "experiment" / "test.yaml"
    text = path.read_text()
    for old, new in LONGER.items():
        assert text.count(f"{old}\n") == 1, old
        text = text.replace(f"{old}\n", f"{new}\n")
    path.write_text(f"{text}\n{FEWER_FOLLOWERS}")
    return commit(folder)


def commit(folder: Path) -> Path:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "files")
    return folder


def clone(project: Path, folder: Path) -> Path:
    """The same commit in another folder, without data and results."""
    git(project, "clone", "-q", str(project), str(folder))
    return folder


def give_database(folder: Path, database: Path, experiment: str = "test") -> Path:
    """Put a migrated database (the fixture `empty_database`) where the experiment's would be made; the folder."""
    (tracking := folder / "results" / experiment / "tracking").mkdir(parents=True)
    shutil.copy(database, tracking)
    return folder


def command_line(folder: Path, arguments: tuple[str, ...], experiment: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a call in `folder`, on the copy's own package."""
    chosen = [] if {"--config", "--profile"} & {*arguments} else ["--config", f"experiment={experiment}"]
    cores = [] if "--profile" in arguments else ["--cores", "2"]
    return [*cores, *arguments, *chosen], {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def start(folder: Path, *arguments: str, experiment: str = "test", **environment: str) -> subprocess.Popen[str]:
    """Snakemake in a process group of its own."""
    words, surroundings = command_line(folder, arguments, experiment)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(SNAKEMAKE), *words],
        cwd=folder,
        env=surroundings | environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


@cache
def server() -> subprocess.Popen[str]:
    """What runs Snakemake for this process; it ends with it."""
    command = [sys.executable, str(Path(__file__).with_name("snakemake_server.py"))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def snakemake(
    folder: Path, *arguments: str, experiment: str = "test", **environment: str
) -> subprocess.CompletedProcess[str]:
    """As `start`, and wait for it; forked from a process that has imported Snakemake."""
    words, surroundings = command_line(folder, arguments, experiment)
    pipes = server()
    assert pipes.stdin is not None and pipes.stdout is not None
    with TemporaryDirectory() as place:
        files = {name: f"{place}/{name}" for name in ("output", "errors")}
        request = {"argv": words, "folder": str(folder), "environment": surroundings | environment, **files}
        pipes.stdin.write(json.dumps(request) + "\n")
        pipes.stdin.flush()
        status = int(pipes.stdout.readline())
        output, errors = (Path(path).read_text() for path in files.values())
    return subprocess.CompletedProcess(words, status, output, errors)


def run_whole(folder: Path, *arguments: str, **further: str) -> Path:
    """The whole experiment in the copy; its folder of results."""
    done = snakemake(folder, *arguments, **further)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / further.get("experiment", "test")
