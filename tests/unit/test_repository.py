"""The repository itself: what may not be in it, and what every rule must have."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from project import ROOT, project_files

NAME = re.compile(r"[a-z0-9_.]+")


def tracked() -> list[Path]:
    return [ROOT / name for name in project_files() if (ROOT / name).is_file()]


def test_no_file_names_a_place_on_one_machine() -> None:
    """Absolute paths of homes and work folders belong to nobody else's machine."""
    # spelt in parts, so that this file does not find itself
    places = re.compile(rf"(?<![\w.])/(?:{'|'.join(('home', 'Users', 'work', 'root', 'mnt', 'scratch'))})/\w")
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{n}: {line}" for n, line in enumerate(lines, 1) if places.search(line)]
    assert found == []


def test_no_large_file_is_tracked() -> None:
    """Data belongs to DVC, results to nobody."""
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1_000_000]
    assert large == []


def test_every_rule_has_log_benchmark_threads_and_resources() -> None:
    """And each rule file opens with its contract."""
    rules = 0
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = path.read_text()
        assert text.startswith("# "), f"{path.name}: begin with the contract of its rules"
        for body in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
            rules += 1
            for directive in ("output", "log", "benchmark", "threads", "resources", "params", "shell"):
                assert re.search(rf"^    {directive}:", body, flags=re.MULTILINE), f"{path.name}, {body.split(':')[0]}"
    assert rules >= 8


def test_rules_call_commands_only() -> None:
    """`hiper …` or `dvc …`, perhaps behind what starts it on several GPUs, messages to the log and to the terminal:
    nothing untestable in shell or Python."""
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = path.read_text()
        assert not re.search(r"^    (run|script|notebook):", text, flags=re.MULTILINE)
        for shell in re.findall(r"^    shell:\n((?:        .*\n)+)", text, flags=re.MULTILINE):
            command = "".join(part.strip().strip('"') for part in shell.splitlines())
            assert re.match(r"(\{params\.launcher\})?(hiper|dvc) ", command), path.name
            assert command.endswith("2>&1 | tee {log:q}"), path.name


def test_the_snakefile_can_be_read_at_a_glance() -> None:
    """At most 60 lines."""
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 60


def test_configuration_files_have_names_that_run_names_can_hold() -> None:
    """A dash would break `<benchmark>-<model>-<algorithm>-seed<n>`."""
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert NAME.fullmatch(path.stem), path


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml names, envs/constraints.txt pins, each package once, in alphabetical order."""
    lines = (ROOT / "envs" / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==")[0] for line in lines if line and not line.startswith("#")]
    assert all("==" in line for line in lines if line and not line.startswith("#"))
    assert pins == sorted(set(pins))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert [name for name in wanted if name not in pins] == []


def test_the_installed_packages_are_the_pinned_ones() -> None:
    """The tests speak about the environment that `make` builds."""
    from importlib.metadata import version

    lines = (ROOT / "envs" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for name in ("torch", "transformers", "numpy", "snakemake", "hydra-core", "dvc", "mlflow", "alfworld"):
        assert version(name).split("+")[0] == pins[name]


def test_the_pinned_packages_take_every_python_that_the_project_does() -> None:
    """The first release of a version, too: Debian 12 has an early one. Read of those that are installed."""
    from importlib.metadata import distributions

    from packaging.specifiers import SpecifierSet

    lines = (ROOT / "envs" / "constraints.txt").read_text().splitlines()
    pins = {line.partition("==")[0] for line in lines if line and not line.startswith("#")}
    found = {one.name.lower().replace("_", "-"): one.metadata.get("Requires-Python") or "" for one in distributions()}
    wanted = {name: SpecifierSet(found[name]) for name in pins & found.keys()}
    assert len(wanted) > 200
    assert [name for name, allowed in wanted.items() if not ("3.11.0" in allowed and "3.12.0" in allowed)] == []


def test_what_others_cite_is_this_version() -> None:
    """CITATION.cff has the version and the licence of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_package_imports_on_its_own() -> None:
    """`import hiper` needs no configuration and prints nothing."""
    done = subprocess.run([sys.executable, "-c", "import hiper"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
