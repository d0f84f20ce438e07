"""vLLM in this process, beside the trainer: opened on a model folder's shape, given weights without the disk, asleep
while training needs the device's memory.

Only here and in `vllm_guide` is vLLM imported. It is no dependency of the project: it has an environment of its own
(`make test-vllm` for the CPU, `envs/gpu.txt` for GPUs).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hiper.errors import UserError
from hiper.learning.decoder import DecoderShape
from hiper.learning.model_config import shape_of
from hiper.learning.model_files import CONFIG, OUTPUT
from hiper.planning.shapes import ModelShape
from hiper.policies.weight_sums import Comparison, Handover
from hiper.records import read_json

GUIDE = "hiper.policies.vllm_guide:GuideProcessor"
CPU_BLOCK = 32  # tokens of a cache block, the least that the CPU's attention takes: only whole blocks are found again
CPU_BATCH = 4096  # tokens of a step
PROBLEMS = 3  # weights that a message names
CPU_HEADS = 32  # the size of an attention head must be a multiple of it there

# `setdefault`: whoever starts the program may say otherwise.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",  # among them: weights that were not loaded
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; without it half of the machine's memory
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # the second runner has another interface for logits processors
}


@dataclass(frozen=True)
class Wanted:
    """What an engine is opened for. `longest`: tokens of a prompt with its answer; `sequences`: the most that are
    answered at once; `memory_share`: of a GPU's memory, for weights and cache, None without a GPU; `sleeps`: whether
    it gives that up between `sleep` and `wake`, which the CPU's cannot."""

    device: str
    dtype: str
    longest: int
    guided: bool
    sequences: int
    memory_share: float | None = None
    sleeps: bool = False

    def options(self) -> dict[str, Any]:
        """Those of vLLM's `LLM`, but for what depends on the processes."""
        share = self.memory_share
        own = _cpu_options(self.longest) if share is None else {"gpu_memory_utilization": share}
        return {
            "load_format": "dummy",  # weights come by `update`; it would take value_heads.safetensors for some of them
            "skip_tokenizer_init": True,  # it is given token ids
            "dtype": self.dtype,
            "max_model_len": self.longest,
            "max_num_seqs": self.sequences,
            "logprobs_mode": "processed_logprobs",  # those it samples by: after temperature and guide
            "enable_prefix_caching": True,
            "generation_config": "vllm",  # the folder's own would add end tokens and penalties
            "enable_sleep_mode": self.sleeps,
            "logits_processors": [GUIDE] if self.guided else None,
            **own,
        }


@dataclass(frozen=True)
class Finished:
    """An answer: its `ticket`, the sampled `tokens` [response] and their log probabilities [response]."""

    ticket: int
    tokens: list[int]
    logprobs: list[float]


def require_vllm() -> None:
    """UserError that says how to get vLLM where it cannot be imported."""
    try:
        from vllm import LLM  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"rollout.backend=vllm: vLLM cannot be imported here ({error}); on a CPU, `make test-vllm` makes an "
            "environment with it (.venv-vllm), on GPUs: pip install -c envs/gpu.txt vllm -e . in an environment of its "
            "own; or use rollout=local"
        ) from None


