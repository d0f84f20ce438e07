"""The report's page, on small synthetic run folders."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import add_conditions, add_run, add_validations, make_experiment

from hiper.algorithms.registry import ALGORITHMS
from hiper.benchmarks.record import record_of
from hiper.compose import compose_run, config_text
from hiper.errors import UserError
from hiper.manifest import EVALUATION_MANIFEST
from hiper.plugins import ENVIRONMENTS, known
from hiper.records import (
    dumps,
    read_json,
    read_jsonl,
    read_last_rows,
    sha256_file,
    sha256_json,
    write_json,
    write_jsonl,
    write_text,
)
from hiper.report import page as page_module
from hiper.report import published
from hiper.report.compared import NOT_READ, compared
from hiper.report.figures import Drawn
from hiper.report.formats import to_csv
from hiper.report.outputs import summary
from hiper.report.page import write_page
from hiper.report.study import load_studies
from hiper.report.success import success_table
from hiper.report.tables import FILES
from hiper.runs.comparison import EXECUTION_LINE, compare
from hiper.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
MANIFEST = {
    "command": "hiper train results/demo/runs/x --start results/demo/runs/w/model",
    "configuration": "c0nf1g",
    "data": {"dvc": "da7a.dir"},
    "data_source": "generate",
    "git": {"commit": "c0ffee0123456789", "dirty": False},
    "inputs": {"start": "57a27"},
    "packages": {"torch": "2.13.0", "alfworld": None},
    "python": "3.11.7",
    "seeds": {"run": 0},
    "wall_time_seconds": 987.654,
}
HOSTILE = "</div></td><script>alert(1)</script><img src=x onerror=alert(2)>\"' \u202e\x1b[31m & <b>"


class Page(HTMLParser):
    """What a browser would find: elements that were opened, those not closed in order, addresses, anchors and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.text = ""
        self.scripts: dict[str | None, str] = {}  # by their id
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id")] = data
        elif self.open and self.open[-1] != "style":
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]

    def inner(self) -> set[str]:
        """The anchors that links lead to."""
        return {address[1:] for address in self.values("href") if address.startswith("#") and "?" not in address}

    def episodes(self) -> list[dict[str, Any]]:
        """What the page carries of each episode: the columns of its index, and of those whose turns it has the `turns`
        (their texts in the place of numbers), what was seen `last` and what they were `used` for."""
        index = unpacked(self.scripts["index"])
        columns = index["episodes"]
        found = []
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            row["task"], row["instruction"] = index["tasks"][row["task"]]
            row["run"], row["place"] = index["runs"][row["run"]][0], index["places"][row["place"]]
            row["outcome"] = index["outcomes"][row["outcome"]]
            if row["part"] is not None:
                part = unpacked(self.scripts[f"part-{row['part']}"])
                turns, last, _, row["used"] = part["episodes"][row["at"]]
                texts = part["texts"]
                row["last"] = None if last is None else texts[last]
                row["turns"] = [
                    [
                        None if turn[place] is None else texts[turn[place]] if place != 1 else turn[place]
                        for place in range(6)
                    ]
                    + [*turn[6:9], *([[texts[one] for one in turn[9][0]], *turn[9][1:]] for _ in turn[9:])]
                    for turn in turns
                ]
            found.append(row)
        return found


def unpacked(text: str) -> Any:
    assert re.fullmatch("[A-Za-z0-9+/=]*", text)  # nothing in it can be markup
    return json.loads(zlib.decompress(base64.b64decode(text)))


def turn(**changes: Any) -> dict[str, Any]:
    """The second of three tokens was forced, so that the subgoal block carries no gradient."""
    return {
        "observation": "You see a desk 1.",
        "switch": True,
        "subgoal": "find the mug",
        "action": "go to desk 1",
        "valid": True,
        "problems": [],
        "reward": 0.0,
        "values": {"high": 0.25, "low": 0.5},
        "targets": {"high": None, "low": 0.75},
        "advantages": {"switch": 1.5, "subgoal": 0.0, "action": -0.5, "other": 0.0},
        "whole_response": False,
        "spans": {"switch": [0, 1], "subgoal": [1, 2], "action": [2, 3]},
        "token": {"text": ["a", "b", "c"], "trained": [1, 0, 1], "advantage": [1.5, 0.0, -0.5]},
        **changes,
    }


