"""A model folder that somebody brings goes through the workflow, up to its evaluation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from checkout import snakemake
from library_models import OTHERS, make
from project import ROOT

from hiper.records import read_json, read_jsonl

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

GRID = "grid: {benchmarks: [alfworld_test], models: [brought], algorithms: [hiper], seeds: [0]}\n"
FEWER = {"max_tokens: 600": "max_tokens: 2000", "  steps: 20": "  steps: 6", "  iterations: 2": "  iterations: 1"}


def test_a_model_that_the_librarys_class_computes(project: Path, tokenizer: Any, tmp_path: Path) -> None:
    """With a tokenizer of its own, named by a file of configs/model; its class is the same at the end."""
    family, said = OTHERS["gemma3_text"]
    end = {"eos_token_id": int(tokenizer.eos_token_id), "vocab_size": len(tokenizer)}
    make("brought", tmp_path, family, {**said, **end, "max_position_embeddings": 4096})
    tokenizer.save_pretrained(tmp_path)
    text = (ROOT / "configs" / "experiment" / "test.yaml").read_text()
    for old, new in FEWER.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = re.sub(r"^grid:\n(?: .*\n)+", GRID, text, flags=re.MULTILINE) + "\ntracking: {live: false}\n"
    (project / "configs" / "experiment" / "brought.yaml").write_text(text)
    model = f"name: brought\npath: {tmp_path}\nscratch: null\nlora: null\n"
    (project / "configs" / "model" / "brought.yaml").write_text(model)
    run = Path("results/brought/runs/alfworld_test-brought-hiper-seed0")
    done = snakemake(project, str(run / "evaluation.jsonl"), experiment="brought")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(project / run / "model" / "config.json")["architectures"] == ["Gemma3ForCausalLM"]
    assert len(read_jsonl(project / run / "evaluation.jsonl")) == 24  # by the last and the best model
