"""vLLM plays families of models that can be trained."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from library_models import OTHERS, OWN, make_with_tokenizer
from pipeline import ROOT

from hiper.records import read_json

pytestmark = pytest.mark.vllm

# The CPU's attention takes heads of 32, 64, … only.
SIZES: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}


# What vLLM cannot play here: on a CPU it takes no new weights of experts.
REFUSED = {
    "qwen3-biases": "o_proj.bias: was sent and has no place",  # it would leave them out
    "phi": "vLLM has no model of its own for it",
}
FAMILIES = [name for name in (*OWN, *OTHERS) if name not in REFUSED and name != "qwen3_moe"]


def played(family: str, folder: Path, prepared: Path) -> subprocess.CompletedProcess[str]:
    """What a process of its own made of a model of the family in `folder`/model; what it found is in found.json. Its
    engine takes half a minute to start."""
    make_with_tokenizer(family, folder / "model", prepared / "warmstart" / "model", **SIZES)
    worker = Path(__file__).with_name("vllm_family.py")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, str(worker), str(folder / "model"), str(folder / "found.json")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_logprobs_are_the_trainers_before_and_after_an_update(
    family: str, prepared: Path, tmp_path: Path, supports: Callable[..., None]
) -> None:
    """Of sampled tokens, free and guided; other weights give other answers."""
    done = played(family, tmp_path, prepared)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_json(tmp_path / "found.json")
    assert max(found["farthest"]) < 2e-4
    assert found["texts"][:2] != found["texts"][2:]
    supports(family, "vLLM")


@pytest.mark.parametrize("family", REFUSED)
def test_what_it_would_play_otherwise_is_refused(family: str, prepared: Path, tmp_path: Path) -> None:
    """Before anything is played."""
    done = played(family, tmp_path, prepared)
    assert done.returncode and REFUSED[family] in done.stderr and not (tmp_path / "found.json").exists()
