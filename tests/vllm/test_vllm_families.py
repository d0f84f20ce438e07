"""vLLM plays families of models that can be trained."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from library_models import make_with_tokenizer
from pipeline import ROOT

from hiper.records import read_json

pytestmark = pytest.mark.vllm

# The CPU's attention takes heads of 32, 64, … only.
SIZES: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}


# Each engine takes half a minute to start. With experts vLLM takes no new weights on a CPU.
FAMILIES = ("qwen2", "llama", "gemma2")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_logprobs_are_the_trainers_before_and_after_an_update(
    family: str, prepared: Path, tmp_path: Path, supports: Callable[..., None]
) -> None:
    """Of sampled tokens, free and guided; other weights give other answers."""
    make_with_tokenizer(family, tmp_path / "model", prepared / "warmstart" / "model", **SIZES)
    worker = Path(__file__).with_name("vllm_family.py")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, str(worker), str(tmp_path / "model"), str(tmp_path / "found.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_json(tmp_path / "found.json")
    assert max(found["farthest"]) < 2e-4
    assert found["texts"][:2] != found["texts"][2:]
    supports(family, "vLLM")