class VllmEngine:
    """One `LLM`, asleep until it is first given weights. Whoever plays calls `submit` and `collect`; whoever trains
    calls `sleep`, and `wake` with the weights to play with."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        # weights are handed over as they lie in memory, which another process could not be given
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        require_vllm()
        if wanted.device == "cpu":
            require_heads(shape_of(read_json(folder / CONFIG), folder / CONFIG), folder / CONFIG)
        self.sleeps, self.seeds_requests = wanted.sleeps, wanted.device == "cpu"
        self.unchecked: Comparison | None = compared_by(folder, wanted)
        self.dtype: torch.dtype = getattr(torch, wanted.dtype)
        self.llm = _opened(str(folder), wanted.options() | _shared_options())
        self.asleep = False
        self.sleep()
        self._tickets = 0
        self._prompt_tokens = self._cached_tokens = 0

    def seed(self, number: int) -> None:
        """Where requests have no generators of their own, vLLM draws from this device's, in this process."""
        if not self.seeds_requests:
            torch.cuda.manual_seed(number)

    def submit(self, prompt: Sequence[int], options: dict[str, Any]) -> int:
        """Enqueue a prompt; `options` are those of `SamplingParams`. Returns the ticket."""
        if self.asleep:
            raise RuntimeError("vLLM was asked while it sleeps: it has no weights")
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._tickets += 1
        parameters = SamplingParams(
            logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True, **options
        )
        tokens = {"type": "token", "prompt_token_ids": [int(token) for token in prompt]}
        self.llm.llm_engine.add_request(str(self._tickets), tokens, parameters)
        return self._tickets

    def collect(self) -> list[Finished]:
        """Step until an answer is complete; all that are."""
        while True:
            if done := [output for output in self.llm.llm_engine.step() if output.finished]:
                return [self._finished(output) for output in done]
            if not self.llm.llm_engine.has_unfinished_requests():
                raise RuntimeError("nothing was submitted that could be waited for")

    def _finished(self, output: Any) -> Finished:
        (answer,) = output.outputs
        tokens = list(answer.token_ids)
        self._prompt_tokens += len(output.prompt_token_ids)
        self._cached_tokens += output.num_cached_tokens or 0
        logprobs = [entry[token].logprob for entry, token in zip(answer.logprobs, tokens, strict=True)]
        return Finished(int(output.request_id), tokens, logprobs)

    def cancel(self, tickets: Iterable[int]) -> None:
        self.llm.llm_engine.abort_request([str(ticket) for ticket in tickets])

    def update(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Put new weights, by the names of the model folder, in the place of the old ones; what the cache holds of the
        old ones is forgotten. Must be called while nothing is being answered. UserError where the first update does not
        arrive."""
        handover = Handover(self.dtype, self.unchecked) if self.unchecked else None
        passed = _without_tied(weights, self._tied)
        noted = passed if handover is None else handover.noting(passed)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": noted})
        if self._tied:
            self.llm.apply_model(_prepare_output)
        if handover is not None:
            require_arrived(problem for found in self.llm.apply_model(handover.problems) for problem in found)
            self.unchecked = None
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM still answers requests while its weights change")

    @property
    def _tied(self) -> bool:
        return bool(self.llm.model_config.hf_config.tie_word_embeddings)

    def sleep(self) -> None:
        """Give up weights and cache: `wake` needs new weights."""
        if self.sleeps:
            self.llm.sleep(level=2)
        self.asleep = True

    def wake(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        if self.sleeps:
            self.llm.wake_up(tags=["weights"])
        self.update(weights)
        if self.sleeps:
            self.llm.wake_up(tags=["kv_cache"])
        self.asleep = False

    def prefix_hit_rate(self) -> float:
        """Share of the prompts' tokens that the cache held, by vLLM's count, since this was last asked."""
        rate = self._cached_tokens / max(1, self._prompt_tokens)
        self._prompt_tokens = self._cached_tokens = 0
        return rate


def compared_by(folder: Path, wanted: Wanted) -> Comparison:
    """How the first update is compared with what was sent: vLLM has other names for the parameters of models that
    `transformers` computes here, and on the CPU it puts weights into other forms."""
    if not isinstance(shape_of(read_json(folder / CONFIG), folder / CONFIG), DecoderShape):
        return "vectors"
    return "numbers" if wanted.device == "cuda" else "names"


def require_arrived(problems: Iterable[str]) -> None:
    """UserError that says which weights vLLM does not have."""
    if wrong := sorted(problems):
        shown = "; ".join(wrong[:PROBLEMS]) + (f"; and {len(wrong) - PROBLEMS} more" if len(wrong) > PROBLEMS else "")
        raise UserError(
            f"vLLM did not take the trainer's weights: {shown}. It would play another model. Is it the version that "
            "envs/gpu.txt pins (`hiper doctor`)? Its log says more at VLLM_LOGGING_LEVEL=INFO; rollout=local samples "
            "without it"
        )


def _shared_options() -> dict[str, Any]:
    """Of several processes that train together each has an engine of its own, in the process group that is there; they
    answer other requests and never wait for each other."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return {}
    return {"distributed_executor_backend": "external_launcher", "tensor_parallel_size": 1}


def _cpu_options(longest: int) -> dict[str, Any]:
    """Without compilation, which takes a minute and a half and is only worth it for speed. Every prompt is read in one
    piece: after a first piece vLLM 0.32 rewinds the request's random numbers, which fails on the CPU."""
    return {
        "block_size": CPU_BLOCK,
        "enforce_eager": True,
        "compilation_config": 0,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(longest, CPU_BATCH),
    }


def require_heads(shape: ModelShape, source: object) -> None:
    """UserError where vLLM has no attention for heads of this size on the CPU."""
    if shape.head_size % CPU_HEADS:
        raise UserError(
            f"{source}: attention heads of size {shape.head_size}; on the CPU vLLM takes multiples of "
            f"{CPU_HEADS} only: choose another model, or sizes (model.scratch) that give such heads, or rollout=local"
        )


def _opened(folder: str, options: dict[str, Any]) -> Any:
    """The `LLM`. On the CPU it replaces `torch.set_num_threads` and may lower the number: both are put back."""
    from vllm import LLM

    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    try:
        made = LLM(folder, **options)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"{folder}: vLLM does not start on this model: {str(error).strip()[:600]}; if memory is short, give "
            "rollout.memory_share a lower number (on the CPU: VLLM_CPU_KVCACHE_SPACE)"
        ) from error
    finally:
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
    _require_own_model(folder, made)
    return made


def _require_own_model(folder: str, llm: Any) -> None:
    """UserError where vLLM plays a model through the class that `transformers` has for it: it alters that class, which
    then computes nothing outside of vLLM, and the trainer needs it in the same process."""
    (played,) = llm.apply_model(_class_name)
    if played.startswith("Transformers"):
        raise UserError(
            f"{folder}: vLLM has no model of its own for it and would alter the one that trains; use rollout=local"
        )


def _class_name(model: Any) -> str:
    return type(model).__name__


def _without_tied(weights: Iterable[tuple[str, Tensor]], tied: bool) -> Iterable[tuple[str, Tensor]]:
    return ((name, weight.detach()) for name, weight in weights if not (tied and name == OUTPUT))


def _prepare_output(model: Any) -> None:
    """A tied output layer has no weight of its own to be reloaded, so vLLM 0.32 leaves the form of it that was prepared
    for the CPU's kernels as it was: stale. Elsewhere this does nothing."""
    output = getattr(model, "lm_head", None)  # Gemma's classes use the embedding itself
    if output is not None:
        output.quant_method.process_weights_after_loading(output)
