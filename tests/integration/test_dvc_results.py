"""What DVC shows of results: metrics and plots of an experiment, against a commit; nothing that is missing stops it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hiper.cli.main import main
from hiper.records import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path("results/demo")
RATES = [RESULTS / "tables" / "rates" / name for name in ("alfworld_small-tiny", "webshop_small-tiny")]
FILES = [folder / f"{name}.json" for folder in RATES for name in ("hiper", "ppo")]
FIGURES = [RESULTS / "figures" / f"{name}.png" for name in ("learning_curves", "success")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with the project's DVC files; `results/` is ignored as in the project."""
    files = ("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")
    for name in (*files, "configs/benchmark", "hiper"):
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
    """As the report writes them: a file for each algorithm, and pictures."""
    for path in FILES:
        write_json(folder / path, {"seen_t0.4": 0.25, "unseen_t0.4": rate})
    for path in FIGURES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        figure = Figure()
        figure.suptitle(f"{rate}")
        figure.savefig(folder / path)


def test_missing_results_stop_nothing(checkout: Path) -> None:
    """Neither the commands that show results nor those that make data; no file of the project is rewritten."""
    for command in (("metrics", "show"), ("plots", "show"), ("status",), ("repro", "--dry", "alfworld@alfworld_test")):
        dvc(checkout, *command)
    assert git(checkout, "status", "--porcelain", "--untracked-files=no") == ""


def test_results_are_compared_with_those_of_a_commit(checkout: Path) -> None:
    """As docs/which_tool.md says: add them by force, commit, run again, look at the difference. A line for each
    algorithm and pictures side by side, without a complaint and without the network; dvc.lock stays."""
    write_results(checkout, 0.5)
    git(checkout, "add", "--force", str(RATES[0].parent), *map(str, FIGURES))
    git(checkout, "commit", "--quiet", "--message", "results")
    write_results(checkout, 0.625)
    head, *lines = dvc(checkout, "metrics", "show").strip().splitlines()
    assert head.split() == ["Path", "seen_t0.4", "unseen_t0.4"]
    assert [line.split() for line in lines] == [[str(path), "0.25", "0.625"] for path in FILES]
    lines = [line for line in dvc(checkout, "metrics", "diff", "HEAD").splitlines() if "unseen_t0.4" in line]
    assert [line.split()[-3:] for line in lines] == [["0.5", "0.625", "0.125"]] * 4
    dvc(checkout, "plots", "diff", "HEAD")
    page = (checkout / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") == 4 and "http" not in page
    assert git(checkout, "status", "--porcelain", "--untracked-files=no", "dvc.lock", "dvc.yaml") == ""


def test_data_sets_that_were_never_made_are_said_to_be_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each; one that was made says whether what it is made of has changed."""
    monkeypatch.chdir(checkout)
    assert main(["data", "repro", "babyai_test"]) == 0
    assert main(["data", "status"]) == 0
    told = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    states = {name.strip(): state.strip() for name, state in told.items()}
    assert states.pop("babyai_test") == "up to date"
    assert set(states.values()) == {"not made here; a run makes it"}
    changed = checkout / "configs" / "benchmark" / "babyai_test.yaml"
    changed.write_text(changed.read_text().replace("seed: ", "seed: 1"))
    assert main(["data", "status"]) == 0
    assert re.search(
        r"babyai_test +changed since it was made: configs/benchmark/babyai_test.yaml", capsys.readouterr().out
    )
