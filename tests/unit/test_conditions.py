"""Protocols, models and temperatures of an evaluation: what tables have of them, and model selection by hand."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from synthetic_runs import add_conditions, add_run, add_validations, episode, make_experiment

from hiper.errors import UserError
from hiper.records import read_jsonl, write_json, write_jsonl, write_text
from hiper.report.figures import make
from hiper.report.measures import differences
from hiper.report.selection import selection_table
from hiper.report.study import Study, load_studies
from hiper.report.success import cells_side_by_side, played_cells, success_table
from hiper.report.tables import write_tables
from hiper.runs.comparison import compare
from hiper.runs.conditions import Condition, condition_of, in_order, varying

WON = [True, True, True, False]
PLAIN = Condition("unseen", 0.4)
BEST, SAMPLED = Condition("unseen", 0.4, checkpoint="best"), Condition("unseen", 0.4, protocol="sampled")


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """HiPER's first seed was validated and played by both protocols and models, and greedily."""
    folder = make_experiment(tmp_path / "results" / "demo")
    run = folder / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    add_conditions(run, {("exhaustive", "best"): WON, ("sampled", "last"): [True, False]})
    add_conditions(run, {("exhaustive", "last"): WON}, temperature=0.0)
    return folder


def study_of(experiment: Path) -> Study:
    (study,) = load_studies(experiment)
    return study


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_earlier_versions_are_exhaustive_and_of_the_last_model() -> None:
    """They have neither key."""
    assert condition_of(episode(0, True, "unseen")) == PLAIN
    row = {**episode(0, True, "unseen"), "protocol": "sampled", "checkpoint": "best", "temperature": 0}
    assert condition_of(row) == Condition("unseen", 0.0, "sampled", "best")


def test_the_order_of_conditions_is_fixed() -> None:
    """Exhaustive before sampled, last before best, seen before unseen, greedy behind the temperatures."""
    greedy, hot, seen = Condition("unseen", 0.0), Condition("unseen", 1.0), Condition("seen", 0.4)
    expected = [seen, PLAIN, hot, greedy, BEST, SAMPLED]
    assert in_order(reversed(expected)) == expected


def test_a_condition_names_its_episodes_as_inspect_does() -> None:
    """What `hiper inspect RUN NAME` takes, without the number; a person reads other words."""
    assert PLAIN.part == "unseen:0.4"
    both = Condition("unseen", 0.0, "sampled", "best")
    assert (both.part, both.words) == ("unseen.sampled.best:0", "unseen, greedy, sampled, best model")


def test_columns_are_shown_where_they_tell_rows_apart() -> None:
    """Neither protocol nor model as long as there is one of each."""
    assert varying([PLAIN, Condition("seen", 0.0)]) == []
    assert (varying([PLAIN, BEST]), varying([PLAIN, SAMPLED])) == (["checkpoint"], ["protocol"])


def test_the_success_table_has_the_main_rows_first(experiment: Path) -> None:
    """All algorithms' exhaustive rows of last models, then the others; side by side they are together."""
    study = study_of(experiment)
    table = success_table(study)
    assert table.header[:5] == ("Algorithm", "Split", "Temp.", "Protocol", "Model")
    assert [row[:6] for row in table.cells] == [
        ("Warm start (SFT)", "unseen", "0.4", "exhaustive", "last", "37.5 ± 17.7"),
        ("HiPER", "unseen", "0.4", "exhaustive", "last", "87.5 ± 17.7"),
        ("HiPER", "unseen", "greedy", "exhaustive", "last", "75.0"),
        ("PPO (turn-level)", "unseen", "0.4", "exhaustive", "last", "50.0"),
        ("HiPER", "unseen", "0.4", "exhaustive", "best", "75.0"),
        ("HiPER", "unseen", "0.4", "sampled", "last", "50.0"),
    ]
    assert "Protocol: exhaustive plays" in table.caption and "Greedy: T = 0." in table.caption
    assert "exhaustive and sampled evaluation" in table.about
    together = cells_side_by_side(study)
    assert sorted(played_cells(study)["origin"]) == sorted(together["origin"])
    assert list(together.loc[together["algorithm"] == "hiper", "condition"])[:3] == [PLAIN, BEST, SAMPLED]


