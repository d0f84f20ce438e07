"""`hiper train` and `hiper evaluate` with vLLM as the sampler, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, RUN_FOLDER, VLLM, WARM_FOLDER, run_settings
from vllm_model import SIZES

from hiper.compose import write_config
from hiper.records import read_json, read_jsonl

pytestmark = pytest.mark.vllm

CHANGES = SIZES | {
    "rollout": VLLM,
    "prompt__max_tokens": 600,
    "training__episodes": 4,
    "algorithm__group_size": 2,
    "training__checkpoint_every": 1,
    "training__learning_rate": 1.0e-2,  # so that stale weights would be seen
    "training__validation__tasks": 2,
    "evaluation__temperatures": [0.4],
    "tracking__episodes": 1,
}


@pytest.fixture(scope="module")
def project(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's root with data, a warm start and the configuration of a run, trained."""
    root = tmp_path_factory.mktemp("project")
    (root / "data").symlink_to(prepared / "data")
    (root / WARM_FOLDER).parent.mkdir(parents=True)
    (root / WARM_FOLDER).symlink_to(prepared / "warmstart")
    write_config(run_settings(**CHANGES), root / RUN_FOLDER / "config.yaml")
    hiper(root, "train", str(RUN_FOLDER), "--start", str(WARM_FOLDER / "model"))
    return root


def hiper(root: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hiper", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_ends_with_its_manifest(project: Path) -> None:
    """Model, best model and manifest are there, and both iterations' metrics."""
    run = project / RUN_FOLDER
    assert read_json(run / "manifest.json")["outputs"]
    assert (run / "model" / "model.safetensors").exists() and (run / "best" / "model.safetensors").exists()
    assert [row["iteration"] for row in read_jsonl(run / "metrics.jsonl")] == [1, 2]


def test_the_sampler_plays_with_the_trainers_weights_in_every_iteration(project: Path) -> None:
    """The log probabilities of sampler and trainer agree before the first and after the first update, so nothing is
    truncated; the actor moved in between; later turns find their beginning in the cache."""
    rows = read_jsonl(project / RUN_FOLDER / "metrics.jsonl")
    for row in rows:
        assert row["rollout/logprob_difference_max"] < 1e-3
        assert row["rollout/divergence"] < 1e-6
        assert row["rollout/probability_correlation"] > 0.9999
        assert row["rollout/truncated"] == 0.0
        assert 0.0 <= row["rollout/prefix_hit_rate"] < 1.0
    assert all(row["policy/norm"] > 0 for row in rows)


def test_the_run_is_evaluated_with_both_models(project: Path) -> None:
    """One engine plays the last and the best model; every episode is there, with valid answers."""
    hiper(project, "evaluate", str(RUN_FOLDER))
    rows = read_jsonl(project / RUN_FOLDER / "evaluation.jsonl")
    played = {row["checkpoint"] for row in rows}
    assert played == {"last", "best"}
    assert all(turn["valid"] for row in rows for turn in row["decisions"])
