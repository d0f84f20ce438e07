"""Every stage killed at many points, then run again: the same command ends with the bytes of an undisturbed run.

`HIPER_FAULTS=200 pytest tests/integration/test_faults.py` tries more points; `HIPER_FAULT_SEED` draws others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pipeline
import pytest
import yaml
from pipeline import GAMES, ROOT, RUN_FOLDER, WARM_FOLDER

from hiper.locks import exclusive
from hiper.runs.comparison import compare
from hiper.tracking.readings import RunFiles

POINTS = int(os.environ.get("HIPER_FAULTS", "3"))
SEED = int(os.environ.get("HIPER_FAULT_SEED", "0"))
KILLED = {-signal.SIGKILL, -signal.SIGXFSZ, -signal.SIGALRM}
STAGES = {
    "data": ["data", "make", f"configs/benchmark/{GAMES.name}.yaml", "--output", str(GAMES)],
    **pipeline.STAGES,
}


class Server:
    """The process that runs commands and lets them die."""

    def __init__(self, log: Path) -> None:
        self.log = log
        command = [sys.executable, str(ROOT / "tests" / "integration" / "fault_server.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, folder: Path, argv: list[str], **fault: Any) -> tuple[int, int]:
        """(exit status, operations that changed the file system)."""
        assert self.process.stdin is not None
        request = {"folder": str(folder), "log": str(self.log), "argv": argv, "fault": fault}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status, events = json.loads(self.answer())
        return status, events

    def succeed(self, folder: Path, argv: list[str]) -> int:
        status, events = self.run(folder, argv)
        assert status == 0, self.log.read_text()
        return events

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server") / "output.log")
    yield made
    made.close()


@dataclass(frozen=True)
class Undisturbed:
    """A stage that ran whole: the folder before and after it, and how often it changed the file system."""

    before: Path
    after: Path
    changes: int


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    """All stages, one after the other, each leaving a folder of its own."""
    root = tmp_path_factory.mktemp("undisturbed")
    folder = root / "start"
    shutil.copytree(ROOT / "configs", folder / "configs")
    path = folder / "configs" / "experiment" / "test.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["training"]["iterations"] = 4
    settings["tracking"] = {"live": False}
    path.write_text("# @package _global_\n" + yaml.safe_dump(settings))
    for run in (WARM_FOLDER, RUN_FOLDER):
        server.succeed(folder, ["compose", "test", run.name, "--output", f"{run}/config.yaml"])
    found = {}
    for stage, argv in STAGES.items():
        shutil.copytree(folder, root / stage)
        found[stage] = Undisturbed(folder, root / stage, server.succeed(root / stage, argv))
        folder = root / stage
    return found


def draw(stage: str, whole: Undisturbed) -> list[dict[str, int]]:
    """Faults of a stage: operations at random, and file sizes at random up to the largest file it writes."""
    random = np.random.default_rng([SEED, *stage.encode()])
    written = [path for path in whole.after.rglob("*") if not (whole.before / path.relative_to(whole.after)).exists()]
    largest = max(path.stat().st_size for path in written if path.is_file())
    chosen = [{"event": int(number)} for number in random.integers(1, whole.changes + 1, size=POINTS)]
    return [*chosen, *({"bytes": int(size)} for size in random.integers(1, largest, size=max(1, POINTS // 3)))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_goes_on_and_ends_with_the_same_bytes(
    stage: str, server: Server, undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    """Killed at one point after the other, in the same folder; what it leaves at last equals an undisturbed run's."""
    whole, folder, deaths = undisturbed[stage], tmp_path / "folder", 0
    shutil.copytree(whole.before, folder)
    for fault in draw(stage, whole):
        status, _ = server.run(folder, STAGES[stage], **fault)
        assert status == 0 or status in KILLED, (fault, status, server.log.read_text())
        deaths += status != 0
    server.succeed(folder, STAGES[stage])
    assert deaths > 0
    assert compare(whole.after, folder)[1] == []
    assert list(folder.rglob("*.partial")) == []


@pytest.mark.parametrize("stage", ["warmstart", "train", "evaluate"])
def test_the_second_process_in_a_run_folder_is_told_who_the_first_is(
    stage: str, server: Server, undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    """Exit status 2, one message that names the process, and no file touched."""
    folder = tmp_path / "folder"
    shutil.copytree(undisturbed[stage].before, folder)
    with exclusive(folder / (WARM_FOLDER if stage == "warmstart" else RUN_FOLDER)):
        assert server.run(folder, STAGES[stage])[0] == 2
    assert f"process {os.getpid()} on" in server.log.read_text() and "Traceback" not in server.log.read_text()
    assert compare(undisturbed[stage].before, folder)[1] == []


def test_a_damaged_checkpoint_is_passed_over_loudly(
    server: Server, undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    """The newest of two is cut short: the log names it, the one before it is used, and the end is the same."""
    whole, folder = undisturbed["train"], tmp_path / "folder"
    shutil.copytree(whole.before, folder)
    kept: list[Path] = []
    point = 0
    while len(kept) < 2:  # die at one operation after the other until two checkpoints are there
        point += 5
        server.run(folder, STAGES["train"], event=point)
        kept = sorted((folder / RUN_FOLDER / "checkpoints").glob("*.pt"))
    kept[-1].write_bytes(kept[-1].read_bytes()[:-100])
    server.succeed(folder, STAGES["train"])
    log = server.log.read_text()
    assert f"{kept[-1].name} is damaged" in log
    assert f"resuming after iteration {int(kept[-2].stem)} of 4" in log
    assert compare(whole.after, folder)[1] == []


def test_records_killed_while_they_are_written_are_complete_after_one_command(
    server: Server, undisturbed: dict[str, Undisturbed], tmp_path: Path
) -> None:
    """`hiper track sync` and `rebuild` die at random moments, MLflow's write transactions among them; one more `sync`,
    and the database has every number of the files exactly once."""
    from mlflow import MlflowClient  # takes a while

    folder, deaths = tmp_path / "folder", 0
    shutil.copytree(undisturbed["report"].after, folder)
    results = str(pipeline.RESULTS)
    random = np.random.default_rng([SEED, *b"tracking"])
    for seconds in random.uniform(0.05, 8.0, size=POINTS + 1):
        command = ["track", random.choice(["sync", "sync", "rebuild"]).item(), results]
        status, _ = server.run(folder, command, seconds=float(seconds))
        deaths += status in KILLED
    assert deaths > 0
    server.succeed(folder, ["track", "sync", results])
    client = MlflowClient(f"sqlite:///{folder / results / 'tracking' / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name == "test")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["hiper.run"] for run in runs) == sorted([WARM_FOLDER.name, RUN_FOLDER.name, "results"])
    for run in runs:
        if run.data.tags["hiper.run"] != "results":
            source = folder / results / "runs" / run.data.tags["hiper.run"]
            histories = [client.get_metric_history(run.info.run_id, name) for name in run.data.metrics]
            logged = [((metric.key, metric.step), metric.value) for history in histories for metric in history]
            wanted = RunFiles(source).read()
            assert sorted(logged) == sorted(wanted.items())
            assert run.info.status == "FINISHED"