def test_everything_but_the_success_table_is_about_the_main_conditions(experiment: Path) -> None:
    """Differences, interquartile means and figures do not swell; captions say what they are about."""
    start = experiment / "runs" / "alfworld_small-tiny_1.5b-warmstart-seed0"
    add_conditions(start, {("sampled", "last"): [True, False]})
    study = study_of(experiment)
    assert {condition.block for condition in differences(study)["condition"]} == {("exhaustive", "last")}
    (axis,) = make("success", [study]).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["unseen\nT = 0.4", "unseen\ngreedy"]
    write_tables([study], experiment / "tables")
    for name in ("improvement", "aggregate"):
        text = (experiment / "tables" / f"{name}.md").read_text(encoding="utf-8")
        assert "sampled |" not in text and "Of the exhaustive evaluation of each run's last model alone." in text
    plain = study_of(make_experiment(experiment.parent / "plain"))
    assert plain.main_note == "" and plain.main_conditions == plain.conditions


def test_files_for_machines_have_every_condition(experiment: Path) -> None:
    """Protocol and model as columns, the temperature as a number; `rates` keeps to the main ones."""
    write_tables([study_of(experiment)], experiment / "tables")
    rows = [row for row in read_csv(experiment / "tables" / "success.csv") if row["task_type"] == "all"]
    found = {(row["temperature"], row["protocol"], row["checkpoint"]) for row in rows if row["algorithm"] == "hiper"}
    last, best = ("exhaustive", "last"), ("exhaustive", "best")
    assert found == {("0.4", *last), ("0.0", *last), ("0.4", *best), ("0.4", "sampled", "last")}
    rates = experiment / "tables" / "rates" / "alfworld_small-tiny_1.5b" / "hiper.json"
    assert json.loads(rates.read_text()) == {"unseen_t0.4": 0.875, "unseen_t0.0": 0.75}


def test_without_an_exhaustive_evaluation_the_sampled_one_is_the_main_one(tmp_path: Path) -> None:
    """The condition that most algorithms were played in: figures and differences are never empty for its lack."""
    for algorithm in ("warmstart", "hiper"):
        write_jsonl(add_run(tmp_path, algorithm, 0, WON) / "evaluation.jsonl", [])
        add_conditions(tmp_path / "runs" / f"alfworld_small-tiny_1.5b-{algorithm}-seed0", {("sampled", "last"): WON})
    assert study_of(tmp_path).main_conditions == [SAMPLED]


def test_a_protocol_that_is_no_text_is_refused(experiment: Path) -> None:
    """With the file, the line and the key."""
    path = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0" / "evaluation.jsonl"
    write_jsonl(path, [{**episode(0, True, "unseen"), "protocol": 7}])
    with pytest.raises(UserError, match=r"evaluation\.jsonl:1: .*protocol"):
        load_studies(experiment)


def test_a_model_that_was_never_trained_is_called_so(tmp_path: Path) -> None:
    """`warm_start.method: none`: the base model itself, in every table."""
    for algorithm in ("warmstart", "hiper"):
        folder = add_run(tmp_path, algorithm, 0, WON)
        settings = (folder / "config.yaml").read_text(encoding="utf-8")
        write_text(folder / "config.yaml", settings + "warm_start: {method: none}\n")
    write_tables(load_studies(tmp_path), tmp_path / "tables")
    for name in ("success", "aggregate", "improvement"):
        text = (tmp_path / "tables" / f"{name}.md").read_text(encoding="utf-8")
        assert "Base model (zero-shot)" in text and "Warm start" not in text


