"""A copy of the project in a repository of its own, and Snakemake on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from project import ROOT, project_files

SNAKEMAKE = Path(sys.executable).parent / "snakemake"
ITERATIONS = 7  # of each training: enough to be disturbed before the last
# What the copy changes in the experiment `test`.
LONGER = {
    "  steps: 20": "  steps: 50",
    "  iterations: 2": f"  iterations: {ITERATIONS}",
    "  checkpoint_every: 1": "  checkpoint_every: 2",
}
FEWER_FOLLOWERS = "by_benchmark: {webshop_test: {tracking: {live: false}}}\n"  # each imports MLflow


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


def start(folder: Path, *arguments: str, experiment: str = "test", **environment: str) -> subprocess.Popen[str]:
    """Snakemake in a process group of its own, on the copy's own package."""
    command = [str(SNAKEMAKE), "--cores", "2", *arguments]
    if "--config" not in arguments:
        command += ["--config", f"experiment={experiment}"]
    surroundings = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=surroundings, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def snakemake(folder: Path, *arguments: str, **further: str) -> subprocess.CompletedProcess[str]:
    process = start(folder, *arguments, **further)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_whole(folder: Path, *arguments: str, **further: str) -> Path:
    """The whole experiment in the copy; its folder of results."""
    done = snakemake(folder, *arguments, **further)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / further.get("experiment", "test")
