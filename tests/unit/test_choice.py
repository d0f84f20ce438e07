"""Settings chosen by trials: as many for each algorithm, by validation tasks alone, and what a report says of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import ROOT, changed
from synthetic_runs import add_validations, make_experiment, metrics

from hiper.compose import compose_run
from hiper.errors import UserError
from hiper.grids import compose_grid
from hiper.records import read_json, write_json, write_jsonl
from hiper.report.choice import choose
from hiper.report.compared import compared
from hiper.report.study import load_studies
from hiper.trials import read_record

CELLS = [
    f"{benchmark}-tiny-{algorithm}"
    for benchmark in ("alfworld_small", "webshop_small")
    for algorithm in ("hiper", "grpo")
]
RATES = {"low": 1e-4, "mid": 3e-4, "high": 1e-3}
BEST = dict(zip(CELLS, ("low", "high", "mid", "mid"), strict=True))
RECORD = Path("configs/trials/mine.csv")


def add_trial(folder: Path, cell: str, seed: int, success: list[float], **settings: Any) -> Path:
    """A finished run of the experiment `small`, validated after each of its iterations, with some settings changed."""
    values = compose_run("small", f"{cell}-seed0", ROOT).model_dump(mode="json") | {"seed": seed}
    run = folder / "runs" / f"{cell}-seed{seed}"
    write_json(run / "manifest.json", {
        "folder": run.name, "settings": changed(values, **settings), "data": {"dvc": "abc"},
        "git": {"commit": "0123456789abcdef", "dirty": False},
    })  # fmt: skip
    write_jsonl(run / "metrics.jsonl", [metrics(i, 0.5, None) for i in range(1, len(success) + 1)])
    add_validations(run, dict(enumerate(success, start=1)))
    return run


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three trials of the learning rate with two seeds, in the root of a project: with the best one a seed lost."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", "configs")
    for cell in CELLS:
        for trial, rate in RATES.items():
            for seed, rest in ((100, 0.9), (101, 0.1)):
                success = [1.0] + [rest - 0.2 * (trial != BEST[cell]) * (seed == 100)] * 5
                add_trial(Path("results", trial), cell, seed, success, training__learning_rate=rate)
    return {trial: Path("results", trial) for trial in ("mid", "low", "high")}


def mine(section: str, algorithms: str = "hiper, grpo", seeds: str = "0") -> str:
    grid = (
        f"{{benchmarks: [alfworld_small, webshop_small], models: [tiny], algorithms: [{algorithms}], seeds: [{seeds}]}}"
    )
    Path("configs/experiment/mine.yaml").write_text(f"defaults: [small, _self_]\ngrid: {grid}\n{section}")
    return "mine"


def section_of(text: str) -> str:
    return text.partition("in configs/experiment:\n\n")[2]


def test_every_algorithm_gets_its_best_trial_on_each_benchmark(trials: dict[str, Path]) -> None:
    """By the mean over seeds and over validations in the second half; what is printed, put into an experiment, sets
    just that, and the record has all runs with their commit."""
    text = choose(list(trials.values()), RECORD)
    runs = {str(name): run for name, run in compose_grid(mine(section_of(text)), Path.cwd())}
    for cell in CELLS:
        assert runs[f"{cell}-seed0"].training.learning_rate == RATES[BEST[cell]]
        assert runs[f"{cell}-seed0"].trials.model_dump() == {
            "record": str(RECORD), "each": 3, "seeds": [100, 101], "settings": ["training.learning_rate"],
        }  # fmt: skip
    record = read_record(RECORD)
    assert len(record) == len(CELLS) * 3 * 2
    assert {f"{'-'.join(one.cell)}": one.trial for one in record if one.chosen} == BEST
    assert {(one.commit, round(one.success, 4)) for one in record if one.trial == "high" and one.seed == 100} == {
        ("0123456789", 0.9), ("0123456789", 0.7),
    }  # fmt: skip
    assert re.search(r"HiPER +low +0\.0001 +50\.0 ± 56\.6 +2 +chosen\n", text)
    assert re.search(r"HiPER +mid +0\.0003 +40\.0 ± 42\.4 +2\n", text)


def test_of_equal_trials_the_one_named_first_is_chosen(trials: dict[str, Path]) -> None:
    """That is the one with the common settings. With one benchmark the settings stand under `by_algorithm` alone."""
    for cell in CELLS:
        for trial, folder in trials.items():
            for seed in (100, 101):
                shutil.rmtree(folder / "runs" / f"{cell}-seed{seed}")
            if cell.startswith("alfworld"):
                add_trial(folder, cell, 100, [0.5] * 6, training__learning_rate=RATES[trial])
    for first in trials:
        ordered = [trials[first], *(folder for trial, folder in trials.items() if trial != first)]
        section = yaml.safe_load(section_of(choose(ordered, RECORD)))
        rate = {"training": {"learning_rate": RATES[first]}}
        assert section.keys() == {"by_algorithm", "trials"} and section["by_algorithm"] == {"hiper": rate, "grpo": rate}


CELL = "webshop_small-tiny-grpo"


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (shutil.rmtree, r"missing, .*same number of trials: results/high/runs/webshop_small-tiny-grpo"),
        (lambda run: (run / "manifest.json").unlink(), r"high/runs/webshop_small-tiny-grpo-seed101: .* not finished"),
        (lambda run: write_jsonl(run / "metrics.jsonl", [metrics(1, 0.5, None)]), r"grpo-seed101: was not validated"),
        ({"training__iterations": 99}, r"tiny-grpo differ in training\.iterations; only .*the budget must be the same"),
        ({"benchmark__max_turns": 9}, r"differ in benchmark\.max_turns"),
        ({"training__learning_rate": 0.5}, r"high: seeds of webshop_small-tiny-grpo differ in training\.learning_rate"),
        ({"data": {"dvc": "other"}}, r"differ in data"),
    ],
)  # fmt: skip
def test_trials_that_cannot_be_compared_are_refused(trials: dict[str, Path], spoil: Any, wanted: str) -> None:
    """With the run or the settings, before anything is written."""
    run = trials["high"] / "runs" / f"{CELL}-seed101"
    if callable(spoil):
        spoil(run)
    else:
        manifest = read_json(run / "manifest.json")
        if "data" in spoil:
            manifest |= spoil
        else:
            manifest["settings"] = changed(manifest["settings"], **spoil)
        write_json(run / "manifest.json", manifest)
    with pytest.raises(UserError, match=wanted):
        choose(list(trials.values()), RECORD)
    assert not RECORD.exists()


def test_a_trial_of_what_an_algorithm_does_not_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPO has no critic: trials of a critic's learning rate would be one trial under three names, so HiPER would have
    had more. Another setting in its place, under by_algorithm, makes it three again."""

    def made(name: str, **grpo: Any) -> list[Path]:
        for trial, rate in RATES.items():
            own = {key: rate for key in grpo} or {"training__critic__learning_rate": rate}
            add_trial(tmp_path / name / trial, CELLS[0], 100, [0.5], training__critic__learning_rate=rate)
            add_trial(tmp_path / name / trial, CELLS[1], 100, [0.5], **own)
        return [tmp_path / name / trial for trial in RATES]

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"name the record from the project's root"):
        choose(made("idle"), tmp_path / "record.csv")
    with pytest.raises(
        UserError, match=r"low and mid are one trial for alfworld_small-tiny-grpo .* not read training\.cr"
    ):
        choose(made("idle"), RECORD)
    section = yaml.safe_load(section_of(choose(made("own", training__kl=0.0), RECORD)))
    assert section["by_algorithm"]["grpo"]["training"]["kl"] == 1e-4
    assert section["trials"]["settings"] == ["training.critic.learning_rate", "training.kl"]


