"""The report of an experiment, on small synthetic run folders."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_runs import TYPES, add_run, add_validations, episode, make_experiment, metrics

from hiper.errors import UserError
from hiper.records import read_jsonl, write_jsonl
from hiper.report.colours import colour
from hiper.report.figures import FIGURES, draw_band, draw_legend, make, name_below
from hiper.report.improvement import improvement_table
from hiper.report.measures import differences
from hiper.report.outputs import summary, write_report
from hiper.report.page import write_page
from hiper.report.study import load_studies
from hiper.report.success import success_table
from hiper.report.table import SHARED, Column, Table, known
from hiper.report.tables import FILES, RATES, write_tables
from hiper.report.training import course, smooth, window_sums
from hiper.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
MAPS = ("horizon", "horizon_episodes", "horizon_switching", "critic_gaps")
FULL = ("success", "selection", "improvement", "efficiency", *MAPS, "critics", "variance")


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return make_experiment(tmp_path / "results" / "demo")


def tables(experiment: Path) -> None:
    """The report without its figures, which take seconds."""
    write_tables(load_studies(experiment), experiment / "tables")


def train_longer(experiment: Path) -> None:
    """Nine iterations for all trainings that have four: success 0.1 to 0.9."""
    for path in (experiment / "runs").glob("*/metrics.jsonl"):
        if len(read_jsonl(path)) == 4:
            write_jsonl(path, [metrics(i, success=0.1 * i, switch_rate=0.5) for i in range(1, 10)])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_report_writes_the_files_that_the_workflow_waits_for(experiment: Path) -> None:
    """Those that the entries of the tables name, and no others."""
    tables(experiment)
    assert sorted(path.name for path in (experiment / "tables").iterdir()) == sorted([*FILES, RATES])


def test_a_column_that_its_frame_lacks_is_named() -> None:
    """With what there is, for people's rows and for machines' records."""
    frame, none = pd.DataFrame({"label": ["HiPER"]}), pd.DataFrame()
    with pytest.raises(KeyError, match=r"table column 'Turns': its frame has no turns; it has label"):
        Table([Column("Turns", ("turns",))], frame, None)
    with pytest.raises(KeyError, match=r"table column '': its frame has no runs; it has label"):
        Table([Column("", ("runs",))], none, frame)


def test_success_numbers_by_hand(experiment: Path) -> None:
    """HiPER: seeds 0.75 and 1.0; of 8 episodes 7 won; Pick (tasks 0 and 2) 4 of 4, Look 3 of 4."""
    tables(experiment)
    rows = [row for row in read_csv(experiment / "tables" / "success.csv") if row["algorithm"] == "hiper"]
    by_type = {row["task_type"]: row for row in rows}
    overall = by_type["all"]
    # std of (0.75, 1) = 0.25/√2; over tasks Wilson of 7/8: centre (0.875 + 0.240091)/1.480182 = 0.753350,
    # half 1.959964/1.480182 · √(0.875 · 0.125/8 + 3.841459/256) = 1.324137 · 0.169346 = 0.224238
    assert (overall["mean"], overall["std"]) == ("0.8750", "0.1768")
    assert (overall["tasks_low"], overall["tasks_high"]) == ("0.5291", "0.9776")
    # of two seeds: half 12.7062 · 0.1768/√2 = 1.5883, in Wilson's form z²/n = 1.5883²/(0.875 · 0.125) = 23.064:
    # centre (0.875 + 11.532)/24.064 = 0.51558, half √(23.064 · 0.109375 + 11.532²)/24.064 = 0.48375
    assert (overall["low"], overall["high"]) == ("0.0318", "0.9993")
    assert (overall["won"], overall["episodes"], overall["seeds"]) == ("7", "8", "2")
    assert overall["runs"] == "alfworld_small-tiny_1.5b-hiper-seed0 alfworld_small-tiny_1.5b-hiper-seed1"
    assert (by_type[TYPES[0]]["mean"], by_type[TYPES[1]]["mean"]) == ("1.0000", "0.7500")
    rates = experiment / "tables" / "rates" / "alfworld_small-tiny_1.5b"
    assert json.loads((rates / "hiper.json").read_text()) == {"unseen_t0.4": 0.875}


def test_improvements_are_paired_by_hand(experiment: Path) -> None:
    """HiPER − warm start: seed gains 0.5 and 0.5; HiPER − PPO rests on seed 0 alone: gain 0.25."""
    tables(experiment)
    rows = {(row["algorithm"], row["baseline"]): row for row in read_csv(experiment / "tables" / "improvement.csv")}
    assert list(rows) == [("hiper", "warmstart"), ("ppo_turn", "warmstart"), ("hiper", "ppo_turn")]
    gain = rows["hiper", "warmstart"]
    # task gains averaged over seeds: 0, 0.5, 1, 0.5
    assert (gain["difference"], gain["seed_std"], gain["tasks"], gain["seeds"]) == ("0.5000", "0.0000", "4", "2")
    # no less than over tasks: with ½ task won, ½ lost and 1 drawn, centre 2/6, squares (1 + ¼ + ¼ + 1)/6 − 1/9 = 11/36,
    # half 2.570582 · √(11/36)/√6 = 0.580098
    assert (gain["low"], gain["high"]) == (gain["tasks_low"], gain["tasks_high"]) == ("-0.2468", "0.9134")
    single = rows["hiper", "ppo_turn"]
    assert (single["difference"], single["seed_std"], single["low"], single["seeds"]) == ("0.2500", "", "", "1")
    assert float(single["tasks_low"]) < 0.25 < float(single["tasks_high"])


def test_aggregates_are_over_seeds_and_task_types(experiment: Path) -> None:
    """HiPER's Pick and Look: 1.0 and 0.5 with seed 0, 1.0 and 1.0 with seed 1; the warm start's: 0.5, 0, 0.5, 0.5."""
    tables(experiment)
    records = read_csv(experiment / "tables" / "success.csv")
    overall = {row["algorithm"]: row for row in records if row["task_type"] == "all"}
    assert {row["iqm"] for row in records if row["task_type"] != "all"} == {""}
    # the middle two of 0.5, 1, 1, 1; without seed 1 the middle of 0.5 and 1: however high, two seeds are no certainty
    assert overall["hiper"]["iqm"] == overall["hiper"]["iqm_high"] == "1.0000"
    assert overall["hiper"]["iqm_low"] == "0.0000"
    assert (overall["ppo_turn"]["iqm"], overall["ppo_turn"]["iqm_low"]) == ("0.5000", "")  # one seed: no interval
    rows = {(row["algorithm"], row["baseline"]): row for row in read_csv(experiment / "tables" / "improvement.csv")}
    assert rows["hiper", "warmstart"]["probability"] == "1.0000"
    # with seed 0, PPO wins half of Pick and half of Look: 1.0 > 0.5 and 0.5 = 0.5
    assert (rows["hiper", "ppo_turn"]["probability"], rows["hiper", "ppo_turn"]["probability_low"]) == ("0.7500", "")
    # both seeds agree: Wilson of 2 of 2 is [2/(2 + z²), 1]
    assert rows["hiper", "warmstart"]["probability_low"] == "0.3424"
    text = (experiment / "tables" / "aggregate.md").read_text(encoding="utf-8")
    assert re.search(
        r"^\| HiPER \| unseen \| 0\.4 \| 100\.0 \| \[[0-9.]+, 100\.0] \| 87\.5 \| 2 \| 2 \|$", text, re.MULTILINE
    )


def test_efficiency_counts_what_training_had_used(experiment: Path) -> None:
    """16 episodes of 9 turns of 10 tokens per iteration, success 0.1 more in each; PPO's second seed has two."""
    train_longer(experiment)
    tables(experiment)
    rows = {(row["algorithm"], row["level"]): row for row in read_csv(experiment / "tables" / "efficiency.csv")}
    there = rows["hiper", "0.3"]
    assert (there["episodes"], there["turns"], there["tokens"]) == ("48.0", "432.0", "4320.0")
    assert (there["reached"], there["seeds"], there["episodes_std"]) == ("2", "2", "0.0")
    # seed 0 is there after 48 episodes and stays for six iterations, seed 1 has used 32: mean 40, deviation 8√2 = 11.3
    bound = rows["ppo_turn", "0.3"]
    assert (bound["episodes"], bound["episodes_std"], bound["reached"]) == ("40.0", "11.3", "1")
    text = (experiment / "tables" / "efficiency.md").read_text(encoding="utf-8")
    assert "| PPO (turn-level) | 30.0 | ≥ 40 | ≥ 360 | ≥ 3,600 | 1 of 2 |" in text
    assert "| 10.0 |" not in text and "| 50.0 |" not in text  # the three highest levels; 50 % came in the fifth of nine


