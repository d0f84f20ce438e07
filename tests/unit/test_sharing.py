"""What several experiments have in common is made once, and copied only where making it again would give the same."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pipeline import FEW_GAMES, WARM, make_games, run_settings

from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.config import RunSettings
from hiper.manifest import files_of, read_manifest, verify_outputs
from hiper.records import read_json, write_json
from hiper.stages import demonstrations, sharing, tokenizer, warmstart

SHARED = ("demonstrations/alfworld_test", "tokenizers/alfworld_test-test", f"runs/{WARM}")


def of(experiment: str, **changes: Any) -> RunSettings:
    return run_settings(WARM, experiment=experiment, **{**FEW_GAMES, **changes})


def make(project: Path, settings: RunSettings) -> Path:
    """The three stages, each where the workflow has it; the experiment's folder."""
    folder, data = project / "results" / settings.experiment, project / "data"
    rows, tokens, warm = (folder / part for part in SHARED)
    demonstrations.make(settings, data, rows)
    tokenizer.make(settings, rows / "demonstrations.jsonl", tokens, data)
    warmstart.run(settings, rows / "demonstrations.jsonl", tokens, warm, data)
    return folder


def makers(folder: Path) -> list[str | None]:
    """Which experiment made each part instead of this one."""
    manifests = [read_manifest(folder / part) for part in SHARED]
    return [manifest and (manifest.get(sharing.TAKEN_FROM) or {}).get("experiment") for manifest in manifests]


def contents(folder: Path) -> dict[str, bytes]:
    """What the stages computed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files_of(folder)
        if path.name not in ("manifest.json", "timings.jsonl")
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the experiment `one` is there; it stays as it is."""
    project, settings = tmp_path_factory.mktemp("sharing"), of("one")
    assert isinstance(settings.benchmark, AlfworldSettings)
    make_games(project / "data", settings.benchmark)
    make(project, settings)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def test_what_another_experiment_made_is_taken_and_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is played or trained; the files are the other's, but the manifest is of this experiment and names the one
    that computed, also when that one has gone and the next takes the copy."""
    for module, name in ((demonstrations, "_play"), (tokenizer, "read_demonstrations"), (warmstart, "_train")):
        monkeypatch.setattr(module, name, None)
    one, two = project / "results" / "one", make(project, of("two", algorithm__gamma=0.5, training__iterations=5))
    assert makers(one) == [None] * 3 and makers(two) == ["one"] * 3
    assert contents(one) == contents(two)
    for part in SHARED:
        verify_outputs(two / part)
        told, before = read_json(two / part / "manifest.json"), read_json(one / part / "manifest.json")
        assert told["experiment"] == told["settings"]["experiment"] == "two" and told["outputs"] == before["outputs"]
        assert told["taken_from"]["finished"] == before["finished"]
        assert told["taken_from"]["wall_time_seconds"] == before["wall_time_seconds"]
    assert told["settings"]["algorithm"]["gamma"] == 0.5 and told["metrics"] == before["metrics"]
    shutil.rmtree(one)
    assert makers(make(project, of("three"))) == ["one"] * 3


def test_copies_are_no_links(project: Path) -> None:
    """Snakemake sets the time stamps of outputs; those of the other experiment must stay."""
    two = make(project, of("two"))
    assert {path.stat().st_nlink for path in files_of(two)} == {1}


@pytest.mark.parametrize(
    "file", [f"{SHARED[0]}/demonstrations.jsonl", f"{SHARED[2]}/model/model.safetensors", f"{SHARED[2]}/metrics.jsonl"]
)
def test_what_is_damaged_is_made_again(project: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    """One other byte, or a file that is missing: said, not taken, and nothing of it is left."""
    one, two = project / "results" / "one", project / "results" / "two"
    whole = (one / file).read_bytes()
    (one / file).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    make(project, of("two"))
    assert f"{one / file}: is not as its stage wrote it" in caplog.text
    assert (two / file).read_bytes() == whole
    expected = ["one" if part != str(Path(file).parents[-3]) else None for part in SHARED]
    assert makers(two) == expected
    (one / file).unlink()
    shutil.rmtree(two)
    make(project, of("two"))
    assert (two / file).read_bytes() == whole and makers(two) == expected


def test_a_copy_that_changed_on_its_way_is_not_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other experiment may be made again at the same time: what counts are the bytes that arrived."""
    pieces = sharing._pieces
    monkeypatch.setattr(sharing, "_pieces", lambda source: [*pieces(source), b"\n"])
    two = make(project, of("two"))
    assert makers(two) == [None] * 3 and contents(project / "results" / "one") == contents(two)