@pytest.mark.parametrize(
    ("change", "grid", "wanted"),
    [
        (None, {"seeds": "0, 101"}, r"grid\.seeds: 101 is a seed of the trials in configs/trials/mine\.csv"),
        (None, {"algorithms": "hiper, grpo, ppo"}, r"mine\.csv has no trials of alfworld_small-tiny-ppo"),
        (
            ("0.0001", "0.0002"),
            {},
            r"learning_rate = 0\.0002 in the run alfworld_small-tiny-hiper-seed0, .* chose 0\.0001",
        ),
        (("each: 3", "each: 4"), {}, r"trials: configs/trials/mine\.csv says .*'each': 3.*put in again"),
        (("mine.csv", "other.csv"), {}, r"configs/trials/other\.csv: no such file; `hiper choose` writes it"),
    ],
)
def test_an_experiment_is_what_its_record_of_trials_says(
    trials: dict[str, Path], change: tuple[str, str] | None, grid: dict[str, str], wanted: str
) -> None:
    """Else its report would tell of trials that did not lead to it."""
    section = section_of(choose(list(trials.values()), RECORD))
    experiment = mine(section.replace(*change) if change else section, **grid)
    with pytest.raises(UserError, match=wanted):
        compose_grid(experiment, Path.cwd())


def test_the_report_says_how_settings_were_chosen(tmp_path: Path) -> None:
    """What was tried stands in the table also where all algorithms came to the same, with a sentence below."""
    experiment = make_experiment(tmp_path / "results" / "mine")
    (before,) = load_studies(experiment)
    assert compared(before, [])["chosen"] == []
    for config in experiment.glob("runs/*/config.yaml"):
        with config.open("a") as file:
            said = "{record: configs/trials/mine.csv, each: 3, seeds: [100], settings: [training.learning_rate]}"
            file.write(f"training: {{learning_rate: 0.0001}}\ntrials: {said}\n")
    (study,) = load_studies(experiment)
    shown = compared(study, [])
    assert ["training.learning_rate", "0.0001", "0.0001"] in shown["differing"]
    assert shown["chosen"] == [
        "training.learning_rate: chosen for each algorithm among 3 trials of its own, by success on validation tasks, "
        "with seed 100 (configs/trials/mine.csv)."
    ]
