"""The MLflow mirror, with the real MLflow on sqlite: what the files say, once, and again after a rebuild."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from hiper import tracking
from hiper.compose import compose_run, read_config, write_config
from hiper.errors import UserError
from hiper.records import append_jsonl, read_json, write_json, write_jsonl
from hiper.tracking.mirror import RESULTS, RUN, Mirror
from hiper.tracking.readings import evaluation_metrics, flatten, run_metrics

ROOT = Path(__file__).resolve().parent.parent.parent
TRAINED = "alfworld_test-test-hiper-seed0"
STARTED = "alfworld_test-test-warmstart-seed0"
pytestmark = pytest.mark.xdist_group("mlflow")  # one process makes the database that the tests copy


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without our experiment: making one takes ten seconds."""
    folder = tmp_path_factory.mktemp("mlflow") / "template"
    Mirror(folder)
    from mlflow import MlflowClient

    database = folder / "tracking" / "mlflow.db"
    client = MlflowClient(f"sqlite:///{database}")
    client.rename_experiment(client.get_experiment_by_name("template").experiment_id, "unused")
    return database


@pytest.fixture
def experiment(tmp_path: Path, empty_database: Path) -> Path:
    """An experiment folder with a finished RL run, an unfinished warm start and a result table."""
    folder = tmp_path / "results" / "test"
    for name, counter in ((TRAINED, "iteration"), (STARTED, "step")):
        run = folder / "runs" / name
        write_config(compose_run("test", name, ROOT), run / "config.yaml")
        rows = [{counter: i, "train/success": i / 8, "actor/kl": 1e-7 * i} for i in (1, 2, 3)]
        write_jsonl(run / "metrics.jsonl", rows)
    run = folder / "runs" / TRAINED
    write_jsonl(run / "timings.jsonl", [{"iteration": i, "rollout": 0.5 * i} for i in (1, 2, 3)])
    write_jsonl(run / "evaluation.jsonl", [episode(won, kind) for won in (True, False) for kind in ("look", "pick")])
    write_json(run / "manifest.json", {"git": {"commit": "c0ffee", "dirty": False}, "data": {"dvc": "1e.dir"}})
    (folder / "tables").mkdir()
    (folder / "tables" / "success.csv").write_text("algorithm,success\nhiper,0.5\n")
    (folder / "tracking").mkdir()
    shutil.copy(empty_database, folder / "tracking" / "mlflow.db")
    return folder


def episode(won: bool, kind: str) -> dict[str, Any]:
    return {"split": "unseen", "temperature": 0.4, "task_type": kind, "won": won, "turns": 4 if won else 6}


def mirrored(experiment: Path) -> dict[str, Any]:
    """Everything in the database: per run parameters, tags of ours, every value of every metric, files, table rows."""
    from mlflow import MlflowClient

    # a copy at a path of its own: MLflow keeps connections per path, and a rebuild replaces the file below them
    copy = Path(tempfile.mkdtemp(dir=experiment)) / "copy.db"
    shutil.copy(experiment / "tracking" / "mlflow.db", copy)
    client, found = MlflowClient(f"sqlite:///{copy}"), {}
    described = client.get_experiment_by_name(experiment.name)
    for run in client.search_runs([described.experiment_id]) if described else []:
        files = sorted(item.path for item in client.list_artifacts(run.info.run_id))
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        name = run.data.tags[RUN]
        assert name not in found, "mirrored twice"
        histories = {
            key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        found[name] = (run.data.params, tags, histories, files, run.info.status)
    return found


def test_the_mirror_says_what_the_files_say(experiment: Path) -> None:
    """Parameters from the configuration, every metric at its step, evaluation, files, tags and the result table."""
    tracking.sync(experiment)
    runs = mirrored(experiment)
    assert set(runs) == {TRAINED, STARTED, RESULTS}
    parameters, tags, histories, files, status = runs[TRAINED]
    assert parameters["algorithm.penalties.keep"] == "-0.3" and parameters["training.iterations"] == "2"
    assert histories["train/success"] == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert histories["seconds/rollout"] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    # two of four episodes won; turns (4 + 4 + 6 + 6) / 4 = 5
    assert histories["evaluation/unseen/T0.4/success"] == [(0, 0.5)]
    assert histories["evaluation/unseen/T0.4/success/look"] == [(0, 0.5)]
    assert histories["evaluation/unseen/T0.4/turns"] == [(0, 5.0)]
    assert files == ["config.yaml", "evaluation.jsonl", "manifest.json"]
    assert (status, tags["hiper.commit"]) == ("FINISHED", '{"commit": "c0ffee", "dirty": false}')
    assert (tags["algorithm"], tags["seed"], runs[STARTED][4]) == ("hiper", "0", "RUNNING")
    assert runs[RESULTS][3] == ["success.json", "tables"]


def test_repeating_a_sync_changes_nothing(experiment: Path) -> None:
    """Twice gives the same numbers, none of them doubled."""
    tracking.sync(experiment)
    first = mirrored(experiment)
    tracking.sync(experiment)
    assert mirrored(experiment) == first


def test_a_rebuild_gives_the_same_database(experiment: Path) -> None:
    """The files are the truth: without the old database the new one holds the same."""
    tracking.sync(experiment)
    first = mirrored(experiment)
    subprocess.run([sys.executable, "-m", "hiper", "track", "rebuild", str(experiment)], cwd=ROOT, check=True)
    assert mirrored(experiment) == first
    assert not (experiment / ".tracking.old").exists()
    assert read_json(experiment / "tracking" / "synced.json") == {"runs": [TRAINED, STARTED]}


def test_a_sync_adds_what_a_run_has_done_since(experiment: Path) -> None:
    """New rows are added to the run that is there."""
    tracking.sync(experiment)
    append_jsonl(experiment / "runs" / STARTED / "metrics.jsonl", {"step": 4, "train/success": 1.0})
    tracking.sync(experiment)
    assert mirrored(experiment)[STARTED][2]["train/success"] == [(1, 0.125), (2, 0.25), (3, 0.375), (4, 1.0)]


def test_a_run_made_again_replaces_its_mirror(experiment: Path) -> None:
    """Other numbers, or another configuration, under the same name: the old ones are gone."""
    tracking.sync(experiment)
    write_jsonl(experiment / "runs" / TRAINED / "metrics.jsonl", [{"iteration": 1, "train/success": 0.9}])
    path = experiment / "runs" / STARTED / "config.yaml"
    write_config(read_config(path).model_copy(update={"seed": 11}), path)
    tracking.sync(experiment)
    runs = mirrored(experiment)
    assert runs[TRAINED][2]["train/success"] == [(1, 0.9)]
    assert runs[STARTED][0]["seed"] == "11"


def test_a_run_that_is_gone_disappears(experiment: Path) -> None:
    """The mirror shows no run whose folder was deleted."""
    tracking.sync(experiment)
    shutil.rmtree(experiment / "runs" / STARTED)
    tracking.sync(experiment)
    assert set(mirrored(experiment)) == {TRAINED, RESULTS}


def test_new_tables_replace_the_old(experiment: Path) -> None:
    """The run `results` shows the tables as they are, without rows of earlier ones."""
    tracking.sync(experiment)
    (experiment / "tables" / "success.csv").write_text("algorithm,success\nhiper,0.75\n")
    tracking.sync(experiment)
    mirror = Mirror(experiment)
    (run,) = mirror.client.search_runs([mirror.experiment_id], f"tags.`{RUN}` = '{RESULTS}'")
    table = read_json(Path(mirror.client.download_artifacts(run.info.run_id, "success.json")))
    assert table == {"columns": ["algorithm", "success"], "data": [["hiper", "0.75"]]}


def test_a_follower_mirrors_a_run_while_it_goes_on(experiment: Path) -> None:
    """The child process ends when the process it follows is gone, with the last metrics in the database."""
    tracking.initialize(experiment)
    folder = experiment / "runs" / STARTED
    training = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    command = [sys.executable, "-m", "hiper", "track", "follow", str(folder), "--process", str(training.pid)]
    follower = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: STARTED in mirrored(experiment))
        assert follower.poll() is None
        append_jsonl(folder / "metrics.jsonl", {"step": 4, "train/success": 1.0})
    finally:
        training.kill()
        training.wait()
        _, errors = follower.communicate(timeout=60)
    assert (follower.returncode, errors) == (0, "")
    assert mirrored(experiment)[STARTED][2]["train/success"][-1] == (4, 1.0)


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.5)