def played(won: bool, iteration: int, **changes: Any) -> dict[str, Any]:
    return {
        "task": "train/mug",
        "task_type": "pick_and_place_simple",
        "instruction": "put the mug on the desk",
        "won": won,
        "truncated": not won,
        "failure": None,
        "return": float(won),
        "turns": 1,
        "observation": "The end.",
        "iteration": iteration,
        "number": 0,
        "updated": ["critic", "actor"],
        "decisions": [turn()],
        **changes,
    }


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Six runs with manifests, one of them made with changes; HiPER's first seed has recorded episodes."""
    folder = make_experiment(tmp_path / "results" / "demo")
    for run in (folder / "runs").iterdir():
        write_json(run / "manifest.json", MANIFEST | {"seeds": {"run": int(run.name[-1])}})
    record(folder, [played(True, 1), played(False, 2), played(True, 3, instruction="put the pen on the desk")])
    return folder


def record(experiment: Path, rows: list[dict[str, Any]]) -> None:
    write_jsonl(experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0" / "episodes.jsonl", rows)


def page_of(experiment: Path) -> Page:
    """The page without its figures, which take seconds."""
    write_page(load_studies(experiment), experiment, [])
    return Page((experiment / "report.html").read_text(encoding="utf-8"))


def success_rates(experiment: Path) -> list[str]:
    """The lines of `success.csv`."""
    return to_csv([success_table(study) for study in load_studies(experiment)]).splitlines()


def test_the_page_needs_nothing_but_itself(experiment: Path) -> None:
    """No style sheet, script or image from elsewhere; the browser is told to fetch nothing and to execute one script,
    the project's own; elements are closed."""
    write_page(load_studies(experiment), experiment, [Drawn("success", (), (("", "<svg/>"),))])
    page = Page((experiment / "report.html").read_text(encoding="utf-8"))
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in page.elements}
    assert page.values("src") == ["data:image/svg+xml;base64,PHN2Zy8+"]
    assert not [one for one in page.values("href") if not one.startswith(("#", "runs/", "tables/", "figures/"))]
    executed = [attributes for name, attributes in page.elements if name == "script" and "type" not in attributes]
    own = (ROOT / "hiper/report/templates/episodes.js").read_text(encoding="utf-8")
    assert executed == [{}] and page.scripts[None] == own
    assert {kind for kind in page.values("type") if "/" in kind} == {"text/plain"}
    policy = next(attributes["content"] for name, attributes in page.elements if "http-equiv" in attributes)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert "innerHTML" not in own and "insertAdjacentHTML" not in own and "document.write" not in own
    assert page.crossed == [] and page.open == []


def test_tables_lead_to_the_files_that_hold_them(experiment: Path) -> None:
    """In the folder beside the page."""
    files = [address.removeprefix("tables/") for address in page_of(experiment).values("href") if "tables/" in address]
    assert {"success.csv", "success.tex", "improvement.csv"} <= {*files} <= {*FILES}


def test_every_cell_leads_to_its_runs(experiment: Path) -> None:
    """Links within the page have one target each; the counts there add up to the rate of the cell."""
    page = page_of(experiment)
    anchors = page.values("id")
    assert len(anchors) == len(set(anchors))
    inner = page.inner()
    assert inner <= set(anchors)
    for algorithm in ("warmstart", "hiper", "ppo_turn"):
        assert f"cell-alfworld_small-tiny_1.5b-{algorithm}-unseen-0.4" in inner
        assert f"runs-alfworld_small-tiny_1.5b-{algorithm}" in anchors
    assert "run-alfworld_small-tiny_1.5b-hiper-seed1" in inner
    assert "87.5 ± 17.7" in page.text and "3 of 4" in page.text and "4 of 4" in page.text


def test_a_study_without_evaluation_stands_beside_others(experiment: Path) -> None:
    """Its tables have no rows, and the page says why."""
    folder = add_run(experiment, "hiper", 2, None)
    folder.rename(folder.with_name("webshop_small-tiny-hiper-seed0"))
    page = page_of(experiment)
    assert page.text.count("No run has been evaluated yet.") == 1 and page.text.count("Interquartile means") == 1
    assert {line.split(",")[0] for line in success_rates(experiment)[1:]} == {"alfworld_small"}
    assert "webshop_small" in summary(experiment)


