"""Models of every family go through the stages: a warm start, an iteration of RL, an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from library_models import OTHERS, make_with_tokenizer
from pipeline import WARM, run_settings

from hiper.cli.model import facts
from hiper.compose import RunName
from hiper.learning.folders import load_decoder
from hiper.records import read_json, read_jsonl
from hiper.stages import evaluation, training, warmstart
from hiper.views.needs import needs

ADAPTERS: dict[str, Any] = {"model__lora": {"rank": 2, "alpha": 4.0}}
SEPARATE: dict[str, Any] = {"training__critic__backbone": "separate", "training__critic__detach": False}
# What else of the training each family is tried with.
CHANGES: dict[str, dict[str, Any]] = {
    "qwen2": ADAPTERS | {"rollout__keep_prefixes": True, "rollout__dtype": "bfloat16"},
    "qwen2-yarn": SEPARATE,
    "llama": SEPARATE | ADAPTERS,
    "llama3": {"training__kl": 0.01},
    "mistral": {"engine__dtype": "bfloat16"},
    "qwen3": SEPARATE | {"training__critic__trunk_blocks": 1},
    "gemma2": {"rollout__keep_prefixes": True},
    "gemma3_text": SEPARATE | {"training__critic__trunk_blocks": 1, "engine__dtype": "bfloat16"},
    "phi": ADAPTERS,
    "phi3": SEPARATE | ADAPTERS | {"engine__gradient_checkpointing": True},
    "qwen3_moe": SEPARATE,
    "mistral-window": ADAPTERS | {"training__kl": 0.01},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_family_is_taught_trained_and_evaluated(
    prepared: Path, tmp_path: Path, name: str, supports: Callable[..., None]
) -> None:
    """From a random folder of the library; what comes out is a folder of the same class with other weights, which the
    library reads; `hiper model` and `hiper doctor` know who computes it."""
    source = tmp_path / "source"
    make_with_tokenizer(name, source, prepared / "tokenizer")
    settings = run_settings(
        model__path=str(source),
        model__scratch=None,
        model__name=name,
        warm_start__steps=2,
        warm_start__warmup_steps=0,
        training__iterations=1,
        training__episodes=4,
        training__validation__tasks=0,
        evaluation__checkpoints=["last"],
        **CHANGES[name],
    )
    rows, data = prepared / "demonstrations" / "demonstrations.jsonl", prepared / "data"
    warmstart.run(settings, rows, None, tmp_path / "warmstart", data)
    training.run(settings, tmp_path / "warmstart" / "model", tmp_path / "run", data)
    evaluation.run(settings, tmp_path / "run", data)
    (row,) = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert row["policy/norm"] > 0 and abs(row["policy/loss"]) < 10
    played = read_jsonl(tmp_path / "run" / "evaluation.jsonl")
    assert played and all(turn["valid"] for episode in played for turn in episode["decisions"])
    trained = tmp_path / "run" / "model"
    assert read_json(trained / "config.json") == read_json(source / "config.json")
    assert read_json(trained / "generation_config.json") == read_json(source / "generation_config.json")
    before, after = (dict(load_decoder(folder).named_parameters()) for folder in (source, trained))
    assert before.keys() == after.keys() and any(not before[key].equal(after[key]) for key in before)
    library = name in OTHERS
    assert any("transformers' " in line for line in facts(trained)) == library
    found = list(needs("test", [(RunName.parse(WARM), settings)], tmp_path, "missing"))
    assert [one.state for one in found if "transformers' " in one.detail] == ["ok"] * library
    assert row["critic/loss_low"] > 0
    supports(name, "trains", "critics")
