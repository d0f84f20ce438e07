"""The MLflow mirror, with the real MLflow on sqlite: what the files say, once, and again after a rebuild."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipeline import ROOT
from pipeline import RUN as TRAINED
from pipeline import WARM as STARTED
from waiting import wait_for

from hiper import tracking
from hiper.compose import compose_run, read_config, write_config
from hiper.errors import UserError
from hiper.records import append_jsonl, read_json, write_json, write_jsonl
from hiper.tracking import database, destination
from hiper.tracking.mirror import RESULTS, RUN, WRITER, Mirror
from hiper.tracking.readings import RunFiles, flatten
from hiper.tracking.shown import NOTE, PARENT, SOURCE, VIEW, result_note

pytestmark = pytest.mark.xdist_group("mlflow")  # one process makes the database that the tests copy


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
        tags.pop(WRITER, None)
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
    assert (status, tags["hiper.commit"]) == ("FINISHED", "c0ffee")
    assert (tags["algorithm"], tags["seed"], runs[STARTED][4]) == ("hiper", "0", "RUNNING")
    assert runs[RESULTS][3] == ["success.json", "tables"]


def test_a_reader_sees_how_long_a_run_took_and_the_result_table(experiment: Path) -> None:
    """A run mirrored afterwards has the stage's own times; the run `results` has the table as its description."""
    manifest = experiment / "runs" / TRAINED / "manifest.json"
    write_json(manifest, {**read_json(manifest), "wall_time_seconds": 90.0})
    (experiment / "tables" / "success.md").write_text("| HiPER | 49.8 |\n")
    mirror = Mirror(experiment)
    mirror.run(manifest.parent)
    mirror.results()
    runs = {run.data.tags[RUN]: run for run in mirror.client.search_runs([mirror.experiment_id])}
    assert runs[TRAINED].info.end_time == int(manifest.stat().st_mtime * 1000)
    assert runs[TRAINED].info.end_time - runs[TRAINED].info.start_time == 90_000
    assert "| HiPER | 49.8 |" in runs[RESULTS].data.tags["mlflow.note.content"]


def test_a_list_of_runs_tells_them_apart(experiment: Path) -> None:
    """Names differ in their first letters; tags, description and source say what a run is of; all lie under `results`,
    also after that was made anew; the view that an address names groups success by algorithm."""
    tracking.sync(experiment)
    (experiment / "tables" / "success.csv").write_text("algorithm,success\nhiper,0.75\n")
    tracking.sync(experiment)
    mirror = Mirror(experiment)
    runs = {run.data.tags[RUN]: run for run in mirror.client.search_runs([mirror.experiment_id])}
    tags = runs[TRAINED].data.tags
    assert (runs[TRAINED].info.run_name, runs[STARTED].info.run_name) == (
        "hiper · alfworld_test · s0 · test",
        "warmstart · alfworld_test · s0 · test",
    )
    told = {"algorithm": "hiper", "benchmark": "alfworld_test", "model": "test", "seed": "0", "stage": "train"}
    assert told.items() <= tags.items() and tags["commit"] == "c0ffee"
    assert runs[STARTED].data.tags["stage"] == "warmstart"
    assert f"hiper inspect results/test/runs/{TRAINED}" in tags[NOTE] and "report.html" in tags[NOTE]
    assert tags[SOURCE] == f"hiper train results/test/runs/{TRAINED} --start results/test/runs/{STARTED}/model"
    assert {runs[name].data.tags.get(PARENT) for name in (TRAINED, STARTED)} == {runs[RESULTS].info.run_id}
    view = json.loads(mirror.client.get_experiment(mirror.experiment_id).tags[VIEW])
    (grouped,) = view["groupBy"]["groupByKeys"]
    assert grouped == {"mode": "tag", "groupByData": "arm"}
    assert "evaluation/unseen/T0.4/success" in {chart["metricKey"] for chart in view["compareRunCharts"]}


