"""The work of one training step, in tokens, operations and seconds."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.hardware import Card
from hiper.planning.shapes import ModelShape, cache_bytes, forward_operations, parameters


@dataclass(frozen=True)
class Episodes:
    """What is played: `count` episodes of `turns` turns on average, the longest has `longest`; per turn `prompt` and
    `response` tokens on average, the longest answer of a turn's batch has `longest_response`."""

    count: int
    turns: float
    longest: float
    prompt: float
    response: float
    longest_response: float

    @property
    def turn_count(self) -> float:
        return self.count * self.turns

    @property
    def prompt_tokens(self) -> float:
        return self.turn_count * self.prompt

    @property
    def response_tokens(self) -> float:
        return self.turn_count * self.response

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True)
class Rates:
    """What a GPU reaches of what its data sheet says, and what its data sheet does not know.

    `mfu`: share of the peak rate in passes over whole sequences; `bandwidth`: share of the memory's bandwidth while
    tokens are generated; `turn_seconds`: seconds between two turns of an episode that are neither (environments, texts,
    scheduling, launching); `cached`: share of the prompt's tokens found in a prefix cache.
    """

    mfu: float
    bandwidth: float
    turn_seconds: float
    cached: float


@dataclass(frozen=True)
class Sampler:
    """How tokens are generated: bytes per weight and per cached number; `single`: products in float32."""

    weight_bytes: int
    value_bytes: int
    single: bool


@dataclass(frozen=True)
class Passes:
    """Forward passes over all of a step's tokens, in units of one: a pass with gradients is 3, with activations
    computed again 4."""

    scoring: float
    critic: float
    actor: float


@dataclass(frozen=True)
class Step:
    """Seconds of the parts of a step, and the operations of those that are passes over whole sequences."""

    prefill: float
    decoding: float
    turns: float
    scoring: float
    critic: float
    actor: float
    operations: float

    @property
    def generation(self) -> float:
        return self.prefill + self.decoding + self.turns

    @property
    def seconds(self) -> float:
        return self.generation + self.scoring + self.critic + self.actor


def passes(
    *,
    heads: bool,
    detached: bool,
    reference: bool,
    epochs: int,
    critic_epochs: int,
    again: bool,
    adapters: bool = False,
    critic_share: float = 1.0,
    rescored: bool = False,
) -> Passes:
    """`heads`: the algorithm learns values; `rescored`: the trainer computes the log probabilities of what the sampler
    drew, because its arithmetic is another; `critic_share`: of a pass, that their backbone takes, less than 1 if it has
    fewer blocks; `again`: activations are computed twice. Value heads that read the
    sampler's hidden states (`detached`, on the actor's backbone) cost no pass. With `adapters` the backward pass has no
    gradients of the frozen weights to compute, which are half of its work; the adapters' own is left out."""
    trained = (2.0 if adapters else 3.0) + (1.0 if again else 0.0)
    reads_backbone = heads and not detached
    critic = critic_epochs * trained * critic_share if reads_backbone else 0.0
    scoring = float(reference) + float(rescored) + (critic_share if reads_backbone else 0.0)
    return Passes(scoring, critic, epochs * trained)


def offloaded_seconds(trained: int, updates: float, cores: int, nanoseconds: float) -> float:
    """Of `updates` of an optimiser in the host's memory, shared out over `cores`; `nanoseconds`: of one core for one
    parameter."""
    return trained * updates * nanoseconds * 1e-9 / cores


def transferred_seconds(trained: int, rounds: float, updates: float, gpus: int, rate: float) -> float:
    """Of the way to the host's memory and back where the optimiser is offloaded, each GPU with its share of `trained`
    parameters: with every micro-batch the float32 sum of gradients comes to the GPU and goes back, after every update
    bfloat16 weights come. `rounds` of micro-batches, `rate` in bytes a second."""
    return trained / gpus * (8.0 * rounds + 2.0 * updates) / rate


def generation_seconds(
    shape: ModelShape, episodes: Episodes, sampler: Sampler, card: Card, gpus: int, rates: Rates
) -> tuple[float, float, float]:
    """(prefill, decoding, between turns). Each GPU plays its share of the episodes with a whole copy of the model.

    Decoding is bound by memory: each step reads all weights and the keys and values of the rows that are going on. The
    turns of one episode wait for each other, so the steps are `longest` turns of `longest_response` tokens.
    """
    peak = (card.single if sampler.single else card.flops) * rates.mfu * gpus
    fresh = episodes.prompt_tokens * (1.0 - rates.cached)
    prefill = forward_operations(shape, fresh, episodes.prompt / 2, episodes.turn_count) / peak
    steps = episodes.longest * episodes.longest_response
    weights = steps * parameters(shape) * sampler.weight_bytes
    context = episodes.prompt + episodes.response / 2
    cache = episodes.response_tokens / gpus * context * cache_bytes(shape, sampler.value_bytes)
    decoding = (weights + cache) / (card.bandwidth * rates.bandwidth)
    return prefill, decoding, episodes.longest * rates.turn_seconds


def step(
    shape: ModelShape, episodes: Episodes, work: Passes, sampler: Sampler, card: Card, gpus: int, rates: Rates
) -> Step:
    """One step: play, score (reference, values, the trainer's own), update the critic, update the actor. Logits are
    computed at response tokens, and not at all by the critic."""
    context = (episodes.prompt + episodes.response) / 2
    one = forward_operations(shape, episodes.tokens, context, episodes.response_tokens)
    body = forward_operations(shape, episodes.tokens, context, 0.0)
    peak = card.flops * rates.mfu * gpus
    prefill, decoding, turns = generation_seconds(shape, episodes, sampler, card, gpus, rates)
    operations = work.scoring * one + work.critic * body + work.actor * one
    return Step(
        prefill=prefill,
        decoding=decoding,
        turns=turns,
        scoring=work.scoring * one / peak,
        critic=work.critic * body / peak,
        actor=work.actor * one / peak,
        operations=operations,
    )
