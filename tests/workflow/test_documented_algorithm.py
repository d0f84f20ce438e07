"""docs/tutorials/algorithm.md, followed to the letter: an algorithm in a package of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from checkout import ITERATIONS, ROOT

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

CELL = "alfworld_test-test"
RUN = f"results/test/runs/{CELL}-reinforce-seed0"


def called(folder: Path, *command: str) -> str:
    """What a command says in `folder`, with the package there and what is installed where the command is from."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment_with(package: Path, folder: Path) -> str:
    """The Python of a new environment that has the package installed and all that this one has."""
    called(folder.parent, sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = Path(called(folder, python, "-c", ask).strip())
    (own / "present.pth").write_text("".join(f"{sysconfig.get_paths()[kind]}\n" for kind in ("purelib", "platlib")))
    options = ["--no-index", "--no-deps", "--no-build-isolation"]
    called(package, sys.executable, "-m", "pip", "--python", python, "install", *options, str(package))
    return python


def test_the_algorithm_of_the_tutorial_trains(finished: Path, tmp_path: Path) -> None:
    """Its module, its entry point and its defaults, as printed, are all that a new algorithm needs, in at most 40
    lines; its own hyper-parameter is checked, shown in the run's configuration and trained with."""
    page = (ROOT / "docs" / "tutorials" / "algorithm.md").read_text(encoding="utf-8")
    module, package, defaults = re.findall(r"```(?:python|toml|yaml)\n(.*?)```", page, flags=re.DOTALL)
    assert sum(bool(line.strip()) for text in (module, package, defaults) for line in text.splitlines()) <= 40
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "reinforce.py").write_text(module, encoding="utf-8")
    (tmp_path / "package" / "pyproject.toml").write_text(package, encoding="utf-8")
    python = environment_with(tmp_path / "package", tmp_path / "environment")
    project = tmp_path / "project"
    shutil.copytree(finished, project, symlinks=True)
    experiment = project / "configs" / "experiment" / "test.yaml"
    text = experiment.read_text().replace(f"  iterations: {ITERATIONS}\n", "  iterations: 1\n")
    experiment.write_text(f"{text}\ntracking: {{live: false}}\n")
    file = project / "configs" / "algorithm" / "reinforce.yaml"
    hiper = (python, "-m", "hiper")
    compose = (*hiper, "compose", "test", Path(RUN).name, "--output", f"{RUN}/config.yaml")
    file.write_text(defaults.replace("baseline: 1.0", "baselin: 1.5"), encoding="utf-8")
    done = subprocess.run(compose, cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, capture_output=True)
    message = done.stderr.decode()
    assert done.returncode == 2 and "algorithm.baselin: unknown setting (value 1.5); did you mean 'baseline'" in message
    file.write_text(defaults, encoding="utf-8")
    called(project, *compose)
    called(project, *hiper, "train", RUN, "--start", f"results/test/runs/{CELL}-warmstart-seed0/model")
    called(project, *hiper, "evaluate", RUN)
    row = json.loads((project / RUN / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["policy/norm"] > 0 and not any(name.startswith("critic/") for name in row)
    assert (project / RUN / "evaluation.jsonl").stat().st_size
    assert "baseline: 1.0" in (project / RUN / "config.yaml").read_text()
