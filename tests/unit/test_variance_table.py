"""The table of gradient variance in the report of an experiment."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from damage import edited
from synthetic_runs import make_experiment

from hiper.errors import UserError
from hiper.records import sha256_json, write_json
from hiper.report.page import write_page
from hiper.report.study import load_studies
from hiper.report.tables import write_tables
from hiper.report.variance import NONE, variance_table

NAME = "alfworld_small-tiny_1.5b-warmstart-seed"


def ends(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": None if value is None else value / 2, "high": None if value is None else 2 * value}


def noise(precision: float) -> dict[str, Any]:
    """What a file says of an estimator with that much signal for its noise; each batch moves it by a tenth."""
    without = [precision * (1 + 0.1 * move) for move in (-1, 0, 1, 0)]
    found = {name: ends(1.0) for name in ("variance", "signal", "agreement")}
    return {**found, "scale": ends(1 / precision), "precision": {"value": precision, "without": without}}


def add_measurement(experiment: Path, seed: int, **precisions: float) -> Path:
    """A file as the stage writes it; algorithms by their precision."""
    names = list(precisions)
    estimators = {
        name: {
            "advantage_std": 0.5,
            "explained_variance": {"state": 0.25} if name == "ppo_turn" else {},
            "per_token": noise(precision),
            "per_turn": noise(precision / 2),
            "trained_tokens": [9] * 4,
        }
        for name, precision in precisions.items()
    }
    alignment = {name: {other: 0.75 for other in names if other != name} for name in names}
    path = experiment / "variance" / f"{NAME}{seed}.json"
    shape = {"batches": 4, "critic_batches": 2, "tasks": 3, "group_size": 8}
    found = {"algorithms": names, "alignment": alignment, "estimators": estimators, "run": f"{NAME}{seed}"}
    write_json(path, {**found, "turns": [7] * 4, "variance": shape})
    return path


def write_pages(experiment: Path) -> None:
    """The report without its figures."""
    studies = load_studies(experiment)
    write_tables(studies, experiment / "tables")
    write_page(studies, experiment, [])


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return make_experiment(tmp_path / "demo")


def test_policies_are_pooled_and_compared_with_hiper(experiment: Path) -> None:
    """Precisions 0.1 and 0.3 make a noise scale of 5; PPO's, 0.1 and 0.1, is twice as noisy; an algorithm that was
    measured on one policy is compared on that one."""
    add_measurement(experiment, 0, hiper=0.1, ppo_turn=0.1)
    add_measurement(experiment, 1, hiper=0.3, ppo_turn=0.1, grpo=0.6)
    (study,) = load_studies(experiment)
    table = variance_table(study)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.cells}
    assert list(rows) == ["HiPER", "PPO (turn-level)", "GRPO"]
    assert rows["HiPER"]["Noise scale"].startswith("5 [") and rows["HiPER"]["Noise scale per turn"].startswith("10 [")
    assert rows["HiPER"]["Over HiPER's"] == rows["HiPER"]["Cosine to HiPER"] == "1"
    assert rows["PPO (turn-level)"]["Over HiPER's"].startswith("2 [")
    assert rows["PPO (turn-level)"]["Explained"] == "0.25" and rows["HiPER"]["Explained"] == "–"
    assert rows["GRPO"]["Over HiPER's"].startswith("0.5 [")
    assert [rows[name]["Policies"] for name in rows] == ["2", "2", "1"]
    assert "4 batches of 3 tasks × 8 episodes" in table.caption and "Not measured" in table.caption


def test_a_scale_without_an_upper_end_says_so(experiment: Path) -> None:
    """Where the interval of the signal holds 0 the noise scale may be anything above its lower end, and no ratio is
    made up."""
    path = add_measurement(experiment, 0, hiper=0.1, ppo_turn=0.1)
    text = path.read_text().replace("0.09000000000000001", "-0.9").replace("0.11000000000000001", "0.9")
    path.write_text(text)
    (study,) = load_studies(experiment)
    table = variance_table(study)
    assert table.cells[0][1].endswith(", ∞]")


def test_the_report_has_the_table_everywhere(experiment: Path) -> None:
    """Markdown, LaTeX, the page, and one CSV line per policy, algorithm and denominator."""
    add_measurement(experiment, 0, hiper=0.1, ppo_turn=0.2)
    write_pages(experiment)
    tables = experiment / "tables"
    assert "| PPO (turn-level) | 5 [" in (tables / "variance.md").read_text()
    assert r"$\times$" in (tables / "variance.tex").read_text()
    assert "Gradient variance" in (experiment / "report.html").read_text()
    with (tables / "variance.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["algorithm"], row["denominator"], row["scale"]) for row in rows] == [
        *(("hiper", "token", "10"), ("hiper", "turn", "20")),
        *(("ppo_turn", "token", "5"), ("ppo_turn", "turn", "10")),
    ]
    assert rows[2]["explained_variance"] == "state:0.25" and rows[2]["episodes_per_batch"] == "24"


def test_without_a_measurement_the_files_say_so(experiment: Path) -> None:
    """They exist in any case; the page leaves the table out."""
    write_pages(experiment)
    tables = experiment / "tables"
    assert NONE in (tables / "variance.md").read_text() and NONE in (tables / "variance.tex").read_text()
    assert len((tables / "variance.csv").read_text().splitlines()) == 1
    assert "Gradient variance" not in (experiment / "report.html").read_text()
    (study,) = load_studies(experiment)
    assert variance_table(study).cells == []


def test_a_measurement_of_another_run_is_refused(experiment: Path) -> None:
    """A copy under another name, and one of a model that the run no longer has."""
    path = add_measurement(experiment, 0, hiper=0.1)
    copied = path.with_name(path.name.replace("seed0", "seed7"))
    copied.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"seed7\.json: is of the run .*seed0: the file is a copy"):
        load_studies(experiment)
    copied.unlink()
    run = experiment / "runs" / path.stem
    model = {"model.safetensors": "3e"}
    write_json(run / "manifest.json", {"outputs": {f"model/{name}": digest for name, digest in model.items()}})
    edited(path, model=sha256_json(model))
    load_studies(experiment)
    edited(path, model=sha256_json({"model.safetensors": "4e"}))
    with pytest.raises(UserError, match=r"seed0\.json: is of another model .* remove the file and run `hiper"):
        load_studies(experiment)


def test_a_damaged_file_is_named(experiment: Path) -> None:
    """With what to do about it."""
    path = add_measurement(experiment, 0, hiper=0.1)
    path.write_text(path.read_text().replace('"estimators"', '"estimates"'))
    with pytest.raises(UserError, match=r"seed0\.json: no estimators; remove the file and run `hiper variance` again"):
        load_studies(experiment)