def test_artifacts_are_found_after_a_move(experiment: Path) -> None:
    """MLflow's addresses of files are absolute; whoever opens the database in its new place finds them there."""
    tracking.sync(experiment)
    moved = experiment.rename(experiment.parent / "elsewhere")
    mirror = Mirror(moved)
    numbers = [found.experiment_id for found in mirror.client.search_experiments() if found.name == experiment.name]
    (run,) = mirror.client.search_runs(numbers, f"tags.`{RUN}` = '{TRAINED}'")
    assert run.info.artifact_uri.startswith((moved / "tracking").as_uri())
    page = Path(mirror.client.download_artifacts(run.info.run_id, "config.yaml", str(moved)))
    assert page.read_text() == (moved / "runs" / TRAINED / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("success", "aggregate", "shown"),
    [("| HiPER |", "| IQM |", "| HiPER |"), ("x" * 9000, "| IQM |", "| IQM |"), ("x" * 9000, "x" * 9000, "The page")],
)
def test_the_description_is_a_table_that_mlflow_takes(tmp_path: Path, success: str, aggregate: str, shown: str) -> None:
    """All success rates, else their means, else where the tables are."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "success.md").write_text(success)
    (tmp_path / "tables" / "aggregate.md").write_text(aggregate)
    note = result_note(tmp_path)
    assert note.startswith(shown) and "report.html" in note and len(note) <= 8000


def test_the_report_page_lies_beside_the_tables(experiment: Path) -> None:
    """As an artifact of the run `results`, not in a folder; a new page replaces it."""
    for content in ("<p>first</p>", "<p>second</p>"):
        (experiment / "report.html").write_text(content)
        mirror = Mirror(experiment)
        mirror.results()
    (run,) = [run for run in mirror.client.search_runs([mirror.experiment_id]) if run.data.tags[RUN] == RESULTS]
    files = [item.path for item in mirror.client.list_artifacts(run.info.run_id)]
    assert sorted(files) == ["report.html", "success.json", "tables"]
    page = Path(mirror.client.download_artifacts(run.info.run_id, "report.html", str(experiment)))
    assert page.read_text() == "<p>second</p>"


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


def test_only_runs_that_were_started_are_shown(experiment: Path) -> None:
    """The workflow writes each planned run's config.yaml before its first job; a run begins with its stage."""
    begun, planned = (experiment / "runs" / STARTED.replace("seed0", f"seed{n}") for n in (1, 2))
    for folder in (begun, planned):
        write_config(compose_run("test", folder.name, ROOT), folder / "config.yaml")
    (begun / "tracking.log").touch()
    tracking.sync(experiment)
    assert set(mirrored(experiment)) == {TRAINED, STARTED, begun.name, RESULTS}


def test_a_finished_run_shows_the_settings_it_was_made_with(experiment: Path) -> None:
    """Not those that its config.yaml has got for a stage that has not run again yet."""
    folder = experiment / "runs" / TRAINED
    made = read_config(folder / "config.yaml")
    write_json(folder / "manifest.json", {"settings": made.model_dump(mode="json")})
    write_config(made.model_copy(update={"seed": 11}), folder / "config.yaml")
    tracking.sync(experiment)
    assert mirrored(experiment)[TRAINED][0]["seed"] == "0"
    (folder / "manifest.json").unlink()  # its stage has begun
    tracking.sync(experiment)
    assert mirrored(experiment)[TRAINED][0]["seed"] == "11"


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
    training = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    command = [sys.executable, "-m", "hiper", "track", "follow", str(folder), "--process", str(training.pid)]
    messages = experiment / "messages"
    with messages.open("w") as stream:
        follower = subprocess.Popen(command, cwd=ROOT, stderr=stream)
    try:
        wait_for(lambda: "records go to" in messages.read_text() or follower.poll() is not None)
        assert follower.poll() is None and STARTED in mirrored(experiment)
        append_jsonl(folder / "metrics.jsonl", {"step": 4, "train/success": 1.0})
    finally:
        training.kill()
        training.wait()
        follower.wait()
    assert follower.returncode == 0 and "WARNING" not in messages.read_text(), messages.read_text()
    assert mirrored(experiment)[STARTED][2]["train/success"][-1] == (4, 1.0)