def test_cells_of_other_protocols_and_models_have_an_origin_of_their_own(experiment: Path) -> None:
    """Each leads to a row that names exactly its episodes; the table that holds all of them is folded."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    add_conditions(run, {("exhaustive", "best"): [True, False, False, False], ("sampled", "last"): [True, True]})
    add_validations(run, {2: 0.5})
    page = page_of(experiment)
    inner = page.inner()
    anchors = page.values("id")
    assert inner <= set(anchors) and len(anchors) == len(set(anchors))
    for place, counts in (("unseen.best", "unseen.best:0.4:0 … 31 of 4"), ("unseen.sampled", "… 12 of 2")):
        assert f"cell-alfworld_small-tiny_1.5b-hiper-{place}-0.4" in inner
        assert counts in page.text
    assert "All protocols and models side by side (5 rows)" in page.text and "Last and best model" in page.text
    assert "exhaustive, best models: 4 episodes (unseen, T = 0.4)" in page.text


def test_a_run_says_what_evaluated_it_and_how_to_do_it_again(experiment: Path) -> None:
    """Command, commit, configuration and models of the evaluation; without its manifest that is said."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    assert page_of(experiment).text.count("not recorded: no evaluation.json") == 5  # one of six was not evaluated
    made = {"command": "hiper evaluate x", "git": {"commit": "5eed", "dirty": True}, "inputs": {"last": "1a57"}}
    write_json(run / "evaluation.json", MANIFEST | made | {"wall_time_seconds": 987.654})
    told = {"best": {"iteration": 2, "success": 0.5}, "experiment": "paper"}  # as of unpacked evidence
    write_json(run / "manifest.json", MANIFEST | told)
    text = page_of(experiment).text
    assert text.count("not recorded: no evaluation.json") == 4
    for fact in (
        "hiper evaluate x", "5eed with changes that are not committed", "last 1a57", "after iteration 2",
        f"snakemake --cores 2 --force results/paper/runs/{run.name}/evaluation.jsonl --config experiment=paper",
        "1 was evaluated with changes that are not committed.", "evaluated by commit", "5eed with changes",
    ):  # fmt: skip
        assert fact in text
    assert "987.654" not in text


def test_a_run_says_what_it_was_made_from(experiment: Path) -> None:
    """Folder, command, commit, hashes of configuration and data."""
    page = page_of(experiment)
    for fact in (
        "results/demo/runs/alfworld_small-tiny_1.5b-hiper-seed0", MANIFEST["command"], "c0ffee0123456789",
        "SHA-256 c0nf1g", "dvc da7a.dir from source generate", "start 57a27", "python 3.11.7, torch 2.13.0",
    ):  # fmt: skip
        assert str(fact) in page.text