def test_selection_by_hand(experiment: Path) -> None:
    """Seed 0: best after 2 of 2 and 4 with 0.75; seed 1: best after 4; the last five of one and three validations."""
    runs = [experiment / "runs" / f"alfworld_small-tiny_1.5b-hiper-seed{seed}" for seed in (0, 1)]
    add_validations(runs[0], {1: 0.25, 2: 0.75, 4: 0.75})
    add_validations(runs[1], {4: 0.5})
    add_conditions(runs[1], {("exhaustive", "best"): [True, False, False, False]})
    study = study_of(experiment)
    write_tables([study], experiment / "tables")
    row = read_csv(experiment / "tables" / "selection.csv")[0]
    # last 0.75 and 1.0, best 0.75 and 0.25: per seed 0 and −0.75
    assert (row["last"], row["best"], row["gain"], row["gain_std"]) == ("0.8750", "0.5000", "-0.3750", "0.5303")
    # windows: (0.25 + 0.75 + 0.75)/3 = 0.5833 and 0.5
    assert (row["validation_last"], row["validation_best"]) == ("0.6250", "0.6250")
    assert (row["validation_window"], row["best_iterations"], row["seeds"]) == ("0.5417", "2 4", "2")
    table = selection_table(study)
    assert [row[:3] for row in table.cells] == [
        ("HiPER", "unseen", "0.4"),
        ("HiPER", "unseen", "greedy"),
    ]
    assert table.cells[0][3:6] == ("87.5 ± 17.7", "50.0 ± 35.4", "−37.5 ± 53.0")
    assert table.cells[1][3:6] == ("75.0", "–", "–")  # the best model was not played greedily
    linked = [{title for title, anchor in zip(table.header, row, strict=True) if anchor} for row in table.anchors]
    assert linked == [{"Algorithm", "Last", "Best"}, {"Algorithm", "Last"}]


def test_the_window_is_the_last_five_validations(experiment: Path) -> None:
    """Of six the first is left out."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    rows = [dict(row, iteration=i, **{"validation/success": float(i > 1)}) for i in range(1, 7)
            for row in read_jsonl(run / "metrics.jsonl")[:1]]  # fmt: skip
    write_jsonl(run / "metrics.jsonl", rows)
    write_tables([study_of(experiment)], experiment / "tables")
    assert read_csv(experiment / "tables" / "selection.csv")[0]["validation_window"] == "1.0000"


def test_without_validation_the_selection_table_says_so(experiment: Path) -> None:
    """One line in Markdown, a comment in LaTeX, a header alone in CSV."""
    write_tables([study_of(experiment)], experiment / "tables")
    text = (experiment / "tables" / "selection.md").read_text(encoding="utf-8")
    assert text.startswith("No run was validated") and text.count("\n") == 1
    assert (experiment / "tables" / "selection.tex").read_text(encoding="utf-8") == f"% {text}"
    assert read_csv(experiment / "tables" / "selection.csv") == []
    assert selection_table(study_of(experiment)).cells == []


def test_equal_evaluations_may_have_taken_different_times(experiment: Path, tmp_path: Path) -> None:
    """`hiper compare` leaves the clock out of the manifest of an evaluation, and nothing else."""
    other = tmp_path / "other"
    name = "runs/alfworld_small-tiny_1.5b-hiper-seed0/evaluation.json"
    write_json(experiment / name, {"command": "hiper evaluate x", "wall_time_seconds": 1.5})
    shutil.copytree(experiment, other)
    write_json(other / name, {"command": "hiper evaluate x", "wall_time_seconds": 2.5})
    assert compare(experiment, other)[1] == []
    write_json(other / name, {"command": "hiper evaluate y", "wall_time_seconds": 1.5})
    assert [difference.path for difference in compare(experiment, other)[1]] == [name]


def test_curves_are_there_as_numbers(experiment: Path) -> None:
    """One row per run and iteration, with what was used and the validation where there was one."""
    add_validations(experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0", {2: 0.5})
    write_tables([study_of(experiment)], experiment / "tables")
    rows = [row for row in read_csv(experiment / "tables" / "curves.csv") if row["run"].endswith("hiper-seed0")]
    assert [row["validation_success"] for row in rows] == ["", "0.5000", "", ""]
    assert (rows[2]["iteration"], rows[2]["episodes"], rows[2]["tokens"]) == ("3", "48", "4320")
    assert rows[2]["success"] == "0.3000"
