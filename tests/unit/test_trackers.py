"""A tracker is one class behind a contract and one line in a dict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hiper import tracking
from hiper.errors import UserError
from hiper.records import append_jsonl, read_json, write_json
from hiper.tracking.follower import CLUSTER_JOB, _Follower
from hiper.tracking.readings import RunFiles
from hiper.tracking.tracker import PATIENCE
from hiper.tracking.trackers import TRACKERS

RUN = "a-b-hiper-seed0"


class Folder:
    """A tracker that keeps a JSON file for each record."""

    title = "A folder"
    server_variable = "FOLDER_SERVER"

    def __init__(self, experiment: Path, patience: float = PATIENCE) -> None:
        self.experiment, self.patience, self.experiment_id, self.added = experiment, patience, "7", 0
        self.records = experiment / "records"
        self.records.mkdir(exist_ok=True)

    @property
    def place(self) -> str:
        return str(self.records)

    def current(self) -> bool:
        return self.records.is_dir()

    def run(self, folder: Path) -> None:
        values = {f"{name}@{step}": value for (name, step), value in RunFiles(folder).read().items()}
        write_json(self.records / f"{folder.name}.json", values)
        self.added += 1

    def results(self) -> None:
        if (self.experiment / "broken").exists():
            raise OSError("no room for results")

    def forget_all_but(self, names: set[str]) -> None:
        for path in self.records.glob("*.json"):
            if path.stem not in names:
                path.unlink()

    @classmethod
    @contextmanager
    def afresh(cls, experiment: Path) -> Iterator[None]:
        cls(experiment).forget_all_but(set())
        yield

    @staticmethod
    def message_of(error: BaseException) -> str:
        return f"explained: {error}"


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment with one run that has begun, whose tracker is a folder."""
    monkeypatch.setitem(TRACKERS, "folder", Folder)
    monkeypatch.setenv("HIPER_TRACKER", "folder")
    run = tmp_path / "test" / "runs" / RUN
    run.mkdir(parents=True)
    append_jsonl(run / "metrics.jsonl", {"iteration": 1, "train/success": 0.25})
    return tmp_path / "test"


def test_another_tracker_gets_what_mlflow_gets(experiment: Path) -> None:
    """Beginning, bringing up to date, following a run to its end, and making anew go through the contract alone."""
    tracking.initialize(experiment)
    assert read_json(experiment / "tracking" / "experiment.json")["experiment_id"] == "7"
    tracking.sync(experiment)
    record = experiment / "records" / f"{RUN}.json"
    assert read_json(record) == {"train/success@1": 0.25}
    append_jsonl(experiment / "runs" / RUN / "metrics.jsonl", {"iteration": 2, "train/success": 0.5})
    write_json(experiment / "runs" / RUN / "manifest.json", {})
    _Follower(experiment / "runs" / RUN, None).run()  # `follow` would make this process nicer for good
    assert read_json(record) == {"train/success@1": 0.25, "train/success@2": 0.5}
    write_json(experiment / "records" / "gone.json", {})
    tracking.rebuild(experiment)
    assert [path.name for path in (experiment / "records").iterdir()] == [record.name]
    assert not (experiment / "tracking" / "mlflow.db").exists()


def test_what_goes_wrong_is_told_in_the_trackers_words(experiment: Path) -> None:
    """The message names the tracker and says how to go on."""
    (experiment / "broken").touch()
    with pytest.raises(UserError, match=r"^A folder: explained: no room for results\nThe files are complete"):
        tracking.sync(experiment)


def test_no_run_is_followed_from_a_cluster_without_the_trackers_server(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Several computers must not write one file."""
    monkeypatch.setenv(CLUSTER_JOB, "1")
    caplog.set_level("INFO", "hiper")
    assert tracking.start_follower(experiment / "runs" / RUN) is None
    assert "without a tracking server (FOLDER_SERVER)" in caplog.text


def test_an_unknown_tracker_is_an_error_that_lists_the_known_ones(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's records go to another place than was asked for."""
    monkeypatch.setenv("HIPER_TRACKER", "paper")
    with pytest.raises(UserError, match=r"^HIPER_TRACKER='paper' is no tracker; there are: folder, mlflow"):
        tracking.sync(experiment)
