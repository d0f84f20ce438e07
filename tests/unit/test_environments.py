"""The environments in envs/ agree with pyproject.toml and with each other, and disagreement would be found."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def load(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("environments", root / "envs" / "environments.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copied(tmp_path: Path) -> ModuleType:
    """The check on a copy of the descriptions."""
    shutil.copytree(ROOT / "envs", tmp_path / "envs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    return load(tmp_path)


def test_the_environments_agree() -> None:
    """As a person runs the check."""
    command = [sys.executable, "-B", "envs/environments.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the environments agree\n")


def test_conda_files_have_every_pin_and_nothing_else() -> None:
    """Same versions as the sets they are made from, in a file that stands alone."""
    module = load(ROOT)
    for kind, (source, _) in module.CONDA.items():
        content = yaml.safe_load((ROOT / "envs" / f"conda-{kind}.yaml").read_text())
        packages = dict(line.split("==") for line in content["dependencies"][-1]["pip"])
        assert packages == module.pins(ROOT / "envs" / source) and "python=3.11" in content["dependencies"]


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("envs/constraints.txt", r"^torch==", "torch>=", "torch>=.* is no `package==version`"),
        ("envs/constraints.txt", r"^numpy==.*\n", "", "numpy, which pyproject.toml names, is not pinned"),
        ("envs/constraints.txt", r"^pytest==.*\n", "", "pytest, which pyproject.toml names, is not pinned"),
        ("envs/constraints.txt", r"^torch==.*$", "torch==1.0", "conda-cpu.yaml: not what constraints.txt makes"),
        ("envs/conda-gpu.yaml", r"torch==", "torch==1.", "conda-gpu.yaml: not what gpu.txt makes"),
        ("envs/gpu.txt", r"^torch==.*$", "torch==1.0", "gpu.txt: torch 1.0, but constraints.txt has"),
        ("envs/gpu.txt", r"^regex==.*\n", "", "gpu.txt: regex, which pyproject.toml names, is not pinned"),
        ("envs/Dockerfile", r'-c "envs/\$PINS" \$F', "$F", "Dockerfile: installs without the constraints"),
        ("envs/Dockerfile", r"PINS=constraints", "PINS=none", "Dockerfile: does not take constraints.txt"),
        ("envs/Dockerfile", r"python:3.11", "python:3.9", "its Python is not one of"),
        ("envs/hiper.def", r" g\+\+", "", r"hiper.def: does not install g\+\+"),
        ("envs/hiper.def", r"CMAKE_POLICY_VERSION_MINIMUM=3.5", "", "does not set CMAKE_POLICY_VERSION_MINIMUM=3.5"),
        ("envs/hiper.def", r"\[deepspeed\]", "[gpus]", "the extra gpus, which pyproject.toml does not have"),
    ],
)
def test_a_disagreement_is_found(
    copied: ModuleType, tmp_path: Path, name: str, old: str, new: str, problem: str
) -> None:
    """Each kind of it, with the file that is wrong."""
    path = tmp_path / name
    path.write_text(re.sub(old, new, path.read_text(), flags=re.MULTILINE))
    try:
        found = "\n".join(copied.problems())
    except ValueError as error:
        found = str(error)
    assert re.search(problem, found)


def test_what_the_container_recipes_copy_is_there_and_reaches_the_builder() -> None:
    """Every source exists, and .dockerignore, which leaves everything out, lets it in."""
    dockerfile = (ROOT / "envs" / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", dockerfile, flags=re.MULTILINE) for name in line.split()}
    definition = (ROOT / "envs" / "hiper.def").read_text()
    files = re.search(r"^%files\n(.*?)^%", definition, flags=re.MULTILINE | re.DOTALL)
    assert files is not None
    assert {line.split()[0] for line in files[1].splitlines() if line.strip()} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert copied <= {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}


def test_pins_for_gpus_hold_on_every_python_of_the_project() -> None:
    """vLLM 0.32 wants setuptools from 77 and, on Python 3.12, below 81; only there something wants six."""
    pins = load(ROOT).pins(ROOT / "envs" / "gpu.txt")
    assert pins["vllm"].startswith("0.32.") and 77 <= int(pins["setuptools"].split(".")[0]) < 81
    assert "six" in pins
