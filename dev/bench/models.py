"""What the two benchmarks of models share: sizes, one set of random weights in both decoders, prompts of real games."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dev.bench.measure import Gauge
from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.alfworld.games import write_index
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.base import Info
from hiper.benchmarks.record import record_of
from hiper.compose import compose_run
from hiper.config import RunSettings
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.folders import WRITTEN, save_decoder
from hiper.learning.model_files import CONFIG
from hiper.learning.torch_setup import prepare_process
from hiper.plan_execute import render
from hiper.planning.shapes import PUBLISHED
from hiper.policies.base import Request
from hiper.prompts import History, PromptBuilder, State
from hiper.records import write_json, write_jsonl

QWEN_VOCABULARY = 151_936
# Fewer than any model here has: with so many, prompts in small and in real rooms have about the tokens that the demo's
# and the paper's have (200 and 780); learned to the end from so few prompts, it would nearly know them by heart.
TOKENIZER_SIZE = 420
LONGEST_PROMPT = 4000
DEVIATIONS = {200: 0.15, 500: 0.1, 1 << 24: 0.02}  # of random weights, below such a width; the last is Qwen2's own


def _shape(vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int) -> DecoderShape:
    return DecoderShape(vocabulary, hidden, intermediate, layers, heads, kv_heads, True, 4096, 10000.0, 1e-6)


def published(model: str, positions: int = 32_768, theta: float = 1e6, epsilon: float = 1e-6) -> DecoderShape:
    """The sizes of a published model, for random weights."""
    rest = {"max_position_embeddings": positions, "rope_theta": theta, "rms_norm_eps": epsilon}
    return DecoderShape(**vars(PUBLISHED[model]), **rest)


SHAPES = {
    "tiny": _shape(1200, 96, 256, 2, 3, 3),  # the demo's
    "small": _shape(8192, 256, 1024, 4, 4, 2),
    "vocabulary": _shape(QWEN_VOCABULARY, 128, 384, 2, 4, 2),  # a small body under Qwen2.5's vocabulary
    "0.5b": published("Qwen/Qwen2.5-0.5B-Instruct"),
    "1.5b": published("Qwen/Qwen2.5-1.5B-Instruct"),
    "smollm2": published("./models/smollm2_135m", 8192, 1e5, 1e-5),
}


class CudaMemory:
    """What torch has allocated on the GPU."""

    def __init__(self) -> None:
        self.before = 0

    def start(self) -> None:
        torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated()

    def peak(self) -> float:
        return float(torch.cuda.max_memory_allocated() - self.before)


@dataclass(frozen=True)
class Machine:
    """Where and how both sides compute; bfloat16 is autocast on both, as the learner does it."""

    device: str
    threads: int
    dtype: str

    def prepare(self, compiles: bool = False) -> None:
        """Threads, determinism, allocator: the settings of the project's own runs, for both sides; `compiles`: with
        `engine.compile`, which only this project's side has."""
        prepare_process(self.device, self.threads, compiles=compiles)

    def autocast(self) -> Any:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")

    @property
    def card(self) -> str:
        """The GPU's name; "" on the CPU."""
        return str(torch.cuda.get_device_name()) if self.device == "cuda" else ""

    def gauge(self) -> Gauge | None:
        """Of the GPU's memory; that of a process on the CPU says nothing about one side of it."""
        return CudaMemory() if self.device == "cuda" else None

    def wait(self) -> None:
        """Until the device has done what it was told; a clock read before that would lie."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    @property
    def tolerance(self) -> float:
        """Of log probabilities: the same products in another order."""
        return 1e-3 if self.dtype == "float32" else 0.2


def run_settings(root: Path) -> RunSettings:
    """The demo's settings: its loss, its decoding."""
    return compose_run("demo", "alfworld_small-tiny-hiper-seed0", root)


def build_decoder(shape: DecoderShape, seed: int) -> Decoder:
    """Random weights, spread widely enough that the likeliest token is rarely a close call."""
    decoder = Decoder(shape)
    deviation = next(value for width, value in DEVIATIONS.items() if shape.hidden_size < width)
    decoder.initialize(torch.Generator().manual_seed(seed), deviation)
    return decoder


