"""The paper's way of training, small: two processes, weights sharded by DeepSpeed, each sampling with its own vLLM."""

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
    "engine__name": "deepspeed",
    "engine__gpus": 2,
    "engine__zero_stage": 3,
    "engine__gradient_checkpointing": True,
    "training__episodes": 4,
    "training__critic__backbone": "separate",
    "training__critic__detach": False,
    "training__learning_rate": 1.0e-2,  # so that stale weights would be seen
    "training__validation__tasks": 2,
    "model__lora": {"rank": 4, "alpha": 8.0},
}


def test_sharded_trainers_and_their_samplers_agree(prepared: Path, tmp_path: Path) -> None:
    """With ZeRO 3 and adapters, their log probabilities agree before the first and after the first update; the run ends
    with its manifest."""
    (tmp_path / "data").symlink_to(prepared / "data")
    (tmp_path / WARM_FOLDER).parent.mkdir(parents=True)
    (tmp_path / WARM_FOLDER).symlink_to(prepared / "warmstart")
    write_config(run_settings(**CHANGES), tmp_path / RUN_FOLDER / "config.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    hiper = ["--", sys.executable, "-m", "hiper", "train", str(RUN_FOLDER), "--start", str(WARM_FOLDER / "model")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}
    done = subprocess.run([*torchrun, *hiper], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(tmp_path / RUN_FOLDER / "manifest.json")["outputs"]
    rows = read_jsonl(tmp_path / RUN_FOLDER / "metrics.jsonl")
    assert [row["iteration"] for row in rows] == [1, 2]
    for row in rows:
        assert row["rollout/logprob_difference_max"] < 1e-3 and row["policy/norm"] > 0
