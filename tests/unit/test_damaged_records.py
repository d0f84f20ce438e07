"""Truncated, overwritten and foreign records (demonstrations, metrics, evaluations, manifests): read, or refused with
file and line; and a manifest's checksums find every changed byte.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import damages, few, many, read_or_refused
from hypothesis import given
from pipeline import RUN
from recorded_run import make_run

from hiper.compose import write_config
from hiper.config import RunSettings, parse_run
from hiper.errors import UserError
from hiper.learning.folders import VALUE_HEADS, WEIGHTS
from hiper.manifest import files_of, read_manifest, verify_outputs, write_manifest
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, read_jsonl, sha256_file, write_json, write_jsonl
from hiper.report.formats import to_csv
from hiper.report.page import write_page
from hiper.report.study import load_studies
from hiper.report.success import success_table
from hiper.report.training import training_table
from hiper.stages import evaluation, gradient_variance, training, warmstart
from hiper.stages.demonstrations import read_demonstrations
from hiper.views.play import model_of

pytestmark = pytest.mark.usefixtures("limited_memory")


@many
@given(damage=damages())
def test_damaged_demonstrations(
    small_pipeline: Path, small_settings: RunSettings, damage: Callable[[bytes], bytes]
) -> None:
    """demonstrations.jsonl: examples for the warm start, or refused."""
    path = small_pipeline / "demonstrations" / "demonstrations.jsonl"
    loaded = load_tokenizer(small_pipeline / "tokenizer")
    read_or_refused(path, path.read_bytes(), damage, lambda: warmstart._examples(small_settings, path, loaded))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "holds no demonstration"),
        (b"\n", ":1: not valid JSON"),
        (b"{}\n", ":1: no task, messages"),
        (b'{"task": "t", "messages": []}\n', ":1: `messages` must be a user's and an assistant's message, found 0"),
        (b'{"task": 3, "messages": []}\n', ":1: `task` = 3 must be of type str"),
        (b'{"task": "t", "messages": [1, 2]}\n', ":1, messages: expected a JSON object, found int"),
        (b"[" * 100_000 + b"\n", ":1: not valid JSON (nested too deeply)"),
        (b'{"task": NaN}\n', ":1: not valid JSON (NaN is no JSON number)"),
        (b'{"task": "\\ud800"}\n', ":1: not valid JSON"),
        (b'{"task": 1' + b"0" * 5000 + b"}\n", ":1: not valid JSON"),
        (b'{"task": "t\xff"}\n', ":1: not valid JSON"),
    ],
    ids=range(11),
)
def test_demonstrations_are_refused_with_their_line(tmp_path: Path, content: bytes, wanted: str) -> None:
    """File, line and reason."""
    path = tmp_path / "demonstrations.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_demonstrations(path)
    assert str(path) in str(caught.value) and wanted in str(caught.value)


def test_a_warm_start_needs_something_to_learn_from(copied_pipeline: Path, small_settings: RunSettings) -> None:
    """A single episode, all of it held out; fewer turns than a batch; prompts that are all over the limit."""
    path = copied_pipeline / "demonstrations" / "demonstrations.jsonl"
    loaded, rows = load_tokenizer(copied_pipeline / "tokenizer"), read_jsonl(path)
    values = small_settings.model_dump()
    short = parse_run({**values, "prompt": {**values["prompt"], "max_tokens": 10}}, "test")
    for kept, given_settings, wanted in (
        (
            [row for row in rows if row["task"] == rows[0]["task"]],
            small_settings,
            "keeps all of its 1 episodes from training",
        ),
        (rows[:3] + rows[-1:], small_settings, "fewer than warm_start.batch_turns=4"),
        (rows, short, r"demonstrations\.jsonl: has 0 turns to train on.*prompt\.max_tokens"),
    ):
        write_jsonl(path, kept)
        with pytest.raises(UserError, match=wanted):
            warmstart._examples(given_settings, path, loaded)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, small_settings: RunSettings, small_pipeline: Path) -> Path:
    """An experiment with one evaluated run, some of whose episodes of training were recorded."""
    run = make_run(tmp_path_factory.mktemp("results") / "test" / "runs" / RUN, iterations=1)
    write_config(small_settings, run / "config.yaml")
    episode = {"task": "a/b/c", "task_type": "look_at_obj_in_light", "split": "seen", "temperature": 0.4}
    rows = [{**episode, "won": won, "turns": 3, "failure": None} for won in (True, False)]
    write_jsonl(run / "evaluation.jsonl", rows)
    write_jsonl(run / "metrics.jsonl", [{"iteration": n, "train/success": 0.5, "episodes": 8 * n} for n in (1, 2)])
    shutil.copytree(small_pipeline / "warmstart" / "model", run / "model")
    outputs = [path for path in (run / "model").iterdir() if path.is_file()]
    write_manifest(run, small_settings, small_pipeline / "data", outputs=outputs)
    return run


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.jsonl", "config.yaml", "manifest.json"])
def test_damaged_results(results: Path, name: str) -> None:
    """The report's tables and the manifest's checks: made, or refused."""
    path = results / name
    content = path.read_bytes()

    def read() -> None:
        for study in load_studies(results.parent.parent):
            to_csv([success_table(study)])
            to_csv([training_table(study)])
        read_manifest(results)
        verify_outputs(results)

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, read)

    damaged()


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "episodes.jsonl"])
def test_damaged_files_on_the_page(results: Path, name: str) -> None:
    """The report's page with episodes of training: made, or refused."""
    path = results / name
    content = path.read_bytes()

    def read() -> None:
        write_page(load_studies(results.parent.parent), results.parent.parent, [])

    @few
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, read)

    damaged()


