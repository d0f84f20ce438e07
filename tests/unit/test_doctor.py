"""`hiper doctor` on real folders: what it finds, what it says to do, and when it fails."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
import yaml

from hiper.benchmarks.alfworld.games import Game, write_index
from hiper.cli.main import main
from hiper.compose import load_benchmark
from hiper.errors import UserError
from hiper.locks import exclusive
from hiper.views import doctor, machine
from hiper.views.datasets import data_finding
from hiper.views.machine import Finding
from hiper.views.terminal import console

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tracking server, no games named by the environment, no model cache, and no proxy before this machine."""
    for name in ("MLFLOW_TRACKING_URI", "ALFWORLD_DATA"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-models"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's pins and configurations, without data and results; four experiments of one algorithm will do."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "configs", folder / "configs")
    for path in (folder / "configs" / "experiment").glob("*.yaml"):
        if path.stem not in ("demo", "test", "paper", "alfworld_real"):
            path.unlink()
            continue
        values = yaml.safe_load(path.read_text())
        values["grid"]["algorithms"] = values["grid"]["algorithms"][:1]
        path.write_text("# @package _global_\n" + yaml.safe_dump(values))
    (folder / "envs").mkdir()
    shutil.copy(ROOT / machine.PINS, folder / machine.PINS)
    return folder


def found(findings: Sequence[Finding], section: str, name: str) -> list[Finding]:
    return [finding for finding in findings if (finding.section, finding.name) == (section, name)]


def test_a_fresh_clone_can_run_the_demo(project: Path) -> None:
    """With the packages installed nothing is missing: games are made by the run, the paper's GPU is optional."""
    findings = doctor.diagnose(project)
    assert doctor.able(findings)
    assert [finding.state for finding in found(findings, "Experiments", "demo")] == ["ok"]
    (games,) = found(findings, "Data", "alfworld_small")
    assert games.state == "optional" and "generation" in games.detail and "hiper data repro" in games.remedy
    assert all(finding.remedy for finding in findings if finding.state == "missing")


def test_what_the_experiment_named_lacks_is_missing(project: Path) -> None:
    """Its model is not in the cache: an obstacle for it alone, and the message says how to get it."""
    paper = doctor.diagnose(project, "paper")
    lacking = [finding for finding in found(paper, "Experiments", "paper") if "model" in finding.detail]
    assert {finding.state for finding in lacking} == {"missing"} and not doctor.able(paper)
    assert "hiper model Qwen/Qwen2.5-1.5B-Instruct --download" in lacking[0].remedy
    assert {finding.name for finding in paper if finding.section == "Experiments"} == {"paper"}
    others = found(doctor.diagnose(project), "Experiments", "paper")
    assert {finding.state for finding in others} == {"optional"}


def test_a_model_folder_with_weights_is_enough(project: Path, tmp_path: Path) -> None:
    """A path instead of a name is looked at on the disk."""
    weights = tmp_path / "weights"
    weights.mkdir()
    for model in ("qwen2.5_1.5b_instruct", "qwen2.5_7b_instruct"):
        text = f"name: {model}\npath: {weights}\nscratch: null\nlora: null\n"
        (project / "configs" / "model" / f"{model}.yaml").write_text(text)
    assert any(
        "lacks config.json, tokenizer.json, model.saf" in one.detail for one in doctor.diagnose(project, "paper")
    )
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (weights / name).write_text("{}")
    assert not any(
        "lacks config" in one.detail or "not on this" in one.detail for one in doctor.diagnose(project, "paper")
    )


def test_a_mistake_in_a_configuration_is_shown(project: Path) -> None:
    """The demo's stops the demo; another experiment's does not."""
    path = project / "configs" / "experiment" / "alfworld_real.yaml"
    path.write_text(path.read_text() + "\ntrainig: {}\n")
    findings = doctor.diagnose(project)
    (finding,) = found(findings, "Experiments", "alfworld_real")
    assert finding.state == "optional" and "trainig" in finding.detail and doctor.able(findings)
    assert not doctor.able(doctor.diagnose(project, "alfworld_real"))
    with pytest.raises(UserError, match=r"alfworld_rael.*alfworld_real"):
        doctor.diagnose(project, "alfworld_rael")


