"""What vLLM is opened with, by model and episodes; nothing here starts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import VLLM, run_settings

from hiper.config import Decoding, RunSettings
from hiper.planning.hardware import CARDS
from hiper.planning.sampler import automatic_share, sequences_at_once, stays
from hiper.planning.shapes import PUBLISHED, ModelShape
from hiper.policies import vllm_engine
from hiper.policies.base import RememberingPolicy, Request
from hiper.policies.vllm import VllmPolicy
from hiper.policies.vllm_backend import VllmBackend, engine_wanted
from hiper.policies.vllm_engine import VllmEngine, Wanted
from hiper.randomness import seed_number

MEMORY = 80e9
CUDA = {"engine__device": "cuda", "engine__dtype": "bfloat16"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The description of a model of 1.5 billion parameters; no weights."""
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151_936, "hidden_size": 1536}
    config |= {"intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2}
    config |= {"tie_word_embeddings": True, "max_position_embeddings": 32_768, "rope_theta": 1e6, "rms_norm_eps": 1e-6}
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "silu"}))
    return tmp_path


def wanted(folder: Path, share: Any = "auto", sequences: int = 32, **changes: Any) -> Wanted:
    settings = run_settings(rollout=VLLM | {"memory_share": share}, **changes)
    memory = MEMORY if settings.engine.device == "cuda" else None
    return engine_wanted(settings, folder, sequences, memory)


def test_a_process_answers_its_share_of_the_episodes_at_once() -> None:
    """128 episodes in 16 groups of 8 over 4 processes are 32; over 3 one has 6 groups; 64 tasks of a validation are 16
    for each; a sampler of a thousand waits for the rest."""
    assert sequences_at_once(128, 0, 8, 4) == 32
    assert sequences_at_once(128, 0, 8, 3) == 48
    assert sequences_at_once(32, 64, 8, 4) == 16
    assert sequences_at_once(4096, 0, 8, 1) == 1024


def test_the_share_is_what_weights_and_cache_need() -> None:
    """By hand: 316 weights and 3 · 7 tokens of 16 bytes, 2 bytes a number, with 4 GB; of 10 GB that is 0.4 and a trace,
    rounded up to 0.45. 1.5B with 32 answers of 2,560 tokens takes 3.1 + 2.3 + 4 of 80 GB, 7B 15.2 + 4.7 + 4."""
    assert automatic_share(ModelShape(10, 4, 6, 2, 2, 1, True), 3, 7, 2, 10e9) == 0.45
    assert automatic_share(PUBLISHED["Qwen/Qwen2.5-1.5B-Instruct"], 32, 2560, 2, CARDS["h100"].memory) == 0.15
    assert automatic_share(PUBLISHED["Qwen/Qwen2.5-7B-Instruct"], 32, 2560, 2, CARDS["h100"].memory) == 0.3
    assert automatic_share(PUBLISHED["Qwen/Qwen2.5-7B-Instruct"], 32, 2560, 2, 1e9) == 0.9


def test_vllm_sleeps_where_its_share_is_large_or_was_chosen_by_hand() -> None:
    """A fifth of the card may stay; a share that somebody has written down means sleep, as it did before the rule."""
    assert stays("auto", 0.2) and not stays("auto", 0.25) and not stays(0.1, 0.1) and not stays(None, 0.1)


def test_options_follow_model_and_episodes(folder: Path) -> None:
    """On a GPU: the rule's share, no sleep mode for a small one; a number is taken as it is and sleeps."""
    options = wanted(folder, **CUDA, prompt__max_tokens=2048, decoding__max_response_tokens=512).options()
    assert (options["max_num_seqs"], options["max_model_len"]) == (32, 2560)
    assert (options["gpu_memory_utilization"], options["enable_sleep_mode"]) == (0.15, False)
    options = wanted(folder, 0.4, **CUDA).options()
    assert (options["gpu_memory_utilization"], options["enable_sleep_mode"]) == (0.4, True)
    assert wanted(folder, **CUDA, sequences=900, prompt__max_tokens=2048).options()["enable_sleep_mode"]


def test_without_a_gpu_there_is_no_share_and_no_sleep(folder: Path) -> None:
    """The CPU's own options take their place."""
    for share in ("auto", 0.4):
        options = wanted(folder, share).options()
        assert "gpu_memory_utilization" not in options and not options["enable_sleep_mode"]
        assert options["block_size"] == vllm_engine.CPU_BLOCK and options["max_num_seqs"] == 32


def test_the_backend_asks_for_what_a_stage_plays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training its share of episodes or validation tasks, evaluation its batch; the engine is opened once."""
    opened: list[Wanted] = []
    monkeypatch.setattr("hiper.policies.vllm_backend.VllmEngine", lambda _, one: opened.append(one) or object())
    settings: RunSettings = run_settings(rollout=VLLM, training__episodes=16, training__validation__tasks=20)
    backend = VllmBackend(settings, "cpu")
    for _ in range(2):
        backend.in_training(folder, None, None, lambda: [], True)  # type: ignore[arg-type]
    assert [one.sequences for one in opened] == [20]
    backend = VllmBackend(settings.model_copy(), "cpu")
    monkeypatch.setattr("hiper.policies.vllm_backend.load_decoder", lambda *_: torch.nn.Linear(1, 1))
    monkeypatch.setattr("hiper.policies.vllm_backend.load_tokenizer", lambda _: None)
    monkeypatch.setattr("hiper.policies.vllm_backend.VllmPlayers.train", lambda _: None)
    monkeypatch.setattr("hiper.policies.vllm_backend.VllmPlayers.play", lambda _: None)
    backend.finished(folder)
    assert opened[1].sequences == settings.evaluation.batch


class Recording:
    """In place of the engine: what a policy asks of it."""

    def __init__(self, seeds_requests: bool) -> None:
        self.seeds_requests = seeds_requests
        self.seeds: list[int] = []
        self.options: list[dict[str, Any]] = []

    def seed(self, number: int) -> None:
        self.seeds.append(number)

    def submit(self, prompt: Any, options: dict[str, Any]) -> int:
        self.options.append(options)
        return len(self.options)


@pytest.mark.parametrize("seeds_requests", [True, False])
def test_seeds_are_a_requests_on_cpus_and_a_rollouts_on_gpus(seeds_requests: bool, tokenizer: Any) -> None:
    """A rollout hands its seed over, which has the iteration and the process in it; on a GPU no request has one."""
    decoding = Decoding(mode="free", temperature=1.0, max_response_tokens=8, max_text_tokens=4)
    engine: Any = Recording(seeds_requests)
    policy = VllmPolicy(engine, tokenizer, decoding, "plan_execute", 600, len(tokenizer), "cpu")
    assert isinstance(policy, RememberingPolicy)
    policy.begin([5, 1, 2])
    for number in range(2):
        policy.submit(Request("look", ("look",), None), [5, 1, 2, number, 0])
    assert engine.seeds == [seed_number([5, 1, 2])]
    expected = [seed_number([5, 1, 2, number, 0]) if seeds_requests else None for number in range(2)]
    assert [options["seed"] for options in engine.options] == expected


def test_only_an_engine_on_a_gpu_seeds_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU the trainer's process keeps its generator as it is."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    engine = VllmEngine.__new__(VllmEngine)
    for engine.seeds_requests in (True, False):
        engine.seed(7)
    assert seeded == [7]