def test_without_a_database_there_is_no_follower(experiment: Path) -> None:
    """Training goes on without a mirror when the tracking database was never made, or could not be."""
    assert tracking.start_follower(experiment / "runs" / TRAINED) is None
    write_json(experiment / "tracking" / "experiment.json", {"experiment": "test", "experiment_id": None})
    assert tracking.start_follower(experiment / "runs" / TRAINED) is None


def test_starting_a_follower_never_raises(experiment: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is a warning."""
    (experiment / "tracking" / "experiment.json").write_text("{")
    assert tracking.start_follower(experiment / "runs" / TRAINED) is None
    assert "not mirrored live" in caplog.text


def test_a_started_follower_writes_its_problems_to_a_file(experiment: Path) -> None:
    """The parent's streams stay clean; here the database is damaged, and the run's manifest ends the follower."""
    write_json(experiment / "tracking" / "experiment.json", {"experiment": "test", "experiment_id": "1"})
    (experiment / "tracking" / "mlflow.db").write_text("not a database")
    follower = tracking.start_follower(experiment / "runs" / STARTED)
    assert follower is not None
    time.sleep(3.0)
    os.utime(experiment / "runs" / TRAINED / "manifest.json")
    shutil.copy(experiment / "runs" / TRAINED / "manifest.json", experiment / "runs" / STARTED / "manifest.json")
    assert follower.wait(timeout=90) == 0
    assert "WARNING" in (experiment / "runs" / STARTED / "tracking.log").read_text()


def test_a_damaged_database_is_a_warning_to_the_workflow_and_an_error_to_a_person(
    experiment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With best effort the marker is still written, so that nothing waits for MLflow; both name the way out."""
    (experiment / "tracking" / "mlflow.db").write_text("not a database")
    with pytest.raises(UserError, match="hiper track rebuild"):
        tracking.sync(experiment)
    tracking.sync(experiment, best_effort=True)
    assert "hiper track rebuild" in caplog.text
    assert read_json(experiment / "tracking" / "synced.json") == {"runs": None}


def test_half_a_line_of_metrics_is_left_for_later(tmp_path: Path) -> None:
    """A follower may read while a row is being written."""
    rows = [{"iteration": 1, "train/success": 0.5}]
    (tmp_path / "metrics.jsonl").write_text(json.dumps(rows[0]) + '\n{"iteration": 2, "tr')
    assert run_metrics(tmp_path) == {("train/success", 1): 0.5}
    assert evaluation_metrics(tmp_path) == {}


def test_nested_settings_become_dotted_parameters() -> None:
    """Text stays text, everything else is JSON."""
    assert flatten({"a": {"b": 1, "c": [1, "x"]}, "d": "x", "e": None}) == {
        "a.b": "1",
        "a.c": '[1, "x"]',
        "d": "x",
        "e": "null",
    }