def test_data_sets_are_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, fewer than the official ones, cut short, with games gone, with a split empty that is evaluated, or to come
    from a folder that is not there, is another one, or lacks the game files of a split."""
    folder = project / "data" / "alfworld_small"
    path = project / "configs" / "benchmark" / "alfworld_small.yaml"
    kind = "look_at_obj_in_light"
    splits = ("train", "valid_seen", "valid_unseen")
    games = [Game(f"{split}/look-1/trial", split, kind, folder / split / "look-1" / "trial") for split in splits]
    for game in games:
        game.folder.mkdir(parents=True)
        (game.folder / "game.tw-pddl").write_text("{}")

    def seen() -> Finding:
        return data_finding(load_benchmark(path), project, "missing")

    write_index(folder, "alfworld_small", {"kind": "generate"}, games)
    (few,) = found(doctor.diagnose(project, "demo"), "Data", "alfworld_small")
    assert few.state == "missing" and few.detail.startswith("demonstrations.tasks=2400 leave no task for RL")
    assert (seen().state, seen().detail) == ("ok", "3 games, source: generate")
    (games[0].folder / "game.tw-pddl").unlink()
    assert seen().state == "missing" and "1 of 3 games are gone" in seen().detail
    write_index(folder, "alfworld_small", {"kind": "generate"}, games[1:2])
    assert seen().state == "missing" and "1 games, none in the split train, valid_unseen of the" in seen().detail
    (folder / "dataset.json").write_text('{"dataset": ')
    assert seen().state == "missing" and "not valid JSON" in seen().detail and "rm " not in seen().remedy
    (folder / "dataset.json").unlink()
    path.write_text(path.read_text().replace("source: generate", "source: folder"))
    assert seen().state == "missing" and "ALFWORLD_DATA" in seen().detail
    path.write_text(path.read_text().replace("source: folder", "source: auto"))
    for place, words in (
        ("mistyped", "mistyped"),
        ("data", f"name {folder} instead"),
        ("data/alfworld_small", "/train"),
    ):
        monkeypatch.setenv("ALFWORLD_DATA", str(project / place))
        assert seen().state == "missing" and words in seen().detail
    (games[0].folder / "game.tw-pddl").write_text("{}")
    assert seen().state == "optional" and f"will come from the folder {folder}" in seen().detail


def test_a_missing_package_is_named_with_the_way_to_get_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one of another version; a compiler is needed as long as packages are."""
    monkeypatch.setattr(machine, "_required", lambda: ({"numpy", "no-such-package"}, {"mine": {"another-one"}}))
    monkeypatch.setenv("PATH", "")
    pins = project / machine.PINS
    pins.write_text(pins.read_text().replace("numpy==", "numpy==0."))
    findings = list(machine.examine(project))
    (packages,) = found(findings, "Software", "packages")
    assert packages == Finding("Software", "packages", "missing", "not installed: no-such-package", machine.SETUP)
    (extra,) = found(findings, "Software", "extra mine")
    assert (extra.state, extra.detail) == ("optional", "not installed: another-one") and "-e '.[mine]'" in extra.remedy
    assert "numpy" in found(findings, "Software", "versions")[0].detail
    assert found(findings, "Software", "git")[0].state == "optional"
    for tool in ("make", "c++"):
        (finding,) = found(findings, "Software", tool)
        assert finding.state == "missing" and "apt install" in finding.remedy


def test_a_project_without_a_commit_can_run_and_is_told(project: Path) -> None:
    """As one from a ZIP is; a link to a disk that is not mounted keeps it from running."""
    findings = doctor.diagnose(project, "test")
    (commit,) = found(findings, "Project", "commit")
    assert commit.state == "optional" and "not a git repository" in commit.detail
    assert doctor.able(findings)
    (project / "data").symlink_to(project / "not mounted")
    (folder,) = found(doctor.diagnose(project, "test"), "Folders", "data")
    assert folder.state == "missing" and "not mounted" in folder.detail


def test_runs_going_on_and_runs_cut_short_are_told_apart(project: Path) -> None:
    """The first with who writes them, the second with what to do."""
    folder = project / "results" / "demo" / "runs" / "a-b-c-seed0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "00000001.pt").write_bytes(b"")
    name = "results/demo/runs/a-b-c-seed0"
    (cut,) = found(doctor.diagnose(project, "demo"), "Runs", name)
    assert cut.state == "optional" and "goes on" in cut.remedy
    with exclusive(folder):
        (going,) = found(doctor.diagnose(project, "demo"), "Runs", name)
    assert going.state == "ok" and f"process {os.getpid()}" in going.detail


def test_tracking_is_looked_at_without_its_password(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses, a wrong address, a damaged database: optional, each with what to do, no secret shown."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@{address}")
    findings = doctor.diagnose(project, "demo")
    (refused,) = found(findings, "Tracking", "MLflow")
    assert refused.state == "optional" and f"http://{address} does not answer" in refused.detail
    assert "hunter2" not in str(findings) and doctor.able(findings)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    (wrong,) = found(doctor.diagnose(project, "demo"), "Tracking", "MLflow")
    assert "http[s]://" in wrong.detail
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    damaged = project / "results" / "demo" / "tracking" / "mlflow.db"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no database" * 1000)
    (damage,) = found(doctor.diagnose(project, "demo"), "Tracking", "MLflow")
    assert damage.state == "optional" and "hiper track sync results/demo" in damage.remedy


def test_the_report_is_plain_text_with_sections_and_a_conclusion() -> None:
    """Away from a terminal there are no escape sequences; brackets are text."""
    findings = [
        Finding("Data", "games", "missing", "none [yet]", "make them"),
        Finding("Data", "more", "optional", "none"),
        Finding("Machine", "cores", "ok", "2"),
    ]
    stream = StringIO()
    doctor.show(console(stream), findings, "the demo")
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert "\x1b" not in stream.getvalue()
    assert lines[1:5] == [
        "Data",
        "MISSING   games  none [yet]",
        "                 → make them",
        "optional  more   none",
    ]
    assert lines[-1] == "the demo cannot run here yet; see: games"
    stream = StringIO()
    doctor.show(console(stream), findings[1:], "the demo")
    assert stream.getvalue().rstrip().endswith("the demo can run here")


def test_the_command_fails_when_its_experiment_cannot_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and nothing written; outside a project it says where to go."""
    before = sorted(project.rglob("*"))
    monkeypatch.chdir(project)
    assert main(["doctor", "--experiment", "paper"]) == 1
    assert "experiment paper cannot run here yet" in capsys.readouterr().out
    assert sorted(project.rglob("*")) == before
    monkeypatch.chdir(project.parent)
    assert main(["doctor", "--experiment", "demo"]) == 2
    assert "project's root" in capsys.readouterr().err