def test_the_top_says_when_where_and_at_what_cost(experiment: Path, tmp_path: Path) -> None:
    """From manifests and Snakemake's measurements, in one line; a training counts all its GPUs, an evaluation one.
    Nothing else on the page depends on a clock, and folders that differ in it alone are equal."""
    other, run = tmp_path / "other" / "demo", Path("runs/alfworld_small-tiny_1.5b-hiper-seed0")
    write_json(experiment / run / EVALUATION_MANIFEST, MANIFEST)
    shutil.copytree(experiment, other)
    page_of(experiment)
    hardware = {"processor": "Abacus 3", "cores": 2, "memory_gib": 24, "gpus": ["H200", "H200"]}
    engine = {"device": "cuda", "nodes": 1, "gpus": 2, "threads": 1}
    late = {"finished": "2026-11-30T22:31:00+00:00", "hardware": hardware, "wall_time_seconds": 5400.0}
    write_json(other / run / "manifest.json", MANIFEST | late | {"settings": {"engine": engine}})
    header = "s\th:m:s\tmax_rss\tcpu_time\n"
    write_text(other / "benchmarks" / "train" / "x.tsv", f"{header}7200.0\t2:00:00\t2048.0\t1800.0\n")
    write_text(other / "benchmarks" / "warm_start" / "x.tsv", f"{header}0.1\t0:00:00\tNA\t-\n")
    write_text(other / "benchmarks" / "report.tsv", f"{header}9.0\t0:00:09\t9999.0\t9.0\n")
    evaluated = MANIFEST | late | {"settings": {"engine": engine}, "wall_time_seconds": 1800.0}
    write_json(other / run / EVALUATION_MANIFEST, evaluated)
    start = run.with_name("alfworld_small-tiny_1.5b-warmstart-seed0") / "manifest.json"
    taken = {"taken_from": {"experiment": "demo", "wall_time_seconds": 70.0}}
    write_json(other / start, MANIFEST | taken)
    text = page_of(other).text
    for fact in (
        "2026-11-30 22:31 UTC", "c0ffee0123", "2 × H200, Abacus 3, 2 cores, 24 GiB, cuda",
        "1 h 30 min from the first start of a run to the last end; 2 jobs took 2 h 00 min together, the last attempt "
        "of each; 1 warm start taken from demo, made there in 1 min 10 s",
        "3.5 GPU-hours of trainings and evaluations, 0.5 CPU-hours, up to 2.0 GiB of memory in a job",
    ):  # fmt: skip
        assert fact in text
    lines = [(folder / "report.html").read_text(encoding="utf-8").splitlines() for folder in (experiment, other)]
    kept = [[line for line in page if not line.startswith(EXECUTION_LINE)] for page in lines]
    assert [len(page) - len(rest) for page, rest in zip(lines, kept, strict=True)] == [1, 1]
    for name in ("manifest.json", EVALUATION_MANIFEST):
        write_json(other / run / name, MANIFEST | late)
    page_of(other)
    assert compare(experiment, other)[1] == []


def test_a_run_shows_the_settings_its_results_were_made_with(experiment: Path) -> None:
    """Those of its evaluation, else of its training; config.yaml may have been edited for a stage yet to run."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    settings = read_yaml(run / "config.yaml")
    trained, evaluated = ({**settings, "benchmark": {**settings["benchmark"], "max_turns": n}} for n in (41, 42))
    write_json(run / "manifest.json", MANIFEST | {"settings": trained, "configuration": sha256_json(trained)})
    text = page_of(experiment).text
    assert "at most 30 (Warm start (SFT); HiPER; PPO (turn-level)) / 41 (HiPER) turns" in text
    assert text.count("changed since the run was made") == 5  # not this one
    write_json(run / "evaluation.json", MANIFEST | {"settings": evaluated})
    assert "/ 42 (HiPER) turns" in page_of(experiment).text


def test_unpacked_evidence_is_called_after_its_experiment(experiment: Path) -> None:
    """Not after the folder that it lies in, which is said."""
    for run in (experiment / "runs").iterdir():
        told = MANIFEST | {"experiment": "small", "seeds": {"run": int(run.name[-1])}}
        write_json(run / "manifest.json", told)
        write_json(run / EVALUATION_MANIFEST, told | {"whole_episodes": "d1ge57"})
    assert f"Experiment small (unpacked in {experiment.name})" in page_of(experiment).text


@pytest.mark.parametrize("told", [{}, {"folder": "alfworld_small-tiny_1.5b-hiper-seed0"}], ids=["seed", "folder"])
def test_a_copied_run_is_never_another_seed(experiment: Path, told: dict[str, Any]) -> None:
    """Under the name of a run it is refused, whatever file managers call their copies is passed over; the whole
    experiment may lie elsewhere."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    write_json(run / "manifest.json", MANIFEST | told)
    before = success_rates(experiment)
    for name in (f"{run.name} (copy)", f"{run.name}.bak", f"{run.name}~", f"Copy of {run.name}", f"._{run.name}"):
        shutil.copytree(run, run.with_name(name))
    write_text(run.parent / ".DS_Store", "Mac")
    write_text(run / "Thumbs.db", "Windows")
    moved = experiment.rename(experiment.parents[1] / "elsewhere")
    assert success_rates(moved) == before
    shutil.copytree(moved / "runs" / run.name, moved / "runs" / f"{run.name[:-1]}2")
    with pytest.raises(UserError, match=r"hiper-seed2/manifest\.json: is of .*seed ?0: the folder is a copy"):
        load_studies(moved)


