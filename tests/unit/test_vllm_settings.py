"""What vLLM is opened with, by model and episodes; nothing here starts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import RUN, VLLM, run_settings

from hiper.compose import RunName
from hiper.config import Decoding, RunSettings
from hiper.learning.model_config import shape_of
from hiper.planning.assumptions import Assumptions
from hiper.planning.hardware import CARDS, Card
from hiper.planning.memory import estimate
from hiper.planning.sampler import automatic_share, sequences_at_once
from hiper.planning.shapes import PUBLISHED, ModelShape
from hiper.policies import vllm_engine
from hiper.policies.base import RememberingPolicy, Request
from hiper.policies.local_backend import LocalPlayers
from hiper.policies.room import FILLED, layout_of, networks
from hiper.policies.vllm import VllmPolicy
from hiper.policies.vllm_backend import VllmBackend, VllmPlayers, engine_wanted
from hiper.policies.vllm_engine import VllmEngine, Wanted
from hiper.randomness import seed_number
from hiper.views.estimates import Plan

MEMORY = 80e9
CUDA: dict[str, Any] = {"engine__device": "cuda", "engine__dtype": "bfloat16"}
ALONE: dict[str, Any] = {**CUDA, "engine__gradient_checkpointing": True}
SHARDED: dict[str, Any] = {**ALONE, "engine__name": "deepspeed", "engine__gpus": 4, "engine__zero_stage": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The description of a model of 1.5 billion parameters; no weights."""
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151_936, "hidden_size": 1536}
    config |= {"intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2}
    config |= {"tie_word_embeddings": True, "max_position_embeddings": 32_768, "rope_theta": 1e6, "rms_norm_eps": 1e-6}
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "silu"}))
    return tmp_path


def wanted(folder: Path, share: Any = "auto", sequences: int = 32, memory: float = MEMORY, **changes: Any) -> Wanted:
    settings = run_settings(rollout=VLLM | {"memory_share": share}, **changes)
    return engine_wanted(settings, folder, sequences, memory if settings.engine.device == "cuda" else None)


def test_activations_are_computed_again_where_they_do_not_fit() -> None:
    """Left to the rule, on a card of which networks and micro-batch take more than four fifths by counting; on a CPU
    never; what is written down holds anywhere."""
    shape = PUBLISHED["Qwen/Qwen2.5-1.5B-Instruct"]

    def again(setting: object, memory: float | None, **changes: Any) -> bool:
        chosen = run_settings(**{**CUDA, "engine__gradient_checkpointing": setting, **changes})
        return layout_of(chosen, shape, 1, memory).checkpointing

    kept = estimate(
        networks(run_settings(**CUDA), shape),
        layout_of(run_settings(**CUDA, engine__gradient_checkpointing=False), shape, 1, None),
        run_settings().training.micro_batch_tokens,
        run_settings().training.micro_batch_tokens * 48 / 648,  # of prompts of 600 tokens and answers of 48
        0.0,
    ).peak
    assert [again("auto", share * kept / FILLED) for share in (0.99, 1.01)] == [True, False]
    assert not again("auto", None) and again(True, None) and not again(False, 1.0)
    assert not again("auto", 0.99 * kept / FILLED, training__micro_batch_tokens=512)


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


@pytest.mark.parametrize("tokens", [1_000, 20_000])
@pytest.mark.parametrize("engine", [ALONE, SHARDED])
@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_plan_and_run_agree_on_what_vllm_gets(folder: Path, card: Card, engine: dict[str, Any], tokens: int) -> None:
    """Its share of the card, the answers at once, and whether it sleeps: on each card, alone and sharded, with small
    and large micro-batches. It stays exactly where trainer and vLLM fit together into four fifths of the card."""
    changes = {**engine, "rollout": VLLM | {"memory_share": "auto"}, "training__micro_batch_tokens": tokens}
    settings = run_settings(**changes, prompt__max_tokens=2048, decoding__max_response_tokens=512)
    path = folder / "config.json"
    shape = ModelShape.of(shape_of(json.loads(path.read_text()), path))
    plan = Plan(RunName.parse(RUN), settings, shape, Assumptions(card=card, longest_response=1e9))
    opened: list[Wanted] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hiper.policies.vllm_backend.VllmEngine", lambda _, one: opened.append(one) or object())
        patch.setattr(torch.cuda, "mem_get_info", lambda: (card.memory, card.memory))
        VllmBackend(settings, "cuda").in_training(folder, None, None, lambda: [], True)  # type: ignore[arg-type]
    (run,) = opened
    assert plan.memory.generation == run.memory_share * card.memory
    assert plan.memory.stays == (not run.sleeps)
    together = plan.memory.resident + plan.memory.training + plan.memory.generation
    if abs(together / card.memory - FILLED) > 0.02:  # the plan counts answers of the usual length
        assert plan.memory.stays == (together < FILLED * card.memory)


def test_a_larger_card_has_room_for_both(folder: Path) -> None:
    """The same run sleeps on 40 GB and stays on 141 GB; a share that somebody has written down means sleep."""
    assert [wanted(folder, memory=CARDS[name].memory, **CUDA).sleeps for name in ("a100-40", "h200")] == [True, False]
    assert wanted(folder, 0.1, memory=CARDS["h200"].memory, **CUDA).sleeps


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rollout", [None, VLLM])
def test_plan_and_run_agree_on_who_scores_again(folder: Path, rollout: dict[str, Any] | None, dtype: str) -> None:
    """The trainer computes log probabilities again where the sampler's are not exactly its own."""
    settings = run_settings(engine__dtype=dtype, **({} if rollout is None else {"rollout": rollout}))
    players: Any = LocalPlayers(settings, None, None, "cpu")  # type: ignore[arg-type]
    if rollout is not None:
        players = VllmPlayers(settings, None, folder, None, lambda: [])  # type: ignore[arg-type]
    shape = PUBLISHED["Qwen/Qwen2.5-1.5B-Instruct"]
    passes = [Plan(RunName.parse(RUN), one, shape, Assumptions()).passes.scoring for one in (settings, run_settings())]
    assert players.exact == (passes[0] == passes[1]) == (rollout is None and dtype == "float32")


def test_options_follow_model_and_episodes(folder: Path) -> None:
    """On a GPU: the rule's share, no sleep mode where there is room for both; a number is taken as it is and sleeps."""
    options = wanted(folder, **SHARDED, prompt__max_tokens=2048, decoding__max_response_tokens=512).options()
    assert (options["max_num_seqs"], options["max_model_len"]) == (32, 2560)
    assert (options["gpu_memory_utilization"], options["enable_sleep_mode"]) == (0.15, False)
    options = wanted(folder, 0.4, **CUDA).options()
    assert (options["gpu_memory_utilization"], options["enable_sleep_mode"]) == (0.4, True)
    assert wanted(folder, **SHARDED, sequences=900, prompt__max_tokens=2048).options()["enable_sleep_mode"]


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
