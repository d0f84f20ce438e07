"""Whole training runs by DeepSpeed processes on real games: what they write, and how they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deepspeed_launch import launch, succeed
from library_models import make_with_tokenizer
from pipeline import run_settings

from hiper.errors import UserError
from hiper.learning.folders import WEIGHTS
from hiper.records import read_json, read_jsonl
from hiper.stages import training, warmstart

pytestmark = [pytest.mark.deepspeed, pytest.mark.xdist_group("deepspeed"), pytest.mark.timeout(3600)]

SEPARATE: dict[str, Any] = {"training__critic__backbone": "separate", "training__critic__detach": False}
SHORT: dict[str, Any] = {
    **SEPARATE,
    "training__iterations": 3,
    "training__kl": 0.01,
    "training__checkpoint_every": 2,
    "tracking__episodes": 8,  # all of them
}


def run(prepared: Path, folder: Path, processes: int, **changes: Any) -> dict[str, Any]:
    """The description of a run for the worker; `dies` cuts it off."""
    dies = {"dies": changes.pop("dies")} if "dies" in changes else {}
    changes = SHORT | {"engine__name": "deepspeed", "engine__gpus": processes, "engine__zero_stage": 3} | changes
    start, data = changes.pop("start", prepared / "warmstart" / "model"), prepared / "data"
    return {"train": {"changes": changes, "start": str(start), "folder": str(folder), "data": str(data), **dies}}


@pytest.fixture(scope="module")
def resumed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that two processes began and one ended, and what the latter said."""
    folder: Path = tmp_path_factory.mktemp("resumed")
    cut = launch(2, run(prepared, folder / "run", 2, dies=2), folder)
    assert cut.returncode != 0 and len(read_jsonl(folder / "run" / "metrics.jsonl")) == 2, cut.stderr[-6000:]
    return folder / "run", succeed(1, run(prepared, folder / "run", 1), folder)


def test_a_run_goes_on_with_another_number_of_processes(resumed: tuple[Path, str]) -> None:
    """Two processes train two iterations and die; one resumes after the second and finishes: every iteration has one
    row of finite numbers, the folder its manifest and no checkpoints."""
    folder, said = resumed
    assert "resuming after iteration 2 of 3" in said
    measured = read_jsonl(folder / "metrics.jsonl")
    assert [row["iteration"] for row in measured] == [1, 2, 3]
    assert all(np.isfinite(value) for row in measured for value in row.values())
    assert read_json(folder / "manifest.json") and not (folder / "checkpoints").exists()


def test_every_process_plays_and_all_episodes_are_learned_from(resumed: tuple[Path, str]) -> None:
    """The two processes' iterations have as many episodes as the settings say, numbered through and all learned from,
    with values and advantages."""
    folder, _ = resumed
    recorded = [row for row in read_jsonl(folder / "episodes.jsonl") if row["iteration"] <= 2]
    assert {row["iteration"] for row in recorded} == {1, 2}
    assert all(row["group"] == row["number"] and row["updated"] for row in recorded)  # group_size is 1
    assert [row["number"] for row in recorded] == [*range(8), *range(8)]


def test_the_model_is_an_ordinary_folder(prepared: Path, resumed: tuple[Path, str]) -> None:
    """The library loads what was gathered from ZeRO 3: every parameter of the start's shape, finite, and moved."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    folder, _ = resumed
    ours, start = load_file(folder / "model" / WEIGHTS), load_file(prepared / "warmstart" / "model" / WEIGHTS)
    assert {name: w.shape for name, w in ours.items()} == {name: w.shape for name, w in start.items()}
    assert all(weight.isfinite().all() and not weight.equal(start[name]) for name, weight in ours.items())
    library = dict(AutoModelForCausalLM.from_pretrained(folder / "model").named_parameters())
    assert all(weight.equal(library[name]) for name, weight in ours.items())


@pytest.fixture
def start(request: pytest.FixtureRequest, prepared: Path, tmp_path: Path) -> Path:
    """A model to begin with: the prepared one, or a random one of a family."""
    if request.param == "prepared":
        return prepared / "warmstart" / "model"
    make_with_tokenizer(request.param, tmp_path / "source", prepared / "tokenizer")
    brought = {"model__path": str(tmp_path / "source"), "model__scratch": None, "warm_start__method": "none"}
    rows = prepared / "demonstrations" / "demonstrations.jsonl"
    warmstart.run(run_settings(**brought), rows, None, tmp_path / "start", prepared / "data")
    return tmp_path / "start" / "model"


STARTS = [("prepared", "qwen2"), *((name, name) for name in ("llama3", "qwen3", "gemma3_text"))]


@pytest.mark.parametrize(("start", "family"), STARTS, indirect=["start"])
def test_the_first_iteration_is_that_of_the_local_engine(
    prepared: Path, tmp_path: Path, start: Path, family: str, supports: Callable[..., None]
) -> None:
    """One DeepSpeed process plays the same episodes as plain torch and gets the same losses, to 1e-4; also with a class
    of the library."""
    changes = {"training__iterations": 1}
    succeed(1, run(prepared, tmp_path / "sharded", 1, start=start, **changes), tmp_path)
    settings = run_settings(**SHORT | changes)
    training.run(settings, start, tmp_path / "local", prepared / "data")
    (ours,), (theirs,) = (read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("sharded", "local"))
    validation = {name for name in theirs if name.startswith("validation/")}  # after the update: may differ
    for name in set(theirs) - validation:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=2e-6), name
    supports(family, "DeepSpeed")


def test_too_many_or_too_few_processes_are_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes for a run of four: nothing is written, and the message names both numbers and the command."""
    settings = run_settings(**run(prepared, tmp_path / "run", 4)["train"]["changes"])
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says it
    with pytest.raises(UserError, match=r"2 processes were started(?s:.*)--nproc-per-node 4 --no-python -- hiper"):
        training.run(settings, prepared / "warmstart" / "model", tmp_path / "run", prepared / "data")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