def test_metrics_that_are_not_the_runs_own_are_refused(experiment: Path) -> None:
    """Cut short, of another run, or gone, once the manifest tells of them; put back they are read."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    path = run / "metrics.jsonl"
    content = path.read_bytes()
    write_json(run / "manifest.json", MANIFEST | {"metrics": sha256_file(path)})
    load_studies(experiment)
    for changed in (content[: content.index(b"\n") + 1], b"", None):
        path.unlink() if changed is None else path.write_bytes(changed)
        with pytest.raises(UserError, match=r"seed0/metrics\.jsonl: is (not as|missing).*run the stage that makes"):
            load_studies(experiment)
    path.write_bytes(content)
    load_studies(experiment)


def test_episodes_of_another_evaluation_are_refused(experiment: Path) -> None:
    """Of other episodes than evaluation.json tells of, of another model or other data than manifest.json tells of."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    weights = {"model/config.json": "c0", "model/model.safetensors": "3e"}
    made = {name.removeprefix("model/"): digest for name, digest in weights.items()}
    right = {"episodes": sha256_file(run / "evaluation.jsonl"), "inputs": {"last": sha256_json(made)}}
    write_json(run / "manifest.json", MANIFEST | {"outputs": weights})
    write_json(run / "evaluation.json", MANIFEST | right)
    load_studies(experiment)
    for wrong, words in (
        ({"episodes": "0f"}, r"is not the file that evaluation\.json tells of"),
        ({"inputs": {"last": "0f"}}, "was played by another last model"),
        ({"data": {"dvc": "0f.dir"}}, "was played on other data"),
    ):
        write_json(run / "evaluation.json", MANIFEST | right | wrong)
        with pytest.raises(UserError, match=rf"hiper-seed0/evaluation\.jsonl: {words}.*evaluate this run again"):
            load_studies(experiment)


