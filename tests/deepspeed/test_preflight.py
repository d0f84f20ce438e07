"""Before a training: its engine and its processes, tried on a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deepspeed_launch import ENVIRONMENT
from library_models import OTHERS, make_with_tokenizer
from pipeline import run_settings

from hiper.compose import write_config
from hiper.errors import UserError
from hiper.learning.folders import load_decoder
from hiper.records import read_json, write_json
from hiper.stages import preflight

pytestmark = [pytest.mark.deepspeed, pytest.mark.xdist_group("deepspeed"), pytest.mark.timeout(3600)]

SHARDED: dict[str, Any] = {"engine__name": "deepspeed", "engine__gpus": 2, "engine__zero_stage": 3}


def test_two_processes_play_train_and_write_a_checkpoint(prepared: Path, tmp_path: Path) -> None:
    """As the workflow starts it. The record says who took part and how long each part took; nothing else stays."""
    write_config(run_settings(**SHARDED), tmp_path / "config.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "--no-python", "--", str(Path(sys.executable).with_name("hiper"))]
    paths = ["--tokenizer", prepared / "warmstart" / "model", "--data", prepared / "data", "--output"]
    done = subprocess.run(
        [*command, "preflight", tmp_path / "config.yaml", *paths, tmp_path / "seen.json"],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen = read_json(tmp_path / "seen.json")
    assert len(seen["hosts"]) == 1 and seen["torch"]
    assert set(seen["seconds"]) == set(preflight.REMEDIES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "seen.json"]


def test_what_fails_is_named_before_anything_is_trained(prepared: Path, tmp_path: Path) -> None:
    """One process where the engine has two: the part, the reason and what to look at."""
    with pytest.raises(UserError, match=r"preflight, the processes: 1 processes were started.*network_interface"):
        preflight.run(
            run_settings(**SHARDED), prepared / "warmstart" / "model", tmp_path / "seen.json", prepared / "data"
        )
    assert not (tmp_path / "seen.json").exists()


def test_only_the_amount_of_work_is_reduced() -> None:
    """Engine, sampler, precision, adapters, KL and the critic's kind are the run's own."""
    settings = run_settings(**SHARDED, training__kl=0.01)
    small = preflight.reduced(settings)
    assert (small.engine, small.rollout, small.model) == (settings.engine, settings.rollout, settings.model)
    assert small.training.kl == 0.01 and small.training.critic.backbone == settings.training.critic.backbone
    assert small.training.episodes == 2 and small.benchmark.max_turns == preflight.TURNS


@pytest.mark.parametrize("name", ["qwen3", "gemma3_text"])
def test_the_tiny_model_is_of_the_runs_kind(prepared: Path, tmp_path: Path, name: str) -> None:
    """Two layers of the four, with what its configuration says of each, the source's vocabulary and tokenizer: a folder
    that loads."""
    layers = ["sliding_attention", "full_attention"] * 2 if name in OTHERS else ["full_attention"] * 4
    make_with_tokenizer(name, tmp_path / "source", prepared / "warmstart" / "model")
    config = read_json(tmp_path / "source" / "config.json") | {"num_hidden_layers": 4, "layer_types": layers}
    write_json(tmp_path / "source" / "config.json", config)
    settings = run_settings(model__path=str(tmp_path / "source"), model__scratch=None)
    preflight._make_model(settings, None, tmp_path / "tiny")
    made = load_decoder(tmp_path / "tiny")
    assert (made.shape.num_hidden_layers, made.shape.vocab_size) == (2, config["vocab_size"])
    assert read_json(tmp_path / "tiny" / "config.json")["layer_types"] == layers[:2]
