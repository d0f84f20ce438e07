"""Which files belong to the project."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


def project_files() -> list[str]:
    """Names of the files that git would add. An empty repository elsewhere is asked, so that a copy of the project
    without `.git` has them, too."""
    with TemporaryDirectory() as empty:
        subprocess.run(["git", "init", "-q", "--bare", empty], check=True)
        places = [f"--git-dir={empty}", f"--work-tree={ROOT}", "-c", "core.bare=false", "-c", "core.quotePath=false"]
        command = ["git", *places, "ls-files", "--others", "--exclude-standard"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