def test_efficiency_counts_what_a_critic_was_pretrained_on(tmp_path: Path) -> None:
    """32 episodes of 300 turns and 3,000 tokens in all, before nine iterations of 16 episodes: every figure has them,
    and they are no episodes of the first iteration."""
    folder = add_run(tmp_path, "hiper", 0, [True, False], iterations=9)
    rows = read_jsonl(folder / "metrics.jsonl")
    rows = [row | {"episodes": row["episodes"] + 32} for row in rows]
    rows[0] |= {"pretraining/episodes": 32.0, "pretraining/turns": 300.0, "pretraining/tokens": 3000.0}
    write_jsonl(folder / "metrics.jsonl", rows)
    tables(tmp_path)
    (there,) = [row for row in read_csv(tmp_path / "tables" / "efficiency.csv") if row["level"] == "0.3"]
    assert (there["episodes"], there["turns"], there["tokens"]) == ("80.0", "732.0", "7320.0")
    (study,) = load_studies(tmp_path)
    found = course(study, study.runs[0].name)
    assert found is not None and found.played.tolist() == [16.0] * 9


def test_runs_without_counts_of_tokens_have_no_efficiency(tmp_path: Path) -> None:
    """Metrics of another version: no row rather than a wrong one."""
    folder = add_run(tmp_path, "hiper", 0, [True, False])
    rows = [metrics(1, success=0.5, switch_rate=None)]
    del rows[0]["train/response_tokens"]
    write_jsonl(folder / "metrics.jsonl", rows)
    tables(tmp_path)
    assert read_csv(tmp_path / "tables" / "efficiency.csv") == []