def library_model(decoder: Decoder, folder: Path, end: int, pad: int, device: str) -> Any:
    """The same weights as a `transformers` model, by way of a model folder; it does not stop at an end token."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as library_logging

    library_logging.disable_progress_bar()
    if not decoder.shape.qkv_bias:  # no Qwen2
        said = {name: getattr(decoder.shape, name) for name in WRITTEN}
        write_json(folder / CONFIG, {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **said})
    save_decoder(decoder, folder, folder, eos_token_id=end, pad_token_id=pad)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval().to(device)
    model.generation_config.eos_token_id = None
    return model


@contextmanager
def rooms(settings: RunSettings, size: int | None, count: int) -> Iterator[AlfworldBenchmark]:
    """Generated games whose rooms have `size` receptacles and objects (None: as many as ALFWorld's)."""
    generate = settings.benchmark.data.generate.model_copy(
        update={"receptacles": size, "objects": size, "train": 0, "valid_seen": 0, "valid_unseen": count}
    )
    with TemporaryDirectory() as folder:
        root = Path(folder) / settings.benchmark.dataset
        root.mkdir()
        games = generate_games(root, settings.benchmark.task_types, generate)
        write_index(root, settings.benchmark.dataset, {"kind": "generate"}, games)
        yield AlfworldBenchmark(settings.benchmark.model_copy(update={"max_turns": 50}), Path(folder))


def walked_requests(settings: RunSettings, size: int | None, count: int, seed: int) -> list[Request]:
    """What an agent is asked on random walks through such rooms, a few turns of each game, `count` in all."""
    requests: list[Request] = []
    with rooms(settings, size, 16) as benchmark:
        tasks, environment = benchmark.tasks("valid_unseen"), benchmark.environment()
        prompts = PromptBuilder(settings.prompt, record_of(benchmark.name).words)
        for number in range(count):
            random = np.random.default_rng([seed, number])
            observation, info = environment.reset(tasks[number % len(tasks)])
            history, subgoal = History(), None
            for _ in range(int(random.integers(0, 6))):
                action = str(random.choice(_choices(info)))
                history.add(observation, action)
                observation, _, terminated, _, info = environment.step(action)
                subgoal = f"find something {action.removeprefix('go to ')}"
                if terminated:
                    break
            choices = _choices(info) or ("look",)
            prompt = prompts.build(State(info.instruction, history, observation, subgoal, choices))
            requests.append(Request(prompt, choices, subgoal))
    return requests


def walked_episodes(settings: RunSettings, size: int | None, count: int, turns: int, seed: int) -> list[list[Request]]:
    """What agents on random walks are asked in each of the first `turns` turns of `count` episodes: [turn][episode]."""
    requests: list[list[Request]] = [[] for _ in range(turns)]
    with rooms(settings, size, count) as benchmark:
        tasks, environment = benchmark.tasks("valid_unseen"), benchmark.environment()
        prompts = PromptBuilder(settings.prompt, record_of(benchmark.name).words)
        for number in range(count):
            random = np.random.default_rng([seed, number])
            observation, info = environment.reset(tasks[number % len(tasks)])
            history, subgoal = History(), None
            for turn in requests:
                choices = _choices(info) or ("look",)
                prompt = prompts.build(State(info.instruction, history, observation, subgoal, choices))
                turn.append(Request(prompt, choices, subgoal))
                action = str(random.choice(choices))
                history.add(observation, action)
                observation, _, _, _, info = environment.step(action)
                subgoal = f"find something {action.removeprefix('go to ')}"
    return requests


def _choices(info: Info) -> tuple[str, ...]:
    """What an agent is offered: its answer to `help` would be longer than all other observations."""
    return tuple(action for action in info.admissible_actions if action != "help")


def learn_tokenizer(settings: RunSettings, requests: Sequence[Request], folder: Path) -> Any:
    """The project's own tokenizer stage on these prompts."""
    from hiper.policies.tokenizer_files import load_tokenizer
    from hiper.stages import tokenizer

    assert settings.model.scratch is not None
    scratch = settings.model.scratch.model_copy(update={"vocabulary": TOKENIZER_SIZE})
    model = settings.model.model_copy(update={"scratch": scratch})
    prompt = settings.prompt.model_copy(update={"max_tokens": LONGEST_PROMPT})
    sized = settings.model_copy(update={"model": model, "prompt": prompt})
    rows = [
        {
            "task": str(number),
            "messages": [
                {"role": "user", "content": request.prompt},
                {"role": "assistant", "content": render(True, "find something", request.admissible_actions[0])},
            ],
        }
        for number, request in enumerate(requests)
    ]
    write_jsonl(folder / "demonstrations.jsonl", rows)
    tokenizer.make(sized, folder / "demonstrations.jsonl", folder, Path("data"))
    return load_tokenizer(folder)


def response_lengths(count: int, seed: int) -> Any:
    """Response tokens [count]: log-normal, mean 40, deviation 10, between 16 and 96 (the paper's runs log means of 35
    to 42)."""
    random = np.random.default_rng([seed, 1])
    return np.clip(np.round(np.exp(random.normal(np.log(38.8), 0.246, count))), 16, 96).astype(np.int64)