@pytest.mark.parametrize("other", [{"data": {"dvc": "0f.dir"}}, {"data_source": "folder"}], ids=["content", "source"])
def test_runs_on_different_data_are_not_compared(experiment: Path, other: dict[str, Any]) -> None:
    """In one study; manifests of earlier versions, which tell of the data in another way, do not count as different."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-ppo_turn-seed0"
    write_json(run / "manifest.json", MANIFEST | {"data": {"dataset.json": "1d"}})
    load_studies(experiment)
    write_json(run / "manifest.json", MANIFEST | other)
    with pytest.raises(UserError, match=r"ppo_turn-seed0 was made with other data than .*-warmstart-seed0"):
        load_studies(experiment)


def test_what_makes_runs_hard_to_compare_is_said(experiment: Path) -> None:
    """Another commit, changes that are not committed, a missing manifest, a missing evaluation, changed settings."""
    runs = experiment / "runs"
    write_json(
        runs / "alfworld_small-tiny_1.5b-hiper-seed0" / "manifest.json",
        MANIFEST | {"git": {"commit": "b", "dirty": True}},
    )
    (runs / "alfworld_small-tiny_1.5b-hiper-seed1" / "manifest.json").unlink()
    write_json(runs / "alfworld_small-tiny_1.5b-ppo_turn-seed0" / "manifest.json", MANIFEST | {"git": None})
    settings = read_yaml(runs / "alfworld_small-tiny_1.5b-warmstart-seed0" / "config.yaml")
    write_json(
        runs / "alfworld_small-tiny_1.5b-warmstart-seed0" / "manifest.json",
        MANIFEST | {"configuration": sha256_json(settings)},
    )
    text = page_of(experiment).text
    assert "Not evaluated yet: PPO (turn-level) seed 1." in text
    assert "1 of 6 runs is not finished." in text
    assert "The runs come from 2 different commits." in text
    assert "No commit is known of 1 of 6 runs." in text and "no commit known" in text
    assert "1 of 6 runs was made with changes that are not committed." in text and "b with changes" in text
    assert text.count("changed since the run was made") == 4  # of five with a manifest all but one


def test_the_page_carries_every_episode_turn_by_turn(experiment: Path) -> None:
    """Of evaluation and of training: what was seen, decided and done, an advantage per block and per token, values with
    targets; under the names that `hiper inspect` knows."""
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    rows = read_jsonl(run / "evaluation.jsonl")
    plain = {key: value for key, value in turn(response="?").items() if key not in ("advantages", "values", "targets")}
    write_jsonl(run / "evaluation.jsonl", [rows[0] | {"decisions": [plain, plain | {"switch": False}]}, *rows[1:]])
    found = page_of(experiment).episodes()
    assert len(found) == 5 * 4 + 3
    own = {row["number"]: row for row in found if row["run"] == run.name}
    assert [*own] == [
        "unseen:0.4:0",
        "unseen:0.4:1",
        "unseen:0.4:2",
        "unseen:0.4:3",
        "train:1:0",
        "train:2:0",
        "train:3:0",
    ]
    seen, subgoal, action = "You see a desk 1.", "find the mug", "go to desk 1"
    assert own["unseen:0.4:0"]["turns"] == [
        [seen, 1, subgoal, action, "?", None, 0.0],
        [seen, 0, subgoal, action, "?", None, 0.0],
    ]
    assert (own["unseen:0.4:0"]["place"], own["unseen:0.4:3"]["outcome"]) == ("unseen, T = 0.4", "lost")
    assert own["unseen:0.4:1"]["part"] is None and own["unseen:0.4:1"]["turns"] == 9  # its turns were not recorded
    trained = own["train:3:0"]
    assert (trained["instruction"], trained["place"], trained["used"]) == ("put the pen on the desk", "training", 2)
    (told,) = trained["turns"]
    assert told[7] == [["switch", 1.5, 1], ["subgoal", 0.0, 0], ["action", -0.5, 1]]
    assert told[8] == [["V high", 0.25, None], ["V low", 0.5, 0.75]]
    assert told[9] == [["a", "b", "c"], [1.5, 0.0, -0.5], [1, 0, 1]]
    assert own["train:2:0"]["outcome"] == "out of turns" and trained["last"] == "The end."


def test_an_episode_of_a_flat_algorithm_has_one_advantage_for_all_tokens(experiment: Path) -> None:
    """Or their mean, where each has its own; without subgoals there is neither SWITCH nor KEEP."""
    flat = turn(whole_response=True, subgoal=None, targets={"state": 0.5}, values={"state": 0.25})
    flat["advantages"] = {"switch": 2.0, "subgoal": 2.0, "action": 2.0, "other": 2.0}
    same = flat | {"token": {**flat["token"], "advantage": [2.0, 2.0, 2.0]}}
    record(experiment, [played(True, 1, decisions=[flat, same])])
    mean, alike = next(row["turns"] for row in page_of(experiment).episodes() if row["place"] == "training")
    assert mean[1:3] == [None, None] and mean[7] == [["tokens, mean", 2.0, 1]] and alike[7] == [["all tokens", 2.0, 1]]
    assert mean[8] == [["V", 0.25, 0.5]]


def test_a_shop_page_is_shown_as_a_reader_expects(experiment: Path) -> None:
    """No separators, no task sentence; a product on one line; buttons in brackets."""
    observation = (
        "Instruction: [SEP] buy tea [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] B1 [SEP] "
        "Green tea [SEP] $3.5 [SEP] B2 [SEP] Tea pot [SEP] $24.0 to $29.5"
    )
    shown = record_of("webshop").words.read(observation, "buy tea")
    assert shown.splitlines() == [
        "[Back to Search]", "Page 1 (Total results: 2)", "[Next >]", "B1 · Green tea · $3.5",
        "B2 · Tea pot · $24.0 to $29.5",
    ]  # fmt: skip
    assert record_of("alfworld").words.read("You see a desk 1.", "") == "You see a desk 1."


def test_a_page_that_would_become_too_large_says_what_it_leaves_out(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns that have no room; their episodes stay in the index."""
    assert "no room" not in page_of(experiment).text
    monkeypatch.setattr("hiper.report.episodes.LARGEST", 10)
    page = page_of(experiment)
    assert "no room for the turns of 3 episodes" in page.text and len(page.episodes()) == 23


