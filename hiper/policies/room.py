"""What sampler and trainer need of a GPU, by a run's settings: vLLM is opened by these rules, and `hiper plan` counts
by them. Nothing large is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hiper.algorithms.registry import ALGORITHMS
from hiper.config import RunSettings
from hiper.planning.memory import AUTOCAST, MIXED, Layout, estimate
from hiper.planning.sampler import automatic_share, sequences_at_once
from hiper.planning.shapes import Models, ModelShape

# Of a card, what trainer and vLLM may take together by counting. Where vLLM sleeps a step takes seconds longer; where a
# count was too low the run ends.
FILLED = 0.8


def exact(settings: RunSettings) -> bool:
    """Whether the sampler's log probabilities are the trainer's to the last bit. If not, the trainer computes them
    again: bfloat16 rounds differently in products of other shapes, and the sampler's are not the trainer's."""
    rollout = settings.rollout
    return rollout.backend == "local" and settings.engine.dtype == "float32" and rollout.dtype is None


def longest(settings: RunSettings) -> int:
    """Tokens of a prompt with its answer, at most."""
    return settings.prompt.max_tokens + settings.decoding.max_response_tokens


def sequences_in_training(settings: RunSettings, processes: int) -> int:
    """Answers that the sampler of one of so many processes has to give at once."""
    training = settings.training
    return sequences_at_once(training.episodes, training.validation.tasks, settings.algorithm.group_size, processes)


def vllm_share(settings: RunSettings, shape: ModelShape, sequences: int, memory: float) -> float | None:
    """Of a card of `memory` bytes, for vLLM's weights and cache; None for the other sampler."""
    setting = settings.rollout.memory_share
    if setting != "auto":
        return setting
    size = 2 if settings.engine.dtype == "bfloat16" else 4
    return automatic_share(shape, sequences, longest(settings), size, memory)


def stays(settings: RunSettings, shape: ModelShape, layout: Layout, share: float | None, memory: float) -> bool:
    """Whether vLLM keeps its `share` of a card of `memory` bytes while the trainer works: where the rule has chosen it
    and the card has room for both. A share that somebody has written down means sleep."""
    if settings.rollout.memory_share != "auto" or share is None:
        return False
    budget, read_out = settings.training.micro_batch_tokens, _read_out(settings)
    both = estimate(networks(settings, shape), layout, budget, read_out, share * memory, stays=True)
    return both.peak <= FILLED * memory


def layout_of(settings: RunSettings, shape: ModelShape, gpus: int, memory: float | None) -> Layout:
    """How the run's training lies on so many GPUs of `memory` bytes; None: on CPUs."""
    engine = settings.engine
    precision = AUTOCAST if engine.name == "local" else MIXED
    kept = Layout(precision, gpus, engine.zero_stage, engine.offload_optimizer, checkpointing=False)
    return replace(kept, checkpointing=_recomputes(settings, shape, kept, memory))


def _recomputes(settings: RunSettings, shape: ModelShape, kept: Layout, memory: float | None) -> bool:
    """Whether backward passes compute activations again: by the setting, which may leave it to what fits a card when
    they are `kept`."""
    wanted = settings.engine.gradient_checkpointing
    if wanted != "auto":
        return wanted
    if memory is None:
        return False
    budget = settings.training.micro_batch_tokens
    return estimate(networks(settings, shape), kept, budget, _read_out(settings), 0.0).peak > FILLED * memory


def _read_out(settings: RunSettings) -> float:
    """Tokens of a micro-batch with logits, at most."""
    return settings.training.micro_batch_tokens * settings.decoding.max_response_tokens / longest(settings)


def networks(settings: RunSettings, shape: ModelShape) -> Models:
    """What is trained and read. An algorithm without value heads has no critic, whatever the settings."""
    lora, training = settings.model.lora, settings.training
    own_critic = training.critic.backbone == "separate" and bool(value_heads(settings))
    blocks = None if training.critic.trunk_blocks == "all" else training.critic.trunk_blocks
    return Models(shape, training.kl > 0, own_critic, 0 if lora is None else lora.rank, blocks)


def value_heads(settings: RunSettings) -> Sequence[str]:
    algorithm = settings.algorithm
    return list(ALGORITHMS[algorithm.name].heads(algorithm))
