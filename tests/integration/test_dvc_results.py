"""What DVC shows of results: metrics and plots of an experiment, against a commit; nothing that is missing stops it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = Path("results/demo/tables")
SUCCESS = (
    "benchmark,model,algorithm,split,temperature,protocol,checkpoint,task_type,mean,low,high\n"
    "alfworld_small,tiny,hiper,unseen,0.4,exhaustive,last,all,{},0.4,0.6\n"
)
CURVES = "benchmark,model,algorithm,seed,episodes,smoothed_success\nalfworld_small,tiny,hiper,0,64,0.25\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with the project's DVC files; `results/` is ignored as in the project."""
    files = ("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")
    for name in (*files, ".dvc/plots", "configs/benchmark", "hiper"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "files")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(folder.parent / "site"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_results(folder: Path, rate: float) -> None:
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    (folder / TABLES / "rates.json").write_text(f'{{"alfworld_small-tiny-hiper": {{"unseen_t0.4": {rate}}}}}\n')
    (folder / TABLES / "success.csv").write_text(SUCCESS.format(rate))
    (folder / TABLES / "curves.csv").write_text(CURVES)


def test_missing_results_stop_nothing(checkout: Path) -> None:
    """Neither the commands that show results nor those that make data; no file of the project is rewritten."""
    for command in (("metrics", "show"), ("plots", "show"), ("status",), ("repro", "--dry", "alfworld@alfworld_test")):
        dvc(checkout, *command)
    assert git(checkout, "status", "--porcelain", "--untracked-files=no") == ""


def test_results_are_compared_with_those_of_a_commit(checkout: Path) -> None:
    """As docs/which_tool.md says: tables added by force, committed, made again, compared; dvc.lock stays."""
    write_results(checkout, 0.5)
    git(checkout, "add", "--force", *(str(TABLES / name) for name in ("rates.json", "curves.csv", "success.csv")))
    git(checkout, "commit", "--quiet", "--message", "results")
    write_results(checkout, 0.625)
    assert "0.625" in dvc(checkout, "metrics", "show")
    (line,) = (line for line in dvc(checkout, "metrics", "diff", "HEAD").splitlines() if "unseen_t0.4" in line)
    assert line.split()[-3:] == ["0.5", "0.625", "0.125"]
    dvc(checkout, "plots", "diff", "HEAD")
    page = (checkout / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for shown in ('"mean": "0.5"', '"mean": "0.625"', '"smoothed_success"', "<DVC_METRIC"):
        assert (shown in page) == (shown != "<DVC_METRIC")
    assert git(checkout, "status", "--porcelain", "--untracked-files=no", "dvc.lock", "dvc.yaml") == ""