def test_two_experiments_may_make_the_same_at_once(project: Path) -> None:
    """Neither waits for the other or disturbs it; each has all of it, with the same bytes."""
    shutil.rmtree(project / "results" / "one")
    one, two = (project / "results" / name / SHARED[0] for name in ("one", "two"))
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            list(pool.map(lambda rows: demonstrations.make(of(rows.parts[-3]), project / "data", rows), (one, two)))
            verify_outputs(one)
            verify_outputs(two)
            assert contents(one) == contents(two)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"demonstrations__hesitation": 0.2}, [None, None, None]),
        ({"model__scratch__vocabulary": 500}, ["one", None, None]),
        ({"warm_start__learning_rate": 1e-3}, ["one", "one", None]),
        ({"engine__threads": 2}, ["one", "one", None]),
        ({"evaluation__temperatures": [1.0]}, ["one", "one", "one"]),
    ],
)
def test_other_settings_make_their_own(project: Path, changes: dict[str, Any], taken: list[str | None]) -> None:
    """From the first stage on that reads them; what a stage does not read makes no difference to it."""
    assert makers(make(project, of("two", **changes))) == taken


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("code", "another"),
        ("packages", {"torch": "0.1"}),
        ("python", "3.0"),
        ("data", {"dvc": "another"}),
        ("inputs", {"rows": "another"}),
        ("hardware", {"processor": "another", "gpus": []}),
        ("hardware", None),
        ("settings", None),
        ("settings", {"of": "an older version"}),
        ("data_source", "another"),
        ("processor", {"bfloat16": "another"}),
        ("finished", "another day"),
    ],
)
def test_what_another_program_or_machine_made_is_not_taken(
    project: Path, key: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bytes might be others, and the log says what differs; when they were made is no matter."""
    caplog.set_level("INFO")
    settings, data = of("two"), project / "data"
    manifest = project / "results" / "one" / SHARED[0] / "manifest.json"
    write_json(manifest, {**read_json(manifest), key: value})
    folder = project / "results" / "two" / SHARED[0]
    taken = sharing.take_over(folder, "demonstrations", settings, data)
    assert taken == folder.exists() == (key == "finished")
    assert ("of the experiment one: not taken over, other" in caplog.text) == (key not in ("finished", "settings"))
    assert "WARNING" not in caplog.text


def test_it_can_be_switched_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For who wants to see that it comes out the same."""
    monkeypatch.setenv(sharing.SWITCH, "0")
    two = make(project, of("two"))
    assert makers(two) == [None] * 3 and contents(project / "results" / "one") == contents(two)


def test_what_a_gpu_learned_is_not_taken() -> None:
    """A second training might give other bytes; tokenizers and demonstrations are made on the CPU."""
    chosen = of("two", engine__device="cuda", engine__deterministic=True)
    assert not sharing._repeatable(chosen, "warmstart") and sharing._repeatable(chosen, "tokenizer")
    assert sharing._repeatable(of("two"), "warmstart")


def test_a_copy_that_fails_leaves_what_was_begun_here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm start that was interrupted goes on with its own metrics, though the other's can be read no more."""
    one, two = project / "results" / "one" / SHARED[2], project / "results" / "two" / SHARED[2]
    two.mkdir(parents=True)
    (two / "metrics.jsonl").write_text("{}\n")
    (one / "metrics.jsonl").unlink()
    settings = of("two")
    monkeypatch.setattr(sharing, "_differing", lambda *_: "")
    assert not sharing.take_over(two, "warmstart", settings, project / "data", further={"metrics": "metrics.jsonl"})
    assert (two / "metrics.jsonl").read_text() == "{}\n" and not [*(two / "model").glob("*")]


def test_what_an_earlier_warm_start_left_does_not_mix_with_the_copy(project: Path) -> None:
    """A file of its model that the other has not would be refused by the next stage; checkpoints and times go, too."""
    folder = project / "results" / "two" / SHARED[2]
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "chat_template.jinja").write_text("another model's")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "00000001.pt").write_text("begun")
    (folder / "timings.jsonl").write_text("{}\n")
    two = make(project, of("two"))
    assert makers(two) == ["one"] * 3
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "metrics.jsonl", "model"]
    verify_outputs(folder)