@pytest.mark.parametrize("number", ["1" + "0" * 400, "1e999", "-1e999"], ids=["integer", "infinite", "negative"])
@pytest.mark.parametrize(
    ("name", "key"),
    [("metrics.jsonl", "train/success"), ("evaluation.jsonl", "temperature")],
    ids=["metrics", "episodes"],
)
def test_a_number_beyond_all_floats_is_refused(results: Path, tmp_path: Path, name: str, key: str, number: str) -> None:
    """JSON knows no largest number: what a float cannot hold is named with file, line and key."""
    run = tmp_path / "test" / "runs" / RUN
    shutil.copytree(results, run)
    first, second = (run / name).read_text().splitlines()
    (run / name).write_text(f"{first}\n" + re.sub(rf'("{key}": ?)[\d.]+', rf"\g<1>{number}", second) + "\n")
    with pytest.raises(UserError, match=rf"{name}:2: `{key}` is larger than any number"):
        load_studies(run.parent.parent)


def test_outputs_are_verified_by_their_checksums(results: Path, tmp_path: Path) -> None:
    """Every bit of every listed file counts, and so does a missing file; a folder without a manifest is nobody's."""
    run = tmp_path / RUN
    shutil.copytree(results, run)
    verify_outputs(run)
    names = sorted(read_json(run / "manifest.json")["outputs"])
    assert f"model/{WEIGHTS}" in names and "model/config.json" in names and f"model/{VALUE_HEADS}" not in names
    for name in names:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match=rf"{name}: is not as its stage wrote it .* run the stage that makes"):
            verify_outputs(run)
        (run / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: is missing"):
            verify_outputs(run)
        (run / name).write_bytes(content)
    verify_outputs(run)
    (run / "manifest.json").unlink()
    verify_outputs(run)


def test_data_that_have_changed_are_refused_by_every_stage(copied_pipeline: Path, small_settings: RunSettings) -> None:
    """One byte of any file of the data set: no warm start, no training (begun or resumed), no evaluation (begun or gone
    on with), no measurement and no play with it; nothing of what there is is touched."""
    data, made = copied_pipeline / "data", copied_pipeline / "warmstart"
    (made / "checkpoints").mkdir()
    (made / "checkpoints" / "00000001.pt").write_text("as if it were to go on")
    (made / "evaluation.unfinished.jsonl").write_text("{}\n")
    stages: list[Callable[[], object]] = [
        lambda: warmstart.run(
            *(small_settings, copied_pipeline / "demonstrations" / "demonstrations.jsonl"),
            *(copied_pipeline / "tokenizer", made, data),
        ),
        lambda: training.run(small_settings, made / "model", made, data),
        lambda: evaluation.run(small_settings, made, data),
        lambda: gradient_variance.run({"hiper": small_settings}, made, made / "variance.json", data),
        lambda: model_of(made, small_settings, 1.0, data),
    ]
    before = {path: path.read_bytes() for path in files_of(copied_pipeline) if data not in path.parents}
    changed = [path for path in files_of(data) if path.parent.name in ("trial_00000", small_settings.benchmark.dataset)]
    assert {path.name for path in changed} == {"game.tw-pddl", "traj_data.json", "dataset.json"}
    for number, path in enumerate([*changed[:9], changed[-1]]):
        content = path.read_bytes()
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(UserError, match=r"was made with other data than .* holds now|dataset\.json"):
            stages[number % len(stages)]()
        path.write_bytes(content)
    assert {path: path.read_bytes() for path in files_of(copied_pipeline) if data not in path.parents} == before


def test_weights_of_another_run_beside_a_model_are_refused(results: Path, tmp_path: Path) -> None:
    """Value heads, an index of shards, a template that would be read; a best model as a whole. Other files may be."""
    run = tmp_path / RUN
    shutil.copytree(results, run)
    (run / "model" / "README.md").write_text("mine")
    verify_outputs(run)
    for name in (
        f"model/{VALUE_HEADS}",
        f"model/{WEIGHTS}.index.json",
        "model/chat_template.jinja",
        "model/added_tokens.json",
    ):
        (run / name).write_text("another's")
        with pytest.raises(UserError, match=rf"{name}: is not of this run"):
            verify_outputs(run)
        (run / name).unlink()
    shutil.copytree(run / "model", run / "best")
    with pytest.raises(UserError, match=r"/best: is not of this run, .* move it elsewhere"):
        verify_outputs(run)
    (run / "best").rename(tmp_path / "elsewhere")
    verify_outputs(run)


def test_a_warm_start_ends_with_the_data_that_it_began_with(
    copied_pipeline: Path, small_settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its demonstrations are of is what its manifest says; its metrics are told as well."""
    rows, folder = copied_pipeline / "demonstrations" / "demonstrations.jsonl", copied_pipeline / "warmstart"
    data, save = copied_pipeline / "data", warmstart.save_decoder
    told = read_json(folder / "manifest.json")
    assert told["data"] == read_json(rows.with_name("manifest.json"))["data"]
    assert told["metrics"] == sha256_file(folder / "metrics.jsonl")

    def changing(*arguments: Any) -> None:
        save(*arguments)
        (data / small_settings.benchmark.dataset / "more.json").write_text("{}")

    monkeypatch.setattr(warmstart, "save_decoder", changing)
    with pytest.raises(UserError, match="changed while this stage was at work"):
        warmstart.run(small_settings, rows, copied_pipeline / "tokenizer", folder, data)
    assert not (folder / "manifest.json").exists()


def test_a_warm_start_goes_on_with_its_own_tokenizer_alone(
    copied_pipeline: Path, small_settings: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids or a template that were replaced while it had stopped: what was learned of others is not gone on with."""
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(warmstart.checkpoint, "begin", lambda folder, identity: begun.append(identity))
    rows, source = copied_pipeline / "demonstrations" / "demonstrations.jsonl", copied_pipeline / "tokenizer"
    for name in ("", "tokenizer.json", "tokenizer_config.json"):
        if name:
            (source / name).write_text((source / name).read_text() + "\n")
        warmstart.run(small_settings, rows, source, copied_pipeline / "warmstart", copied_pipeline / "data")
    assert len({str(identity["tokenizer"]) for identity in begun}) == 3
    assert len({identity["settings"] + identity["demonstrations"] for identity in begun}) == 1


def test_a_warm_start_takes_demonstrations_of_its_own_settings_alone(
    copied_pipeline: Path, small_settings: RunSettings
) -> None:
    """Copied from another experiment, for example; what is removed as the message says is made anew."""
    rows = copied_pipeline / "demonstrations" / "demonstrations.jsonl"
    made = read_json(rows.with_name("manifest.json"))
    for section, key, value in (("demonstrations", "hesitation", 0.125), ("prompt", "interface", "react")):
        settings = {**made["settings"], section: {**made["settings"][section], key: value}}
        write_json(rows.with_name("manifest.json"), {**made, "settings": settings})
        with pytest.raises(
            UserError, match=rf"was made with {section}\.{key} = {value!r}, and .* is wanted now; remove"
        ):
            warmstart.run(
                small_settings, rows, copied_pipeline / "tokenizer", copied_pipeline / "new", copied_pipeline / "data"
            )


def test_a_growing_metrics_file_may_end_anywhere(tmp_path: Path) -> None:
    """Cut inside a character, a word or a number: the whole rows are read."""
    (tmp_path / "metrics.jsonl").write_bytes('{"iteration":1,"é":0.5}\n{"iteration":2,"é":0.5}\n'.encode())
    content = (tmp_path / "metrics.jsonl").read_bytes()
    for length in range(len(content) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(content[:length])
        rows = read_jsonl(tmp_path / "metrics.jsonl", partial_ok=True)
        assert [row["iteration"] for row in rows] == [1, 2][: (length >= 24) + (length >= 49)]
