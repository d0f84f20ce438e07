"""`hiper run` on a real experiment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hiper.locks import join_workflow

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hiper", "run", "test", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_what_is_missing_is_shown_run_and_pointed_to(reference: Path, tmp_path: Path) -> None:
    """A table of the jobs with measured times; progress of the grid; what to look at; what another call keeps
    from running; and Snakemake's exit status."""
    finished = shutil.copytree(reference, tmp_path / "project", symlinks=True)
    table = finished / "results" / "test" / "tables" / "success.md"
    before = table.read_bytes()
    table.unlink()
    looked = run(finished, "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "snakemake --cores" in looked.stdout and "measured" in looked.stdout and not table.exists()
    assert len(looked.stdout.splitlines()) < 20
    done = run(finished, "report", "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert table.read_bytes() == before
    assert "grid: 1 of 1 jobs (100 %)" in done.stderr and "results/test/report.html" in done.stdout
    table.unlink()
    with join_workflow(finished / ".snakemake"):
        lock = finished / ".snakemake" / "locks" / "0.output.lock"
        lock.parent.mkdir(exist_ok=True)
        lock.write_text(f"{table.relative_to(finished)}\n")
        locked = run(finished, "report", "--cores", "2")
    assert locked.returncode == 1 and "hiper: another call is at work in this folder: " in locked.stderr
    assert "did not end" not in locked.stderr
    refused = run(finished, "--", "no_such_target")
    assert refused.returncode == 1 and "no_such_target" in refused.stdout + refused.stderr