def test_settings_are_compared_among_the_algorithms_that_read_them(experiment: Path) -> None:
    """What an algorithm has no use for is not shown as its own, though every configuration has it."""
    for name, critic in (("hiper", True), ("ppo_turn", False)):
        run = compose_run("test", "alfworld_test-test-hiper-seed0", ROOT).model_dump(mode="json")
        run["algorithm"] = run["algorithm"] if critic else read_yaml(ROOT / "configs" / "algorithm" / "grpo.yaml")
        run["training"]["critic"]["epochs"], run["training"]["epochs"] = (3, 2) if critic else (7, 5)
        for seed in (0, 1):
            folder = experiment / "runs" / f"alfworld_small-tiny_1.5b-{name}-seed{seed}"
            write_text(folder / "config.yaml", config_text(run))
    found = compared(load_studies(experiment)[0], [])
    differing = {row[0]: row[1:] for row in found["differing"]}
    assert differing["training.epochs"] == ["2", "5"] and differing["algorithm.lam_seg"][1] == "–"
    assert {row[0]: row[1:] for row in found["partly"]}["training.critic.epochs"] == ["3", "–"]


def test_settings_of_many_algorithms_stand_by_value() -> None:
    """Beyond nine algorithms a row says who has which value, and leaves out those that do not read the setting."""
    labels = [f"algorithm {number}" for number in range(12)]
    told = page_module._settings(labels, [["training.loss", *["a"] * 10, "b", NOT_READ]])
    ((name, cell),) = told["rows"]
    assert told["header"] == ["Setting", "Values"] and "training" in name.text
    assert cell.text.startswith("a: algorithm 0; algorithm 1") and cell.text.endswith(". b: algorithm 10")


def test_hostile_text_stays_text(experiment: Path) -> None:
    """Markup from a game or a model is shown as it is; what does not print is written out; long texts are cut. Episodes
    are data that no parser of markup sees."""
    evil = turn(observation=HOSTILE + "x" * 5000, subgoal=HOSTILE, action=HOSTILE, problems=[HOSTILE])
    evil["values"] = {HOSTILE: 0.5}
    record(experiment, [played(True, 1, decisions=[evil], instruction=HOSTILE, task=HOSTILE, observation=HOSTILE)])
    run = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0"
    write_json(run / "manifest.json", MANIFEST | {"command": HOSTILE, "inputs": {HOSTILE: HOSTILE}})
    rows = read_jsonl(run / "evaluation.jsonl")
    write_jsonl(run / "evaluation.jsonl", [row | {"split": HOSTILE, "task_type": HOSTILE} for row in rows])
    page = page_of(experiment)
    scripts = [attributes for name, attributes in page.elements if name == "script"]
    assert len(scripts) == 3 and "img" not in {name for name, _ in page.elements}
    assert page.crossed == [] and page.open == []
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    assert page.text.count(shown) >= 8
    assert "\u202e" not in page.text and "\x1b" not in page.text
    assert not [name for name in page.values("onerror")]
    (told,) = [row for row in page.episodes() if row["place"] == "training"]
    assert (told["task"], told["instruction"], told["last"]) == (shown, shown, shown)
    assert told["turns"][0][0].startswith(shown) and told["turns"][0][0].endswith("more characters)")
    assert told["turns"][0][2] == told["turns"][0][3] == told["turns"][0][5] == shown


WITHOUT_SPANS = {key: value for key, value in turn().items() if key != "spans"}


@pytest.mark.parametrize("row", ["not JSON", '{"won": true}', dumps(played(True, 1, decisions=[WITHOUT_SPANS]))])
def test_a_damaged_record_of_episodes_is_named(experiment: Path, row: str) -> None:
    """Not JSON, not an episode, or a turn without what was recorded of it: file and way out, no traceback."""
    path = experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0" / "episodes.jsonl"
    write_text(path, row + "\n")
    with pytest.raises(UserError, match=r"hiper-seed0/episodes\.jsonl"):
        page_of(experiment)


def test_the_last_rows_of_a_growing_file(tmp_path: Path) -> None:
    """A line without its end is still being written; only the last lines are parsed."""
    path = tmp_path / "rows.jsonl"
    write_text(path, 'damaged\n{"n": 1}\n{"n": 2}\n{"n": 3')
    assert read_last_rows(path, 2) == [{"n": 1}, {"n": 2}]
    write_text(path, 'damaged\n{"n": 1}\n{"n": 2}\n')
    assert read_last_rows(path, 2) == [{"n": 1}, {"n": 2}]
    with pytest.raises(UserError, match=r"rows\.jsonl"):
        read_last_rows(path, 3)
    write_text(path, "")
    assert read_last_rows(path, 3) == []