def test_the_warm_start_comes_first_and_the_caption_says_what_is_missing(experiment: Path) -> None:
    """Decoding, protocol, turn limit, benchmark and model are named; so are seeds without evaluation."""
    tables(experiment)
    text = (experiment / "tables" / "success.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert rows == ["Algorithm", "---", "Warm start (SFT)", "HiPER", "PPO (turn-level)"]
    assert "87.5 ± 17.7 | [3.2, 99.9]" in text and "50.0 | [15.0, 85.0] tasks only" in text
    for words in (
        "alfworld_small", "tiny_1.5b", "guided decoding", "exhaustive evaluation", "at most 30 turns",
        "Not evaluated yet: PPO (turn-level) seed 1.", "for new training seeds and new tasks",
        "All seeds share the demonstrations", "With one seed there is none for other seeds", "Two seeds say little",
    ):  # fmt: skip
        assert words in text


def test_every_table_and_figure_with_intervals_says_what_they_are_for(experiment: Path) -> None:
    """And what all seeds share: in the same words everywhere, also where a terminal shows numbers."""
    train_longer(experiment)
    tables(experiment)
    for name in ("success", "aggregate", "improvement"):
        assert SHARED in (experiment / "tables" / f"{name}.md").read_text(encoding="utf-8")
    write_page(load_studies(experiment), experiment, [])
    for text in (summary(experiment), (experiment / "report.html").read_text(encoding="utf-8")):
        assert SHARED in text.replace("\n", " ")


def test_unequal_seeds_count_alike_and_that_is_said(tmp_path: Path) -> None:
    """Seed 0 wins 1 of 10, seed 1 wins 9 of 10 and plays ten times as often: 50 %, and the interval is about that."""
    for seed, times in ((0, 1), (1, 10)):
        folder = add_run(tmp_path, "hiper", seed, None)
        won = [number < (1 if seed == 0 else 9) for number in range(10)]
        write_jsonl(folder / "evaluation.jsonl", [episode(i, win, "unseen") for i, win in enumerate(won)] * times)
    tables(tmp_path)
    row = read_csv(tmp_path / "tables" / "success.csv")[0]
    assert (row["mean"], row["won"], row["episodes"]) == ("0.5000", "91", "110")
    assert float(row["low"]) < float(row["tasks_low"]) < 0.5 < float(row["tasks_high"]) < float(row["high"])
    assert "every seed counts alike" in (tmp_path / "tables" / "success.md").read_text(encoding="utf-8")


def test_cells_that_other_runs_have_and_tasks_that_differ_are_named(tmp_path: Path) -> None:
    """A seed that lacks a split, an algorithm without any run on a benchmark, rows that cannot be compared."""
    for seed in (0, 1):
        add_run(tmp_path, "hiper", seed, [True, False])
        folder = add_run(tmp_path, "ppo_turn", seed, [True, False])
    rows = read_jsonl(folder / "evaluation.jsonl")
    write_jsonl(folder / "evaluation.jsonl", [{**rows[0], "task": "other"}, rows[1], episode(0, True, "seen")])
    hiper = tmp_path / "runs/alfworld_small-tiny_1.5b-hiper-seed0"
    shutil.copytree(hiper, hiper.with_name(hiper.name.replace("alfworld", "webshop")))
    alfworld, webshop = load_studies(tmp_path)
    assert alfworld.gaps == (
        "Not evaluated there, though other seeds are: PPO (turn-level) seed 0 (seen, T = 0.4). "
        "Algorithms did not play the same tasks: unseen, T = 0.4. Compare paired differences."
    )
    assert webshop.gaps == "Not evaluated yet: HiPER seed 1, PPO (turn-level) seed 0, PPO (turn-level) seed 1."
    assert alfworld.gaps in success_table(alfworld).full_caption


def test_algorithms_without_a_common_seed_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    """Rather than a difference whose pairs are not pairs."""
    add_run(tmp_path, "hiper", 0, [True, False])
    add_run(tmp_path, "ppo_turn", 1, [True, False])
    add_run(tmp_path, "warmstart", 1, [True, False])
    (study,) = load_studies(tmp_path)
    assert differences(study)[["algorithm", "baseline"]].to_numpy().tolist() == [["ppo_turn", "warmstart"]]
    caption = improvement_table(study).caption
    assert "so not compared: HiPER − Warm start (SFT), HiPER − PPO (turn-level)." in caption


def test_training_figures_average_the_last_iterations(experiment: Path) -> None:
    """Runs of 4 iterations with success 0.1 … 0.4 average to 0.25; the warm start has no row."""
    tables(experiment)
    rows = {row["run"]: row for row in read_csv(experiment / "tables" / "training.csv")}
    assert len(rows) == 4
    row = rows["alfworld_small-tiny_1.5b-hiper-seed0"]
    assert (row["final_success"], row["iterations"], row["episodes"], row["averaged_iterations"]) == (
        "0.2500",
        "4",
        "64",
        "4",
    )
    assert rows["alfworld_small-tiny_1.5b-ppo_turn-seed1"]["final_success"] == "0.1500"


def test_latex_is_escaped_and_balanced(experiment: Path) -> None:
    """No bare special character outside math, braces and environments closed, as many cells as columns."""
    train_longer(experiment)
    tables(experiment)
    for name in ("success", "aggregate", "improvement", "efficiency"):
        text = (experiment / "tables" / f"{name}.tex").read_text(encoding="utf-8")
        body = text.split("\n", 1)[1]  # the first line is a comment
        assert r"tiny\_1.5b" in body and (r"95 \%" in body or name == "efficiency")
        assert not re.search(r"(?<!\\)[%#_]", body)
        assert body.count("{") == body.count("}") and body.count(r"\begin") == body.count(r"\end")
        assert body.isascii()
        columns = len(re.search(r"\\begin{tabular}{(\w+)}", body).group(1))  # type: ignore[union-attr]
        for line in body.splitlines():
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == columns - 1


def test_bands_are_around_the_mean_curve() -> None:
    """The share of episodes won in a window, whose interval the band is, equals the smoothed rate where iterations are
    of one size."""
    success = np.array([0.25, 0.5, 0.75, 1.0, 0.5])
    won = window_sums(8 * success, 3)
    assert won / window_sums(np.full(5, 8.0), 3) == pytest.approx(smooth(success, 3))
    assert won.tolist() == [6.0, 12.0, 18.0, 18.0, 12.0]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_bands_contain_how_much_seeds_vary(tmp_path: Path, seeds: int) -> None:
    """Three seeds at 40, 50 and 60 %: 50 ± 4.3027 · 10/√3; one: Wilson of 26 of 64 episodes; two: none."""
    for seed in range(seeds):
        folder = add_run(tmp_path, "hiper", seed, [True, False])
        rows = [{**metrics(i, success=0.4 + 0.1 * seed, switch_rate=0.5), "episodes": 64 * i} for i in (1, 2)]
        write_jsonl(folder / "metrics.jsonl", rows)
    axis = Figure().subplots()
    draw_band(axis, load_studies(tmp_path)[0], "hiper")
    found = [sorted(set(band.get_paths()[0].vertices[:, 1].round(2))) for band in axis.collections]
    assert found == [[[29.46, 52.85]], [], [[25.16, 74.84]]][seeds - 1]


def test_held_out_curves_stand_below_training_curves(experiment: Path) -> None:
    """As they were measured, each with its temperature in the label; without validation tasks there is no room for
    them."""
    assert len(make("learning_curves", load_studies(experiment)).axes) == 1
    for run in (experiment / "runs").glob("*-hiper-*"):
        add_validations(run, {2: 0.25, 4: 0.75})
        text = (run / "config.yaml").read_text().replace("mode: guided", "mode: guided, temperature: 1.0")
        (run / "config.yaml").write_text(f"{text}training: {{validation: {{temperature: 0.4}}}}\n")
    training, held_out = make("learning_curves", load_studies(experiment)).axes
    assert training.get_ylabel().startswith("training tasks, T = 1.0")
    assert held_out.get_ylabel().startswith("held-out tasks, T = 0.4")
    assert {(*line.get_xdata(), *line.get_ydata()) for line in held_out.lines} == {(32, 64, 25, 75)}
    assert {line.get_color() for line in held_out.lines} == {colour("hiper")}


def test_differences_are_drawn_with_their_intervals(experiment: Path) -> None:
    """Those of the table, under the condition that asks most, in the colour of the algorithm that is named first; a
    hollow dot stands for one seed."""
    (axis,) = make("differences", load_studies(experiment)).axes
    rows = [*differences(load_studies(experiment)[0]).itertuples()]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [row.comparison for row in rows]
    _, *lines = axis.lines  # the first is zero
    for row, span, dot in zip(rows, lines[::2], lines[1::2], strict=True):
        assert [*span.get_xdata()] == [100 * end for end in known(row)] and [*dot.get_xdata()] == [100 * row.difference]
        assert span.get_color() == colour(row.algorithm)
        assert (dot.get_markerfacecolor() == "white") == (row.seeds == 1)


def test_the_same_results_give_the_same_bytes(experiment: Path) -> None:
    """Tables, figures and the page carry no dates and no order of the file system."""

    def snapshot() -> dict[str, bytes]:
        write_report(experiment)
        files = [path for name in ("tables", "figures", ".") for path in (experiment / name).glob("*.*")]
        return {path.name: path.read_bytes() for path in files}

    first = snapshot()
    assert sorted(first) == sorted(
        [f"{table}.{suffix}" for table in FULL for suffix in ("csv", "md", "tex")]
        + [f"{table}.{suffix}" for table in ("aggregate", "published") for suffix in ("md", "tex")]
        + [f"{figure}.{suffix}" for figure in FIGURES for suffix in ("png", "pdf")]
        + ["training.csv", "curves.csv", "report.html"]
    )
    assert snapshot() == first


def test_the_summary_shows_success_improvement_and_the_way_on(experiment: Path) -> None:
    """Fixed-width text that fits a terminal; MLflow where there are records for it."""
    assert "MLflow" not in summary(experiment) and "Report:  none yet" in summary(experiment)
    (experiment / "tracking").mkdir()
    (experiment / "figures").mkdir(exist_ok=True)
    text = summary(experiment)
    assert re.search(r"^HiPER +unseen +0\.4 +87\.5 ± 17\.7 +\[3\.2, 99\.9\] +8 +2$", text, re.MULTILINE)
    assert re.search(r"^HiPER − Warm start \(SFT\) +unseen +0\.4 +\+50\.0 +\[", text, re.MULTILINE)
    assert "MLflow:  make mlflow\n" in text and str(experiment / "figures") in text
    assert max(len(line) for line in text.splitlines() if str(experiment) not in line) <= 120


@pytest.mark.parametrize(("count", "length", "inside"), [(6, 12, True), (7, 12, False), (5, 30, False)])
def test_a_legend_covers_no_bars(count: int, length: int, inside: bool) -> None:
    """With many names, or long ones in columns, it stands beside the axes."""
    axis = Figure().subplots()
    for number in range(count):
        axis.plot([0, 1], [0, 1], label=f"{number}".ljust(length, "x"))
    draw_legend(axis, loc="upper center", ncols=4)
    legend = axis.get_legend()
    assert legend is not None and (legend.get_bbox_to_anchor().x0 < axis.bbox.x1) == inside


def test_bars_of_many_algorithms_have_their_names_below_them(tmp_path: Path) -> None:
    """No legend names so many: each place has axes of its own, and the lowest the names."""
    for algorithm in ("warmstart", "hiper", "hiper_traced", "ppo", "grpo", "gigpo", "rloo", "hgpo", "dvao"):
        add_run(tmp_path / "many", algorithm, 0, [True, False])
    studies = load_studies(tmp_path / "many")
    for name, places in (("success", len(studies[0].main_conditions)), ("task_types", len(studies[0].task_types))):
        axes = make(name, studies).axes
        assert len(axes) == places and not any(axis.get_legend() for axis in axes)
        assert [text.get_text() for text in axes[-1].get_xticklabels()][-1] == studies[0].label(
            studies[0].algorithms[-1]
        )


def test_the_summary_of_another_experiment_names_it_for_mlflow(tmp_path: Path) -> None:
    """`make mlflow` alone would show the demo."""
    add_run(tmp_path / "mine", "hiper", 0, [True, False])
    (tmp_path / "mine" / "tracking").mkdir()
    assert summary(tmp_path / "mine").endswith("MLflow:  EXPERIMENT=mine make mlflow\n")


def test_the_order_of_splits_temperatures_and_studies_is_fixed(tmp_path: Path) -> None:
    """Seen before unseen, cold before hot; one table per benchmark and model."""
    for algorithm in ("warmstart", "hiper"):
        folder = add_run(tmp_path, algorithm, 0, [True, False])
        hot = [{**episode(i, True, split), "temperature": 1.0} for i in range(2) for split in ("unseen", "seen")]
        write_jsonl(folder / "evaluation.jsonl", [*hot, episode(0, True, "unseen")])
    other = tmp_path / "runs" / "alfworld-tiny-hiper-seed0"
    write_jsonl(other / "evaluation.jsonl", [episode(0, True, "seen")])
    tables(tmp_path)
    rows = read_csv(tmp_path / "tables" / "success.csv")
    cells = [
        (row["benchmark"], row["algorithm"], row["split"], row["temperature"])
        for row in rows
        if row["task_type"] == "all"
    ]
    expected = [("alfworld_small", name, *c) for name in ("warmstart", "hiper") for c in
                (("seen", "1.0"), ("unseen", "0.4"), ("unseen", "1.0"))]  # fmt: skip
    assert cells == [("alfworld", "hiper", "seen", "0.4"), *expected]
    assert (tmp_path / "tables" / "success.tex").read_text().count(r"\begin{table}") == 2


def test_without_evaluated_runs_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    """No folder, and a folder whose only run is unfinished."""
    with pytest.raises(UserError, match="run the evaluation stage"):
        write_report(tmp_path)
    add_run(tmp_path, "hiper", 0, None)
    with pytest.raises(UserError, match="run the evaluation stage"):
        summary(tmp_path)


@pytest.mark.parametrize("place", ["..", "runs", "runs/alfworld_small-tiny_1.5b-hiper-seed0"])
def test_a_folder_one_level_off_is_answered_with_the_right_one(experiment: Path, place: str) -> None:
    """A run's folder, the folder of all experiments."""
    with pytest.raises(UserError, match=rf"has no folder runs, .* name {experiment} instead"):
        load_studies(experiment.parent if place == ".." else experiment / place)


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    """File, line and key."""
    folder = add_run(tmp_path, "hiper", 0, None)
    write_jsonl(folder / "evaluation.jsonl", [episode(0, True, "seen"), {"task": "t", "split": "seen"}])
    with pytest.raises(UserError, match=r"evaluation\.jsonl:2: no task_type, temperature, won"):
        tables(tmp_path)


def test_flat_runs_without_switch_metrics_and_broken_episodes_are_reported(tmp_path: Path) -> None:
    """A missing metric leaves a cell empty, a failed episode counts as lost and is mentioned."""
    folder = add_run(tmp_path, "ppo_turn", 0, [True, False])
    write_jsonl(folder / "metrics.jsonl", [metrics(1, success=0.5, switch_rate=None)])
    write_jsonl(folder / "evaluation.jsonl", [{**episode(0, False, "seen"), "failure": "step: OSError"}])
    tables(tmp_path)
    assert read_csv(tmp_path / "tables" / "training.csv")[0]["final_switch_rate"] == ""
    assert "Broken episodes, counted as lost: 1." in (tmp_path / "tables" / "success.md").read_text()


def test_critics_by_hand(experiment: Path) -> None:
    """Means over a run and over its last five iterations, then over seeds; a run of before Monte-Carlo returns were
    asked for, and algorithms without value heads, have no row."""
    for seed, last in ((0, 0.2), (1, 0.4)):
        folder = experiment / "runs" / f"alfworld_small-tiny_1.5b-hiper-seed{seed}"
        heads = [{"critic/explained_variance_high": last * (i > 1), "critic/target_explained_variance_high": 0.9}
                 for i in range(1, 7)]  # fmt: skip
        rows = [metrics(i, 0.5, 0.5) | head | {"critic/lam_boundary": 0.8} for i, head in enumerate(heads, start=1)]
        write_jsonl(folder / "metrics.jsonl", rows)
    old = metrics(1, 0.5, 0.5) | {"critic/explained_variance_state": 0.9}
    write_jsonl(experiment / "runs" / "alfworld_small-tiny_1.5b-ppo_turn-seed0" / "metrics.jsonl", [old])
    tables(experiment)
    (row,) = read_csv(experiment / "tables" / "critics.csv")
    assert (row["algorithm"], row["head"], row["seeds"]) == ("hiper", "high", "2")
    assert (row["returns"], row["returns_last"], row["returns_last_std"]) == ("0.2500", "0.3000", "0.1414")
    assert (row["targets_last"], row["lam_boundary_last"]) == ("0.9000", "0.8000")
    text = (experiment / "tables" / "critics.md").read_text()
    assert "| HiPER | high | 0.25 ± 0.12 | 0.30 ± 0.14 | 0.90 ± 0.00 | 0.80 ± 0.00 | 2 |" in text


def test_many_names_stand_below_all_axes() -> None:
    """Each once, in one legend with room of its own; a dozen stand beside their axes."""
    for count in (12, 13):
        figure = Figure(layout="constrained")
        for axis in figure.subplots(2):
            for number in range(count):
                axis.plot([0, 1], [0, number], label=f"algorithm {number}")
            draw_legend(axis)
        height = figure.get_figheight()
        name_below(figure)
        below, beside = figure.legends, [axis.get_legend() for axis in figure.axes]
        assert ([len(one.get_texts()) for one in below], figure.get_figheight() > height) == (
            ([count], True) if count == 13 else ([], False)
        )
        assert [one is None for one in beside] == [count == 13] * 2


def test_smoothing_is_a_centred_average() -> None:
    """Window 3, with the two values there are at each end."""
    np.testing.assert_allclose(smooth(np.array([0.0, 3.0, 6.0, 0.0]), 3), [1.5, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0]), 1), [1.0, 2.0])
    assert smooth(np.array([]), 1).size == 0


def test_what_dvc_shows_is_what_the_report_writes(experiment: Path) -> None:
    """Pictures that dvc.yaml names are among its files, and rates of each benchmark and model of the demo lie where
    it names them."""
    write_report(experiment)
    named, grid = read_yaml(ROOT / "dvc.yaml"), read_yaml(ROOT / "configs" / "experiment" / "demo.yaml")["grid"]
    for path in named["plots"]:
        assert (experiment / Path(path).relative_to("results/demo")).exists(), path
    wanted = [f"{benchmark}-{model}" for benchmark in grid["benchmarks"] for model in grid["models"]]
    assert named["metrics"] == [f"results/demo/tables/rates/{name}" for name in wanted]
    assert {path.name for path in (experiment / "tables" / "rates").iterdir()} == {"alfworld_small-tiny_1.5b"}