def test_a_follower_makes_what_is_missing(experiment: Path) -> None:
    """Without `track init`, or after one that failed, the records arrive; the manifest ends the follower."""
    (experiment / "tracking" / "mlflow.db").unlink()
    folder = experiment / "runs" / STARTED
    follower = tracking.start_follower(folder)
    assert follower is not None
    wait_for(lambda: "records go to" in (folder / "tracking.log").read_text())
    write_json(folder / "manifest.json", read_json(experiment / "runs" / TRAINED / "manifest.json"))
    assert follower.wait() == 0
    assert mirrored(experiment)[STARTED][4] == "FINISHED"


def test_starting_a_follower_never_raises(experiment: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where not even its log file can be made, a warning is all that happens."""
    (experiment / "runs" / TRAINED / "tracking.log").mkdir()
    assert tracking.start_follower(experiment / "runs" / TRAINED) is None
    assert "not mirrored live" in caplog.text


@pytest.mark.parametrize("damage", ["garbage", "half a page"])
def test_a_damaged_database_is_set_aside_and_made_anew(
    experiment: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One sync is enough, it says so, and the damaged file is kept."""
    tracking.sync(experiment)
    expected = mirrored(experiment)
    path = experiment / "tracking" / "mlflow.db"
    content = path.read_bytes()
    path.write_bytes(os.urandom(5000) if damage == "garbage" else content[:700])
    spoilt = path.read_bytes()
    tracking.sync(experiment)
    assert mirrored(experiment) == expected
    assert (experiment / "tracking" / "damaged-1" / "mlflow.db").read_bytes() == spoilt
    assert "was damaged" in caplog.text


def test_a_locked_database_is_a_warning_to_the_workflow_and_an_error_to_a_person(
    experiment: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With best effort the markers are still written, so that nothing waits for MLflow; both name the lock's holder and
    the way out."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.5)
    with holding(experiment / "tracking" / "mlflow.db") as holder:
        with pytest.raises(UserError, match=rf"process {holder} .*(?s:.*)hiper track sync"):
            tracking.sync(experiment)
        tracking.sync(experiment, best_effort=True)
        assert "hiper track sync" in caplog.text
        tracking.initialize(experiment, best_effort=True)
    assert read_json(experiment / "tracking" / "synced.json") == {"runs": None}
    assert read_json(experiment / "tracking" / "experiment.json")["experiment_id"] is None
    tracking.sync(experiment)
    assert set(mirrored(experiment)) == {TRAINED, STARTED, RESULTS}


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """Another process with an exclusive transaction on the database; gives its id."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(1, flush=True)"
    )
    command = [sys.executable, "-c", f"{program}; sys.stdin.read()", str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def test_another_writer_is_waited_for_and_then_named(experiment: Path) -> None:
    """The wait for our own lock ends, and says which command holds it."""
    with database.exclusive(experiment / "tracking", 1.0), pytest.raises(UserError, match=f"process {os.getpid()} "):
        Mirror(experiment, patience=0.2)


def test_a_mirror_notices_that_its_database_was_replaced(experiment: Path) -> None:
    """A deleted file, and another in its place: opening again writes to the new one."""
    tracking.sync(experiment)
    mirror, path = Mirror(experiment), experiment / "tracking" / "mlflow.db"
    assert mirror.current()
    path.unlink()
    assert not mirror.current()
    Mirror(experiment).run(experiment / "runs" / TRAINED)
    assert set(mirrored(experiment)) == {TRAINED, "results"}
    assert not mirror.current()


def test_two_writers_of_a_run_double_nothing(experiment: Path) -> None:
    """A follower remembers what it has written, and reads it again when a sync has written in between."""
    follower, metrics = Mirror(experiment), experiment / "runs" / STARTED / "metrics.jsonl"
    follower.run(metrics.parent)
    append_jsonl(metrics, {"step": 4, "train/success": 0.0})
    tracking.sync(experiment)
    append_jsonl(metrics, {"step": 5, "train/success": 0.5})
    follower.run(metrics.parent)
    values = [(1, 0.125), (2, 0.25), (3, 0.375), (4, 0.0), (5, 0.5)]
    assert mirrored(experiment)[STARTED][2]["train/success"] == values


def test_only_changed_files_are_uploaded_and_only_new_values_written(experiment: Path) -> None:
    """A second look at an unchanged run adds nothing, in the same process and in another."""
    tracking.sync(experiment)
    mirror = Mirror(experiment)
    for _ in range(2):
        mirror.run(experiment / "runs" / TRAINED)
    assert (mirror.added.runs, mirror.added.values, mirror.added.files) == (0, 0, 0)
    write_jsonl(experiment / "runs" / TRAINED / "evaluation.jsonl", [episode(True, "look"), episode(False, "pick")])
    mirror.run(experiment / "runs" / TRAINED)
    assert mirror.added.files == 3  # other numbers in a finished run: it is mirrored anew
    assert mirror.added.runs == 1


def test_one_broken_run_does_not_keep_the_others_out(experiment: Path) -> None:
    """Its mistake is told at the end, when everything else has been mirrored."""
    (experiment / "runs" / STARTED / "config.yaml").write_text("seed: [")
    with pytest.raises(UserError, match=r"1 of 2 runs(?s:.*)config.yaml"):
        tracking.sync(experiment)
    assert {TRAINED, RESULTS} <= set(mirrored(experiment))
    tracking.sync(experiment, best_effort=True)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("file:///tmp/mlruns", "begins with `file:`"),
        ("databricks", "has no scheme"),
        ("http://", "no host"),
        ("http://user@host", "needs a password"),
        ("http://user:hunter2@host:port", "cannot be read"),
        ("https://host/path?token=hunter2", "more than that"),
    ],
)
def test_a_wrong_tracking_address_is_explained(monkeypatch: pytest.MonkeyPatch, address: str, problem: str) -> None:
    """The message says what is accepted and repeats no secret."""
    monkeypatch.setenv(destination.ADDRESS, address)
    with pytest.raises(UserError, match=problem) as caught:
        destination.server()
    assert "http[s]://" in str(caught.value) and "hunter2" not in str(caught.value)


def test_credentials_leave_the_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go into MLflow's own variables, decoded; an empty address means the database of the experiment."""
    for name in (destination.USER, destination.PASSWORD):
        monkeypatch.setenv(name, "before")
    monkeypatch.setenv(destination.ADDRESS, "HTTPS://me:p%40ss:w@Host.example:8443/mlflow/")
    assert destination.server() == "https://Host.example:8443/mlflow"
    assert (os.environ[destination.USER], os.environ[destination.PASSWORD]) == ("me", "p@ss:w")
    assert destination.server() == "https://Host.example:8443/mlflow"
    error = OSError("cannot reach https://me:other@Host.example with p@ss:w\nat all")
    assert "p@ss:w" not in destination.message_of(error) and "other" not in destination.message_of(error)
    monkeypatch.setenv(destination.ADDRESS, " ")
    assert destination.server() is None


def test_metrics_are_read_as_they_grow(tmp_path: Path) -> None:
    """Half a line is left for later, only what is new is read, and a file written anew is read from its beginning."""
    path, files = tmp_path / "metrics.jsonl", RunFiles(tmp_path)
    assert files.read() == {}
    path.write_text('{"iteration":1,"train/success":0.5}\n{"iteration":2,"tr')
    assert files.read() == {("train/success", 1): 0.5}
    with path.open("a") as stream:
        stream.write('ain/success":0.75}\n')
    assert files.read() == {("train/success", 1): 0.5, ("train/success", 2): 0.75}
    write_jsonl(path, [{"iteration": 1, "train/success": 0.25}])
    assert files.read() == {("train/success", 1): 0.25}


def test_nested_settings_become_dotted_parameters() -> None:
    """Text stays text, everything else is JSON."""
    assert flatten({"a": {"b": 1, "c": [1, "x"]}, "d": "x", "e": None}) == {
        "a.b": "1",
        "a.c": '[1, "x"]',
        "d": "x",
        "e": "null",
    }
