"""Tracking never gates: whatever happens to MLflow, training ends with the same bytes, and one command brings the
records later. Everything is real: the training, its follower process, locks, sockets, files and the MLflow server.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest
from pipeline import ROOT, run_settings
from pipeline import RUN as NAME
from waiting import wait_for

from hiper import tracking
from hiper.compose import write_config
from hiper.config import RunSettings
from hiper.records import read_json, read_jsonl
from hiper.stages import training
from hiper.tracking.mirror import RUN, Mirror

FILES = ("metrics.jsonl", "model/model.safetensors", "model/value_heads.safetensors")
SECRET = "hunter2-not-to-be-seen"
pytestmark = pytest.mark.xdist_group("outages")  # one server and one warm start for all


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracking server unless a test names one; no proxy before this machine's own addresses; variables that the code
    sets for its process are put back."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    for name in tracking.destination.BOUNDS:
        monkeypatch.setenv(name, tracking.destination.BOUNDS[name])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a server on a busy machine answers late
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    return run_settings(training__iterations=3, tracking__live=True)


@pytest.fixture(scope="module")
def prepared(prepared: Path, tmp_path_factory: pytest.TempPathFactory, settings: RunSettings) -> Path:
    """Games, a warm start, and in `undisturbed` a run without a mirror."""
    quiet = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"live": False})})
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("outages") / "prepared"))
    training.run(quiet, folder / "warmstart" / "model", folder / "undisturbed", folder / "data")
    return folder


class Outage:
    """A real run with its real follower, and what happens to MLflow while it goes on."""

    def __init__(
        self,
        prepared: Path,
        empty_database: Path,
        results: Path,
        settings: RunSettings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.prepared, self.settings, self.monkeypatch = prepared, settings, monkeypatch
        self.experiment = results / "results" / "test"
        self.folder = self.experiment / "runs" / NAME
        self.database = self.experiment / "tracking" / "mlflow.db"
        write_config(settings, self.folder / "config.yaml")
        self.database.parent.mkdir()
        shutil.copy(empty_database, self.database)

    def train(self, between: Callable[[], None] | None = None) -> str:
        """Train, `between` the first two iterations, wait for the follower; the training's files must be those of the
        undisturbed run. The follower's log."""
        real, start, followers = training.Trainer.iterate, training.start_follower, []

        def iterate(trainer: training.Trainer, iteration: int) -> Any:
            if iteration == 1 and between is not None:
                between()
            return real(trainer, iteration)

        def started(folder: Path) -> Any:
            followers.append(start(folder))
            return followers[0]

        self.monkeypatch.setattr(training.Trainer, "iterate", iterate)
        self.monkeypatch.setattr(training, "start_follower", started)
        training.run(self.settings, self.prepared / "warmstart" / "model", self.folder, self.prepared / "data")
        for name in FILES:
            expected = (self.prepared / "undisturbed" / name).read_bytes()
            assert (self.folder / name).read_bytes() == expected, name
        assert followers[0].wait() == 0
        return (self.folder / "tracking.log").read_text()

    def wait_for_records(self) -> None:
        """Until the first iteration's row has been mirrored."""
        wait_for(lambda: "records go to" in (self.folder / "tracking.log").read_text())

    def sync(self) -> None:
        """The one command, as a person gives it; then everything that the run wrote is in the records."""
        command = [sys.executable, "-m", "hiper", "track", "sync", str(self.experiment)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "1 runs; added" in done.stderr
        self.require_records()

    def require_records(self) -> None:
        mirror = Mirror(self.experiment)
        (run,) = mirror.client.search_runs([mirror.experiment_id], f"tags.`{RUN}` = '{NAME}'")
        for row in read_jsonl(self.folder / "metrics.jsonl"):
            for name in row.keys() - {"iteration"}:
                history = mirror.client.get_metric_history(run.info.run_id, name)
                assert [metric.value for metric in history if metric.step == row["iteration"]] == [row[name]], name
        files = {item.path for item in mirror.client.list_artifacts(run.info.run_id)}
        assert run.info.status == "FINISHED" and {"config.yaml", "manifest.json"} <= files
        assert run.data.params["training.iterations"] == "3"


@pytest.fixture
def outage(
    prepared: Path, empty_database: Path, tmp_path: Path, settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> Outage:
    return Outage(prepared, empty_database, tmp_path, settings, monkeypatch)


def test_a_locked_database(outage: Outage) -> None:
    """Somebody holds an exclusive transaction during the whole run: the follower says who, the run notices nothing."""
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print('locked')"
    command = [sys.executable, "-u", "-c", f"{program}; sys.stdin.read()", str(outage.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
            log = outage.train()
        finally:
            holder.kill()
    assert f"locked by process {holder.pid}" in log and "hiper track sync" in log
    assert log.count("no records for now") == 1
    outage.sync()


def test_a_damaged_database(outage: Outage) -> None:
    """It is set aside, kept, and made anew; the records are complete after the run, with one command at the latest."""
    content = outage.database.read_bytes()
    outage.database.write_bytes(content[: len(content) // 3])
    spoilt = outage.database.read_bytes()
    log = outage.train()
    assert "was damaged" in log
    assert (outage.database.parent / "damaged-1" / "mlflow.db").read_bytes() == spoilt
    outage.require_records()


def test_a_database_deleted_in_the_middle_of_a_run(outage: Outage) -> None:
    """The follower notices that the file it writes to is gone and fills a new one."""

    def delete() -> None:
        outage.wait_for_records()
        outage.database.unlink()

    outage.train(delete)
    with closing(sqlite3.connect(outage.database)) as opened:
        assert opened.execute("select count(*) from metrics").fetchone() > (0,)
    outage.require_records()


def test_a_server_that_never_answers(outage: Outage, capfd: pytest.CaptureFixture[str]) -> None:
    """A real socket accepts and stays silent: commands come back, the run goes on, no password shows anywhere."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=lambda: accept_all(silent, held), daemon=True).start()
        port = silent.getsockname()[1]
        outage.monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{SECRET}@127.0.0.1:{port}")
        outage.monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        tracking.initialize(outage.experiment, best_effort=True)
        log = outage.train()
        silent.shutdown(socket.SHUT_RDWR)
    assert held and read_json(outage.experiment / "tracking" / "experiment.json")["experiment_id"] is None
    assert "timeout" in log and "hiper track sync" in log
    require_no_secret(outage.experiment.parent, capfd.readouterr())
    outage.monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    tracking.sync(outage.experiment)
    outage.require_records()


def accept_all(listener: socket.socket, held: list[socket.socket]) -> None:
    """Take every connection and keep it open without a word."""
    try:
        while True:
            held.append(listener.accept()[0])
    except OSError:
        return


def require_no_secret(folder: Path, streams: Any) -> None:
    assert SECRET not in streams.out + streams.err
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_a_port_that_refuses(outage: Outage, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody listens: one line in the follower's log, and a command that says what to do."""
    outage.monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{SECRET}@127.0.0.1:{free_port()}")
    log = outage.train()
    assert log.count("no records for now") == 1 and "hiper track sync" in log
    tracking.sync(outage.experiment, best_effort=True)
    assert read_json(outage.experiment / "tracking" / "synced.json") == {"runs": None}
    require_no_secret(outage.experiment.parent, capfd.readouterr())


class Server:
    """A real `mlflow server` on a free port of this machine, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)

    def start(self) -> None:
        stores = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        stores += ["--artifacts-destination", str(self.folder / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""}
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--workers", "1", *stores],
                env=variables,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with build_opener(ProxyHandler({})).open(f"{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        """The whole group, at once, as when the machine it runs on dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(empty_database, made.folder / "server.db")
    made.start()
    try:
        yield made
    finally:
        made.kill()


def test_a_server_that_dies_in_the_middle_of_a_run(outage: Outage, server: Server) -> None:
    """After its return one command brings everything, without touching what others have in the same experiment; a
    rebuild replaces our runs alone, and a deleted experiment comes back."""
    outage.monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    outage.database.unlink()

    def die() -> None:
        outage.wait_for_records()
        server.kill()

    log = outage.train(die)
    assert f"records go to {server.address}" in log and "no records for now" in log
    server.start()
    others = Mirror(outage.experiment)
    run = others.client.create_run(others.experiment_id, tags={RUN: "someone-elses-mirror-seed0"})
    others.client.create_run(others.experiment_id, run_name="by hand")
    tracking.sync(outage.experiment)
    outage.require_records()
    tracking.rebuild(outage.experiment)
    outage.require_records()
    assert others.client.get_run(run.info.run_id).info.lifecycle_stage == "active"
    # theirs, ours and the one that ours lie under
    assert len(others.client.search_runs([others.experiment_id])) == 4
    others.client.delete_experiment(others.experiment_id)
    tracking.sync(outage.experiment)
    outage.require_records()
    assert not outage.database.exists()
