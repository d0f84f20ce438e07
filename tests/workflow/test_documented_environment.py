"""docs/tutorials/environment.md, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, copy_project, give_database, snakemake

pytestmark = [pytest.mark.timeout(3600)]

RUN = "results/test/runs/corridor-test-hiper-seed0"
PAGE = (ROOT / "docs" / "tutorials" / "environment.md").read_text(encoding="utf-8")
MODULE, PACKAGE, SETTINGS, CHECK = re.findall(r"```(?:python|toml|yaml)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's package, installed into a folder of its own as pip installs any."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    (source / "corridor.py").write_text(MODULE, encoding="utf-8")
    (source / "pyproject.toml").write_text(PACKAGE, encoding="utf-8")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(target), str(source)]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def project(installed: Path, empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the tutorial's configuration and the package's data, made by the command."""
    folder = copy_project(tmp_path_factory.mktemp("environment") / "project")
    (folder / "configs" / "benchmark" / "corridor.yaml").write_text(SETTINGS, encoding="utf-8")
    experiment = folder / "configs" / "experiment" / "test.yaml"
    text = re.sub(r"benchmarks: .*", "benchmarks: [corridor]", experiment.read_text(encoding="utf-8"))
    experiment.write_text(f"{text}\ntracking: {{live: false}}\n", encoding="utf-8")
    hiper(folder, installed, "data", "repro", "corridor")
    return give_database(folder, empty_database)


def surroundings(folder: Path, installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{installed}"}


def hiper(folder: Path, installed: Path, *arguments: str, status: int = 0) -> str:
    command = [sys.executable, "-m", "hiper", *arguments]
    done = subprocess.run(command, cwd=folder, env=surroundings(folder, installed), capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_environment_is_as_short_as_it_should_be() -> None:
    """At most 80 lines."""
    assert len(MODULE.splitlines()) <= 80


def test_its_record_passes_the_check(project: Path, installed: Path) -> None:
    """The tutorial's own call."""
    subprocess.run([sys.executable, "-c", CHECK], cwd=project, env=surroundings(project, installed), check=True)


def test_mistakes_in_its_settings_are_told_as_ours_are(project: Path, installed: Path) -> None:
    """A misspelt key, a value out of range, and what is installed where a name is unknown."""
    own = yaml.safe_load(SETTINGS)
    for name, change, message in (
        ("misspelt", {"room": 5}, "did you mean 'rooms'?"),
        ("narrow", {"rooms": 1}, "rooms = 1"),
        ("unknown", {"name": "corridoor"}, "corridor"),
    ):
        (path := project / "configs" / "benchmark" / f"{name}.yaml").write_text(yaml.safe_dump(own | change))
        said = hiper(project, installed, "data", "make", str(path), "--output", f"data/{name}", status=2)
        assert message in said
        path.unlink()


def test_its_data_are_made_when_something_changed_and_checked_always(project: Path, installed: Path) -> None:
    """As DVC does for ours: nothing is done twice, other settings make other tasks, and files that are not those that
    were made are noticed by whoever reads them."""
    index, file = project / "data" / "corridor" / "dataset.json", project / "configs" / "benchmark" / "corridor.yaml"
    first, stamp = index.read_bytes(), index.stat().st_mtime_ns
    hiper(project, installed, "data", "repro", "corridor")
    assert index.stat().st_mtime_ns == stamp
    file.write_text(SETTINGS.replace("seed: 0", "seed: 1"), encoding="utf-8")
    hiper(project, installed, "data", "repro", "corridor")
    assert index.read_bytes() != first
    file.write_text(SETTINGS, encoding="utf-8")
    hiper(project, installed, "data", "repro", "corridor")
    assert index.read_bytes() == first
    index.write_bytes(first + b" ")
    reading = "from pathlib import Path; from hiper.manifest import data_hash; data_hash(Path('data'), 'corridor')"
    command = [sys.executable, "-c", reading]
    failed = subprocess.run(command, cwd=project, env=surroundings(project, installed), capture_output=True, text=True)
    assert "its content is not what corridor.made.json beside it says" in failed.stderr
    hiper(project, installed, "data", "repro", "corridor")
    assert index.read_bytes() == first


def test_it_trains_through_all_stages(project: Path, installed: Path) -> None:
    """Demonstrations, tokenizer, warm start, RL and evaluation by the workflow, with the tiny model."""
    paths = f"{project}{os.pathsep}{installed}"
    done = snakemake(project, f"{RUN}/evaluation.jsonl", PYTHONPATH=paths)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (project / RUN / "evaluation.jsonl").read_text().splitlines()]
    assert {row["task_type"] for row in rows} == {"key", "lamp"} and {row["split"] for row in rows} == {"test"}
    assert json.loads((project / RUN / "metrics.jsonl").read_text().splitlines()[-1])["policy/norm"] > 0
    manifest = json.loads((project / RUN / "manifest.json").read_text())
    made = json.loads((project / "data" / "corridor.made.json").read_text())
    assert manifest["data"] == {"dvc": made["md5"]} and manifest["seeds"]["data"] == 0
