"""The real workflow, every stage with its real parts, on the experiment `test` in a copy of the project."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from checkout import FEWER_FOLLOWERS, ITERATIONS, git, give_database, snakemake

from hiper.cli.main import main
from hiper.records import read_json, sha256_file, write_text

BENCHMARKS = ("alfworld_test", "webshop_test")
RUNS = [f"{benchmark}-test-{name}-seed0" for benchmark in BENCHMARKS for name in ("hiper", "ppo_turn", "warmstart")]
EPISODES = {"alfworld": 12, "webshop": 8}  # 6 games each of the seen and the unseen rooms; 8 goals
TRAINED = RUNS[0]
GRID_OF_ONE = "grid: {benchmarks: [alfworld_test], models: [test], algorithms: [hiper], seeds: [0]}\n"
pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

# Snakemake wants a conda environment or a container per rule. This project has one environment for all of them, made
# with pip from envs/constraints.txt by the Makefile: a second description of it could only disagree with the first.
LINT_EXCEPTIONS = {"Specify a conda environment or container for each rule."}


def jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """The jobs that a dry run announces, by rule."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    # the statistics: a line `job  count`, a rule, then one line `name  number` per rule
    counts = dict(re.findall(r"^([a-z_]+) +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE))
    return {rule: int(count) for rule, count in counts.items() if rule != "total"}


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


def test_the_demo_is_the_default_experiment(project: Path) -> None:
    """Plain `snakemake` plans the demo: per benchmark and seed a warm start and three algorithms."""
    planned = jobs(project, "--config")
    assert not (project / "results" / "demo").exists()
    starts = planned["warm_start"]
    assert planned["data"] == 2
    assert starts >= 4 and planned["train"] == 3 * starts and planned["evaluate"] == 4 * starts


def test_an_unknown_experiment_is_explained(project: Path) -> None:
    """The message lists the experiments there are; no traceback."""
    done = snakemake(project, "--dry-run", "--config", "experiment=nosuch")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "experiment 'nosuch' is unknown" in output and "alfworld_real" in output
    assert "Traceback" not in output


def test_a_stage_that_fails_fails_its_job(project: Path) -> None:
    """At once, with what DVC and hiper say and the status of the command; nothing is waited for."""
    with edited(project / "dvc.yaml", "stages:\n", "stages: {broken: [\n"):
        done = snakemake(project, "data/alfworld_small/dataset.json")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "non-zero exit status" in output
    assert "dvc.yaml' is invalid" in output and "hiper: data set alfworld_small: DVC ended with status 255" in output
    assert "completed successfully" not in output and "Waiting at most" not in output


def test_an_unknown_key_on_the_command_line_is_an_error(project: Path) -> None:
    """The schema knows what may be given with --config."""
    done = snakemake(project, "--dry-run", "--config", "experimnet=test")
    assert done.returncode != 0 and "experimnet" in done.stdout + done.stderr


def test_lint_finds_nothing_but_the_known_exceptions(project: Path) -> None:
    """`snakemake --lint`; the exceptions stand above, with their reason."""
    done = snakemake(project, "--lint")
    titles = re.findall(r"^    \* (.+):$", done.stdout + done.stderr, flags=re.MULTILINE)
    assert set(titles) == LINT_EXCEPTIONS


def test_the_experiment_leaves_everything_it_promises(finished: Path) -> None:
    """Models, metrics, episodes, manifests, tables, figures and the page, each where docs/architecture.md says."""
    results = finished / "results" / "test"
    commit = git(finished, "rev-parse", "HEAD").strip()
    for run in RUNS:
        folder = results / "runs" / run
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["git"] == {"commit": commit, "dirty": False}
        assert manifest["data"]["dvc"].endswith(".dir")
        assert (folder / "metrics.jsonl").read_text() and (folder / "model" / "model.safetensors").stat().st_size
        episodes = [json.loads(line) for line in (folder / "evaluation.jsonl").read_text().splitlines()]
        # every task once by each model of the run
        played = [(episode["checkpoint"], episode["task"]) for episode in episodes]
        models = {"last"} if "-warmstart-" in run else {"last", "best"}
        assert {checkpoint for checkpoint, _ in played} == models
        assert len(played) == len(set(played)) == len(models) * EPISODES[run.split("_")[0]]
    with (results / "tables" / "success.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["algorithm"] for row in rows} == {"hiper", "ppo_turn", "warmstart"}
    assert {row["benchmark"] for row in rows} == set(BENCHMARKS)
    for benchmark in BENCHMARKS:
        measured = json.loads((results / "variance" / f"{benchmark}-test-warmstart-seed0.json").read_text())
        assert set(measured["estimators"]) == {"hiper", "ppo_turn"}
    assert "Noise scale" in (results / "tables" / "variance.md").read_text()
    for name in ("learning_curves", "efficiency", "success", "differences", "task_types", "switching"):
        assert (results / "figures" / f"{name}.png").stat().st_size > 1000
    page = (results / "report.html").read_text()
    assert commit in page and all(f'id="run-{run}"' in page for run in RUNS)


def test_the_runs_are_in_mlflow(finished: Path) -> None:
    """The database has every run and the run with the tables; the follower of the training ended in order."""
    from mlflow import MlflowClient

    results = finished / "results" / "test"
    described = json.loads((results / "tracking" / "experiment.json").read_text())
    client = MlflowClient(f"sqlite:///{results / 'tracking' / 'mlflow.db'}")
    runs = {run.data.tags["hiper.run"]: run for run in client.search_runs([described["experiment_id"]])}
    assert set(runs) == {*RUNS, "results"}
    assert "evaluation/unseen/T0.4/success" in runs[TRAINED].data.metrics
    steps = [metric.step for metric in client.get_metric_history(runs[TRAINED].info.run_id, "train/success")]
    assert steps == [*range(1, ITERATIONS + 1)]
    # on a busy machine it may have waited for another run's follower first
    assert "records go to" in (results / "runs" / TRAINED / "tracking.log").read_text().splitlines()[-1]


# What is changed for one benchmark, and the jobs that this alone makes necessary. No other setting is read by one stage
# alone; tests/unit/test_compose.py has more of them.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "evaluation": ({"evaluation": {"batch": 6}, "variance": {"batches": 0}}, {"evaluate": 3}),
    "training": ({"training": {"iterations": 8}}, {"train": 2, "evaluate": 2}),
    "variance": ({"variance": {"critic_batches": 2}}, {"gradient_variance": 1}),
    "algorithm": (
        {"by_algorithm": {"ppo_turn": {"algorithm": {"lam_turn": 0.9}}}},
        {"train": 1, "evaluate": 1, "gradient_variance": 1},
    ),
    "warm start": (
        {"warm_start": {"steps": 51}},
        {"warm_start": 1, "train": 2, "evaluate": 3, "gradient_variance": 1},
    ),
    "benchmark": (
        {"benchmark": {"max_turns": 7}},
        {"demonstrations": 1, "tokenizer": 1, "warm_start": 1, "train": 2, "evaluate": 3, "gradient_variance": 1},
    ),
}


@pytest.mark.parametrize("names", [("evaluation", "training"), ("variance", "benchmark"), ("algorithm", "warm start")])
def test_a_changed_setting_reruns_what_depends_on_it(finished: Path, names: tuple[str, str]) -> None:
    """And nothing else, nothing at all where no result reads it (`tracking.live`); tables, figures and MLflow follow.
    Two changes in one call: each of a benchmark of its own."""
    configs = finished / "configs"
    own = {benchmark: CHANGES[name][0] for benchmark, name in zip(BENCHMARKS, names, strict=True)}
    changed = f"by_benchmark: {json.dumps(own)}\n"
    with (
        edited(configs / "experiment" / "test.yaml", FEWER_FOLLOWERS, changed),
        edited(configs / "config.yaml", "  live: true", "  live: false"),
    ):
        done = snakemake(finished, "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Counter[str]] = {benchmark: Counter() for benchmark in BENCHMARKS}
    later = set()
    for rule, text in re.findall(r"^(?:local)?rule ([a-z_]+):\n((?: .*\n)+)", done.stdout + done.stderr, re.MULTILINE):
        wildcards = re.search(r"wildcards: (.*)", text)
        of = [benchmark for benchmark in BENCHMARKS if wildcards and benchmark in wildcards[1]]
        found[of[0]].update([rule]) if of else later.add(rule)
    assert found == {benchmark: CHANGES[name][1] for benchmark, name in zip(BENCHMARKS, names, strict=True)}
    assert later == {"report", "track_results", "all"}


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """Of each file that a command may read: when it was changed, and its checksum; of each folder, that it is there."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in (".git", ".snakemake", "report.html") and "__pycache__" not in name.parts:
            found[str(name)] = (path.stat().st_mtime_ns, sha256_file(path)) if path.is_file() else (0, "")
    return found


def test_a_look_changes_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an edit, and for a run that is not there yet: no file that another command reads, no folder, no clock."""
    monkeypatch.chdir(finished)
    run = f"results/test/runs/{TRAINED}"
    with edited(finished / "configs" / "experiment" / "test.yaml", "  batch: 12", "  batch: 6"):
        before = state(finished)
        assert jobs(finished, f"results/test/runs/{TRAINED[:-1]}7/evaluation.jsonl")["train"] == 1
        assert snakemake(finished, "--summary").returncode == 0
        for command in (
            ["plan", "test"], ["doctor", "--experiment", "test"], ["summary", "results/test"], ["inspect", run],
            ["compare", "results/test", "results/test"],
        ):  # fmt: skip
            assert main(command) == 0, command
        assert state(finished) == before


def test_touching_what_is_not_there_makes_no_run(finished: Path) -> None:
    """`--touch` runs no job: it ends in order, and no run's settings are written."""
    run = f"results/test/runs/{TRAINED[:-1]}7"
    done = snakemake(finished, "--touch", f"{run}/manifest.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (finished / run).exists()


def test_a_retraining_that_failed_is_repeated(finished: Path) -> None:
    """A run without a manifest, or without an evaluation, is made again though the tables are there."""
    runs = finished / "results" / "test" / "runs"
    missing = [runs / TRAINED / "manifest.json", runs / RUNS[-2] / "evaluation.jsonl"]
    for path in missing:
        path.rename(path.with_name("aside"))
    assert jobs(finished) == {"train": 1, "evaluate": 2, "report": 1, "track_results": 1, "all": 1}
    for path in missing:
        path.with_name("aside").rename(path)


def test_a_second_call_has_nothing_to_do(finished: Path) -> None:
    """After all those changes have been put back: what a file says counts, not when it was written."""
    done = snakemake(finished)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_naming_an_output_reruns_its_stage_alone(finished: Path) -> None:
    """`--force` with a file: one job, and the file is new. The job's run alone gets the settings of now, and what it
    makes names them."""
    target, other = (finished / "results" / "test" / "runs" / name for name in (TRAINED, RUNS[-1]))
    kept = {path: path.read_bytes() for path in (target / "config.yaml", target / "evaluation.json")}
    file, text = target / "evaluation.jsonl", (other / "config.yaml").read_bytes()
    before = file.stat().st_mtime_ns, file.read_bytes()
    with edited(finished / "configs" / "config.yaml", "  live: true", "  live: false"):
        done = snakemake(finished, "--force", str(file.relative_to(finished)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 steps (100%) done" in done.stdout + done.stderr
    assert file.stat().st_mtime_ns > before[0]
    # the same model, seed and settings play the same episodes
    assert file.read_bytes() == before[1]
    assert "live: false" in (target / "config.yaml").read_text()
    assert read_json(target / "evaluation.json")["settings"]["tracking"]["live"] is False
    assert (other / "config.yaml").read_bytes() == text
    for path, content in kept.items():
        path.write_bytes(content)


def test_another_experiment_takes_what_is_the_same(finished: Path, empty_database: Path) -> None:
    """Its warm start is a copy of the first experiment's, which its manifests say; the first is left as it was, so that
    nothing of it is made again."""
    before, name = state(finished / "results" / "test"), RUNS[2]
    write_text(finished / "configs/experiment/again.yaml", "defaults: [test, _self_]\n" + GRID_OF_ONE)
    give_database(finished, empty_database, "again")
    done = snakemake(finished, f"results/again/runs/{name}/manifest.json", experiment="again")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("demonstrations/alfworld_test", "tokenizers/alfworld_test-test", f"runs/{name}"):
        manifest = read_json(finished / "results" / "again" / part / "manifest.json")
        assert (manifest["experiment"], manifest["taken_from"]["experiment"]) == ("again", "test")
    assert state(finished / "results" / "test") == before
    (finished / "configs/experiment/again.yaml").unlink()
    assert jobs(finished) == {}


def test_the_html_report_shows_tables_and_figures(finished: Path) -> None:
    """`snakemake --report` embeds them and the experiment's page with their captions; it makes no other file."""
    before = state(finished)
    done = snakemake(finished, "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert state(finished) == before
    page = (finished / "report.html").read_text()
    assert "success.csv" in page and "learning_curves.png" in page and "Share of tasks won" in page
    assert "The experiment on one page" in page