def real_run(experiment: Path, model: str, algorithm: str, source: str) -> None:
    """A run on the real games, which half of its four tasks win."""
    folder = add_run(experiment, algorithm, 0, [True, True, False, False], split="seen")
    target = folder.with_name(f"alfworld-{model}-{algorithm}-seed0")
    folder.rename(target)
    write_json(target / "manifest.json", MANIFEST | {"data_source": source})


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    """HiPER's row above ours, of the same model only; an ablation of HiPER is not taken for HiPER."""
    for algorithm in ("hiper", "hiper_no_keep"):
        real_run(tmp_path, "qwen2.5_1.5b_instruct", algorithm, "download")
    (study,) = load_studies(tmp_path)
    table = published.published_table(study)
    rows = {row[:2]: row for row in table.cells}
    names = [row[:2] for row in table.cells]
    assert rows["HiPER", "HiPER paper"][2:5] == ("–", "–", "95.3")
    assert rows["HiPER", "here"][2:7] == ("seen", "0.4", "50.0", "50.0", "50.0")
    assert names.index(("HiPER", "HiPER paper")) < names.index(("HiPER", "here"))
    assert [source for _, source in names].count("here") == 1
    assert "97.4" not in str(table.cells)  # that is the larger model's
    assert "arXiv 2602.16165" in table.caption


def test_a_number_known_approximately_is_marked_as_such(tmp_path: Path) -> None:
    """GiGPO with the plan-execute prompt: about 92."""
    real_run(tmp_path, "qwen2.5_1.5b_instruct", "hiper", "download")
    table = published.published_table(load_studies(tmp_path)[0])
    assert [row[4] for row in table.cells if row[0] == "GiGPO with plan-execute prompt"] == ["≈ 92"]


def test_published_numbers_of_other_models_are_marked_as_such(tmp_path: Path) -> None:
    """Both sizes are shown, with the model in a column of its own and a warning."""
    real_run(tmp_path, "tiny", "hiper", "archives")
    (study,) = load_studies(tmp_path)
    table = published.published_table(study)
    assert table.header[1] == "Model"
    assert {row[1] for row in table.cells} == {"qwen2.5_1.5b_instruct", "qwen2.5_7b_instruct", "tiny"}
    assert "none of theirs" in table.caption


def test_generated_games_have_no_published_numbers(experiment: Path, tmp_path: Path) -> None:
    """Nor has another benchmark."""
    real_run(tmp_path / "other", "tiny", "hiper", "generate")
    for folder in (experiment, tmp_path / "other"):
        assert [published.published_table(study).cells for study in load_studies(folder)] == [[]]


@pytest.mark.parametrize("benchmark", [name for name in known(ENVIRONMENTS) if record_of(name).published])
def test_the_file_of_published_numbers_is_sound(benchmark: str) -> None:
    """Known data, models, formulas, sources and columns; every number is a percentage; no row twice."""
    content = published.published_on(benchmark)
    assert (ROOT / "configs" / "benchmark" / f"{content['data']}.yaml").exists()
    seen = set()
    for row in content["rows"]:
        assert row["source"] in content["sources"]
        assert (ROOT / "configs" / "model" / f"{row['model']}.yaml").exists()
        assert row["formula"] in (*ALGORITHMS, published.UNTRAINED) and row["interface"] in ("react", "plan_execute")
        for column, value in row["values"].items():
            assert column in content["columns"]
            about = value["about"] if isinstance(value, dict) else value
            mean, spread = about if isinstance(about, list) else (about, 0.0)
            assert 0 <= mean <= 100 and 0 <= spread < 10
        key = tuple(row[name] for name in ("name", "model", "source"))
        assert key not in seen
        seen.add(key)


def test_the_manifest_of_the_fixture_is_like_a_real_one(experiment: Path) -> None:
    """What the page reads of a manifest are keys that `write_manifest` writes."""
    source = (ROOT / "hiper" / "manifest" / "writing.py").read_text(encoding="utf-8")
    manifest = read_json(experiment / "runs" / "alfworld_small-tiny_1.5b-hiper-seed0" / "manifest.json")
    assert [key for key in manifest if f'"{key}": ' not in source] == []
