"""Model folders that somebody brings, as README.md and its tutorial say: asked about, then through the workflow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import snakemake
from library_models import OTHERS, OWN, make, without_tags
from project import ROOT

from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, read_jsonl

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

# Families by the name that a person gives the folder; and what such a person changes in the experiment `test`.
BROUGHT = {"mine": "qwen3", "another": "llama", "slower": "gemma3_text"}
GRID = f"grid: {{benchmarks: [alfworld_test], models: [{', '.join(BROUGHT)}], algorithms: [hiper], seeds: [0]}}\n"
CHANGED = {
    "max_tokens: 600": "max_tokens: 700",
    "max_response_tokens: 48": "max_response_tokens: 120",  # as `hiper model` says: tags are several tokens
    "  steps: 20": "  steps: 6",
    "  iterations: 2": "  iterations: 1",
    "  episodes: 8": "  episodes: 4",
    "[last, best]": "[last]",
}


def test_folders_are_used_as_the_readme_says(
    project: Path, prepared: Path, tmp_path: Path, supports: Callable[..., None]
) -> None:
    """Saved by the library, with a tokenizer of theirs; named by a file of configs/model, asked about by `hiper model`
    and `hiper doctor`, trained and evaluated by the workflow. What comes out is of the same class."""
    (page,) = re.findall(r"```yaml\n(name: mine\n.*?)```", (ROOT / "docs/tutorials/model.md").read_text(), re.DOTALL)
    tokenizer = without_tags(load_tokenizer(prepared / "tokenizer"))
    for name, family in BROUGHT.items():
        kind, said = {**OWN, **OTHERS}[family]
        end = {"eos_token_id": int(tokenizer.eos_token_id), "vocab_size": len(tokenizer)}
        make(name, tmp_path / name, kind, {**said, **end, "max_position_embeddings": 1024})
        tokenizer.save_pretrained(tmp_path / name)
        file = page.replace("/models/mine", str(tmp_path / name)).replace("mine", name)
        (project / "configs" / "model" / f"{name}.yaml").write_text(file)
    text = (ROOT / "configs" / "experiment" / "test.yaml").read_text()
    for old, new in CHANGED.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = re.sub(r"^grid:\n(?: .*\n)+", GRID, text, flags=re.MULTILINE) + "\ntracking: {live: false}\n"
    (project / "configs" / "experiment" / "brought.yaml").write_text(text)

    for name, family in BROUGHT.items():
        said = hiper(project, "model", name)
        assert "the six tags of an answer are" in said and ("slower on a CPU" in said) == (family in OTHERS)
    assert "experiment brought can run here" in hiper(project, "doctor", "--experiment", "brought")
    runs = {name: Path(f"results/brought/runs/alfworld_test-{name}-hiper-seed0") for name in BROUGHT}
    done = snakemake(project, *(f"{run}/evaluation.jsonl" for run in runs.values()), experiment="brought")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, family in BROUGHT.items():
        config = read_json(project / runs[name] / "model" / "config.json")
        assert config == read_json(tmp_path / name / "config.json") and config["architectures"]
        assert len(read_jsonl(project / runs[name] / "evaluation.jsonl")) == 12
        supports(family, "DAG")


def hiper(project: Path, *arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "hiper", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
