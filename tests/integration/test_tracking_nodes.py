"""Runs on several nodes and one MLflow server: real processes, a real server with a database, on this machine."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import ROOT
from pipeline import RUN as TRAINED
from pipeline import WARM as STARTED
from test_tracking_outages import Server, free_port
from waiting import wait_for

from hiper import tracking
from hiper.compose import compose_run, write_config
from hiper.records import read_json, write_json, write_jsonl
from hiper.tracking.mirror import RESULTS, RUN, Mirror
from hiper.tracking.shown import PARENT

pytestmark = pytest.mark.xdist_group("mlflow")
MANIFEST = {"git": {"commit": "c0ffee", "dirty": False}, "data": {"dvc": "1e.dir"}}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other server, and no proxy before this machine's own addresses."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a server on a busy machine answers late


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Two finished runs, as their nodes have written them to the shared disk; nothing of MLflow."""
    folder = tmp_path / "results" / "test"
    for name, counter in ((TRAINED, "iteration"), (STARTED, "step")):
        run = folder / "runs" / name
        write_config(compose_run("test", name, ROOT), run / "config.yaml")
        write_jsonl(run / "metrics.jsonl", [{counter: i, "train/success": i / 8} for i in (1, 2, 3)])
        write_json(run / "manifest.json", MANIFEST)
    return folder


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    shutil.copy(empty_database, made.folder / "server.db")
    made.start()
    try:
        yield made
    finally:
        made.kill()


def node(run: Path, job: int, address: str) -> subprocess.Popen[str]:
    """What runs beside a training on a node, here one that has just ended."""
    training = subprocess.Popen([sys.executable, "-c", ""])
    training.wait()
    command = [sys.executable, "-m", "hiper", "track", "follow", str(run), "--process", str(training.pid)]
    variables = {**os.environ, "MLFLOW_TRACKING_URI": address, "SLURM_JOB_ID": str(job)}
    return subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True)


def test_nodes_that_begin_at_once_share_one_experiment(
    experiment: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no `track init` before: each run once, whole, in the experiment's own name."""
    nodes = [node(experiment / "runs" / name, job, server.address) for job, name in enumerate((TRAINED, STARTED), 1)]
    for one in nodes:
        _, errors = one.communicate()
        assert one.returncode == 0, errors
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    tracking.sync(experiment)  # what two that collided have left undone
    mirror = Mirror(experiment)
    runs = mirror.client.search_runs([mirror.experiment_id])
    assert sorted(run.data.tags[RUN] for run in runs) == sorted([TRAINED, STARTED, RESULTS])
    (parent,) = (run.info.run_id for run in runs if run.data.tags[RUN] == RESULTS)
    runs = [run for run in runs if run.info.run_id != parent]
    assert {run.data.tags[PARENT] for run in runs} == {parent}  # whichever of them began it
    assert mirror.client.get_experiment(mirror.experiment_id).name == "test"
    for run in runs:
        history = mirror.client.get_metric_history(run.info.run_id, "train/success")
        assert sorted((metric.step, metric.value) for metric in history) == [(i, i / 8) for i in (1, 2, 3)]
        assert run.info.status == "FINISHED"
    assert not (experiment / "tracking" / "mlflow.db").exists()


def test_a_node_writes_no_live_records_into_a_file(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a server several computers would write one sqlite file: none does, and it is said why."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with caplog.at_level(logging.INFO):
        assert tracking.start_follower(experiment / "runs" / STARTED) is None
    assert "MLFLOW_TRACKING_URI" in caplog.text and not (experiment / "tracking").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    run = experiment / "runs" / STARTED
    follower = tracking.start_follower(run)
    assert follower is not None
    wait_for(lambda: "no records for now" in (run / "tracking.log").read_text())
    write_json(run / "manifest.json", MANIFEST)  # the run ends
    assert follower.wait() == 0


def test_of_several_owners_the_first_decides(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that finds none and is overtaken takes the other's name, and leaves nothing behind."""
    path = experiment / "tracking" / "mirror.json"
    mirror = object.__new__(Mirror)
    mirror.tracking, mirror.token = path.parent, "mine"
    overtaken = os.link

    def late(source: Path, target: Path) -> None:
        write_json(path, {"mirror": "theirs"})
        overtaken(source, target)

    monkeypatch.setattr(os, "link", late)
    assert mirror._owner() == "theirs"
    monkeypatch.undo()
    assert mirror._owner() == "theirs" and read_json(path) == {"mirror": "theirs"}
    assert [entry.name for entry in path.parent.iterdir()] == ["mirror.json"]
