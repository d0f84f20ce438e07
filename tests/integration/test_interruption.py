"""SIGTERM and SIGUSR1 while a stage works: a checkpoint, exit status 75, in the end the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, RUN_FOLDER, STAGES, WARM_FOLDER, changed

from hiper.cli.main import main
from hiper.records import read_json, read_jsonl
from hiper.runs.comparison import compare

NEVER = 1000  # no checkpoint but the one that the signal asks for
SMALL = {
    "training__iterations": 4,
    "training__checkpoint_every": NEVER,
    "training__validation__every": 2,
    "warm_start__steps": 80,
    "warm_start__checkpoint_every": NEVER,
    "tracking": {"live": False},
}
RESULT = {"warmstart": WARM_FOLDER, "train": RUN_FOLDER}
PLACE = {"warmstart": "step", "train": "iteration"}


def hiper(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, begun."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "hiper", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """(exit status, messages)."""
    _, messages = process.communicate()
    return process.returncode, messages


def interrupt(folder: Path, stage: str, *signals: signal.Signals) -> tuple[int, str]:
    """Send `signals` to a stage once it has written a row of metrics."""
    process = hiper(folder, *STAGES[stage])
    metrics = folder / RESULT[stage] / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.02)
    for number in signals:
        process.send_signal(number)
    return finish(process)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder in which everything up to the training has run undisturbed."""
    folder: Path = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", folder / "configs")
    path = folder / "configs" / "experiment" / "test.yaml"
    path.write_text("# @package _global_\n" + yaml.safe_dump(changed(yaml.safe_load(path.read_text()), **SMALL)))
    commands = [["compose", "test", run.name, "--output", f"{run}/config.yaml"] for run in (WARM_FOLDER, RUN_FOLDER)]
    commands.append(["data", "make", "configs/benchmark/alfworld_test.yaml", "--output", "data/alfworld_test"])
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for command in [*commands, *(STAGES[name] for name in ("demonstrations", "tokenizer", "warmstart", "train"))]:
            patch.setattr(sys, "argv", ["hiper", *command])  # manifests name the command
            assert main(command) == 0
    return folder


def without(prepared: Path, folder: Path, stage: str) -> Path:
    """A copy of the project in which this stage has not run."""
    shutil.copytree(prepared, folder)
    for path in (folder / RESULT[stage]).iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


@pytest.mark.parametrize(("stage", "number"), [("warmstart", signal.SIGTERM), ("train", signal.SIGUSR1)])
def test_a_stage_asked_to_stop_saves_its_work_and_goes_on_to_the_same_bytes(
    prepared: Path, tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """One signal in the middle: status 75, one checkpoint at the place it names; the same command ends as if nothing
    had happened. Its time is that of both."""
    folder = without(prepared, tmp_path / "project", stage)
    status, messages = interrupt(folder, stage, number)
    assert status == os.EX_TEMPFAIL, messages
    assert "Traceback" not in messages
    (kept,) = (folder / RESULT[stage] / "checkpoints").glob("*.pt")
    assert f"{number.name}: stopped after {PLACE[stage]} {int(kept.stem)} of" in messages
    assert not (folder / RESULT[stage] / "manifest.json").exists()
    status, messages = finish(hiper(folder, *STAGES[stage]))
    assert status == 0 and "resuming" in messages, messages
    assert compare(prepared / RESULT[stage], folder / RESULT[stage])[1] == []
    elapsed = [row["elapsed"] for row in read_jsonl(folder / RESULT[stage] / "timings.jsonl")]
    assert (
        sorted(elapsed) == elapsed
        and read_json(folder / RESULT[stage] / "manifest.json")["wall_time_seconds"] >= elapsed[-1]
    )


def test_a_second_signal_stops_at_once_and_costs_only_the_iteration(prepared: Path, tmp_path: Path) -> None:
    """The process dies of it, as it would of an unhandled one, without a checkpoint; the next start ends the same."""
    folder = without(prepared, tmp_path / "project", "train")
    status, _ = interrupt(folder, "train", signal.SIGUSR1, signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert list((folder / RUN_FOLDER / "checkpoints").glob("*.pt")) == []
    assert finish(hiper(folder, *STAGES["train"]))[0] == 0
    assert compare(prepared / RUN_FOLDER, folder / RUN_FOLDER)[1] == []


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_other_commands_die_of_sigterm_even_where_they_were_started_with_it_ignored(prepared: Path) -> None:
    """The workflow's shells ignore the signal so that training may answer it; nothing else may become immortal."""
    command = [sys.executable, "-m", "hiper", "track", "follow", str(RUN_FOLDER), "--process", str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=prepared, env=environment, preexec_fn=ignores_sigterm)
    facts = Path(f"/proc/{process.pid}/status")
    while int(facts.read_text().split("SigIgn:")[1].split()[0], 16) & 1 << (signal.SIGTERM - 1):
        time.sleep(0.05)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
