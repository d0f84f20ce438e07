"""`hiper run`: its call, how long jobs take, how far a grid is; test_hiper_run.py of the workflow runs one."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from hiper.cli.run import STAGES, _without_quiet, call
from hiper.compose import RunName, compose_run
from hiper.records import write_json
from hiper.views import grid
from hiper.views.durations import Durations, Key
from hiper.views.grid import Job, Progress, jobs_of
from hiper.views.terminal import console

ROOT = Path(__file__).resolve().parents[2]

DRY_RUN = """
rule train:
    input: data/x/dataset.json
    output: results/mine/runs/b-m-ppo-seed1/manifest.json
    log: results/mine/logs/train/b-m-ppo-seed1.log
    benchmark: results/mine/benchmarks/train/b-m-ppo-seed1.tsv
    threads: 2
group job 4711 (jobs in lexicogr. order):
    rule report:
        log: results/mine/logs/report.log
        benchmark: results/mine/benchmarks/report.tsv
[Mon Nov 30 22:28:08 2026]
localrule all:
    input: results/mine/report.html
"""


def test_the_call_keeps_targets_and_settings_where_snakemake_looks_for_them() -> None:
    """Before the options that take all that follows; a `--config` of one's own is not replaced."""
    assert set(STAGES) == set(grid.STAGES)
    cores, mine = ["--cores", "2"], "experiment=mine"
    assert call("mine", None, cores, []) == ["snakemake", *cores, "--config", mine]
    until = ["a/target", "--until", "warm_start", "--config", mine]
    assert call("mine", "warmstart", cores, ["a/target"]) == ["snakemake", *cores, *until]
    both = ["--config", mine, "container=x"]
    assert call("mine", None, cores, ["--config", "container=x"]) == ["snakemake", *cores, *both]


def test_a_look_at_the_jobs_is_not_silenced() -> None:
    """Snakemake's last `--quiet` wins, and quiet about rules it would list no job."""
    passed = ["-q", "rules", "a/target", "--quiet", "--forcerun", "report", "--quiet", "all"]
    assert _without_quiet(passed) == ["a/target", "--forcerun", "report"]


def test_jobs_are_read_from_a_dry_run() -> None:
    """Those in groups, too; `all` only gathers others."""
    train, report = jobs_of(DRY_RUN)
    assert (train.key, train.threads) == (Key("mine", "train", "b-m-ppo-seed1"), 2)
    assert (report.key, report.threads) == (Key("mine", "report", "report"), 1)
    assert Key.of(Path("results/benchmarks/data/b.tsv")) == Key("", "data", "b")


def measured(root: Path, name: str, seconds: float) -> None:
    path = root / "results" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")


def test_a_job_takes_as_long_as_those_most_like_it(tmp_path: Path) -> None:
    """Itself, other seeds, its benchmark, its rule; then the same cell in another experiment; else nobody knows."""
    measured(tmp_path, "mine/benchmarks/train/b-m-ppo-seed0", 10.0)
    measured(tmp_path, "mine/benchmarks/train/b-m-grpo-seed0", 30.0)
    measured(tmp_path, "other/benchmarks/train/c-m-ppo-seed0", 50.0)
    measured(tmp_path, "other/benchmarks/evaluate/b-m-ppo-seed0", 5.0)
    known = Durations("mine", {}, tmp_path)
    wanted = {
        ("train", "b-m-ppo-seed0"): (10.0, "measured"),
        ("train", "b-m-ppo-seed1"): (10.0, "measured"),
        ("train", "b-m-rloo-seed0"): (20.0, "measured"),
        ("train", "c-m-ppo-seed0"): (20.0, "measured"),
        ("evaluate", "b-m-ppo-seed3"): (5.0, "measured elsewhere"),
        ("evaluate", "b-m-grpo-seed0"): None,
    }
    for (rule, name), expected in wanted.items():
        found = known.of(Key("mine", rule, name))
        assert (found and (found.seconds, found.source)) == expected, name
    measured(tmp_path, "benchmarks/data/b", 7.0)
    assert known.measured and Durations("mine", {}, tmp_path).of(Key("", "data", "b")).seconds == 7.0
    assert Durations("mine", {}, tmp_path).of(Key("", "data", "c")) is None  # another data set
    runs = {RunName("b", "m", "ppo", 0): None}
    assert Durations("mine", runs, tmp_path).own("train") == {"b-m-ppo-seed0": 10.0}  # none of outside the grid


def test_gpus_are_those_that_the_rules_ask_for(tmp_path: Path) -> None:
    """A preflight has the training's, a warm start that copies none; nothing is cut in eighty columns."""
    cell, model = "alfworld-qwen2.5_1.5b_instruct", "qwen2.5_1.5b_instruct"
    runs = [f"{cell}-{algorithm}-seed0" for algorithm in ("warmstart", "hiper")]
    known = Durations("paper", {RunName.parse(run): compose_run("paper", run, ROOT) for run in runs}, tmp_path)
    names = {
        "preflight": model,
        "train": f"{cell}-hiper-seed0",
        "warm_start": f"{cell}-seed0",
        "evaluate": f"{cell}-warmstart-seed0",
        "tracking_database": "tracking_database",
    }
    found = {rule: known.gpus(Key("paper", rule, name)) for rule, name in names.items()}
    assert found == {"preflight": 4, "train": 4, "warm_start": 0, "evaluate": 1, "tracking_database": 0}
    screen = console(stream := io.StringIO())
    screen.width = 80
    screen.print(
        grid.table([Job(Key("paper", rule, name), Path(name), None, 1) for rule, name in names.items()], known)
    )
    assert "…" not in stream.getvalue() and re.search(r"preflight +1 +4 ", stream.getvalue())


def test_a_copy_says_nothing_of_how_long_its_job_takes(tmp_path: Path) -> None:
    """A warm start that another experiment made took what it took there."""
    measured(tmp_path, "mine/benchmarks/warm_start/b-m-seed0", 2.0)
    measured(tmp_path, "other/benchmarks/warm_start/b-m-seed0", 60.0)
    assert Durations("mine", {}, tmp_path).of(Key("mine", "warm_start", "b-m-seed0")).seconds == 2.0
    write_json(
        tmp_path / "results/mine/runs/b-m-warmstart-seed0/manifest.json", {"taken_from": {"experiment": "other"}}
    )
    found = Durations("mine", {}, tmp_path).of(Key("mine", "warm_start", "b-m-seed0"))
    assert (found.seconds, found.source) == (60.0, "measured elsewhere")


def test_progress_counts_jobs_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark file that is new or written again is a job done; time left goes by the weight of what is left."""
    clock = [0.0]
    monkeypatch.setattr(grid.time, "monotonic", lambda: clock[0])
    measured(tmp_path, "mine/benchmarks/train/b-m-ppo-seed0", 60.0)
    names = [f"b-m-ppo-seed{number}" for number in range(4)]
    paths = {name: Path(f"results/mine/benchmarks/train/{name}.tsv") for name in names}
    jobs = [Job(Key("mine", "train", name), path, None, 1) for name, path in paths.items()]
    progress = Progress(jobs, Durations("mine", {}, tmp_path), tmp_path)
    assert not progress.look() and progress.line().startswith("0 of 4 jobs (0 %)")
    clock[0] = 80.0
    path = tmp_path / jobs[0].benchmark
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert progress.look()
    # 60 of 240 s of work in 80 s: 240 s more
    assert progress.line() == "1 of 4 jobs (25 %) after 80 s, about 4 min left"
