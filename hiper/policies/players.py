"""A model as a player, sampled by what `rollout.backend` names: the one place that knows which backends there are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from hiper.config import Decoding, RunSettings
from hiper.learning.folders import load_decoder
from hiper.learning.model_files import shape_of
from hiper.learning.qwen2 import Decoder
from hiper.policies.local import LocalPolicy
from hiper.policies.model_policy import ModelPolicy
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json

if TYPE_CHECKING:
    from hiper.policies.vllm_engine import VllmEngine

Weights = Callable[[], Iterable[tuple[str, Tensor]]]


class Players(Protocol):
    """One model's policies, to be asked between `play` and `train` only: then the model's weights may change, and the
    sampler gives up what memory it can."""

    exact: bool
    """Whether the sampler's log probabilities are the trainer's."""

    def policy(self, temperature: float) -> ModelPolicy:
        """The model, sampled at this temperature; otherwise as `decoding` says."""
        ...

    def play(self) -> None: ...

    def train(self) -> None: ...

    def metrics(self) -> dict[str, float]:
        """What the sampler has measured since it was last asked."""
        ...


class LocalPlayers:
    """`weights` gives those that the trainer has now, where `decoder` is a copy of the one in training."""

    def __init__(
        self, settings: RunSettings, decoder: Decoder, tokenizer: Any, device: str, weights: Weights | None = None
    ) -> None:
        self.settings, self.decoder, self.tokenizer, self.device = settings, decoder, tokenizer, device
        self.weights = weights
        # bfloat16 rounds differently in products of other shapes, and the sampler's are not the trainer's
        self.exact = settings.engine.dtype == "float32"

    def policy(self, temperature: float) -> LocalPolicy:
        prompt, decoding = self.settings.prompt, _at(self.settings, temperature)
        limit, half = prompt.max_tokens, self.settings.engine.dtype == "bfloat16"
        return LocalPolicy(self.decoder, self.tokenizer, decoding, prompt.interface, limit, self.device, half)

    def play(self) -> None:
        if self.weights is not None:
            mine = dict(self.decoder.named_parameters())
            for name, weight in self.weights():
                mine[name].data.copy_(weight)

    def train(self) -> None:
        return

    def metrics(self) -> dict[str, float]:
        return {}


class VllmPlayers:
    """`weights` gives those that are to be played with now, by the names of the model folder."""

    exact = False

    def __init__(
        self, settings: RunSettings, engine: VllmEngine, folder: Path, tokenizer: Any, weights: Weights
    ) -> None:
        self.settings, self.engine, self.tokenizer, self.weights = settings, engine, tokenizer, weights
        self.vocabulary = shape_of(read_json(folder / "config.json"), folder / "config.json").vocab_size

    def policy(self, temperature: float) -> ModelPolicy:
        from hiper.policies.vllm import VllmPolicy

        prompt, device = self.settings.prompt, self.settings.engine.device
        decoding = _at(self.settings, temperature)
        return VllmPolicy(
            self.engine, self.tokenizer, decoding, prompt.interface, prompt.max_tokens, self.vocabulary, device
        )

    def play(self) -> None:
        if self.engine.asleep:
            self.engine.wake(self.weights())

    def train(self) -> None:
        if not self.engine.asleep:
            self.engine.sleep()

    def metrics(self) -> dict[str, float]:
        return {"rollout/prefix_hit_rate": self.engine.prefix_hit_rate()}


def training_players(
    settings: RunSettings, start: Path, actor: Decoder, tokenizer: Any, device: str, weights: Weights, whole: bool
) -> Players:
    """The players of a model about to be trained, begun from the folder `start`: `actor` is what can be sampled here if
    it stays `whole` in training, else a copy is; `weights` gives whole weights to be sent elsewhere. They begin as
    after `train`."""
    if settings.rollout.backend == "local" and whole:
        return LocalPlayers(settings, actor, tokenizer, device)
    if settings.rollout.backend == "local":
        sampled = copy.deepcopy(actor).to(device, getattr(torch, settings.engine.dtype))
        return LocalPlayers(settings, sampled, tokenizer, device, weights)
    return VllmPlayers(settings, _engine(settings, start), start, tokenizer, weights)


class FolderPlayers:
    """Players of finished models, one folder after the other, ready to be asked. A process has one vLLM engine, whose
    weights change."""

    def __init__(self, settings: RunSettings, device: str) -> None:
        self.settings, self.device = settings, device
        self.engine: VllmEngine | None = None

    def of(self, folder: Path) -> Players:
        """The folder's model; players of an earlier folder are not to be used any more. UserError where the folder is
        damaged."""
        local = self.settings.rollout.backend == "local"
        decoder, tokenizer = load_decoder(folder, self.device if local else "cpu"), load_tokenizer(folder)
        if local:
            return LocalPlayers(self.settings, decoder, tokenizer, self.device)
        if self.engine is None:
            self.engine = _engine(self.settings, folder)
        players = VllmPlayers(self.settings, self.engine, folder, tokenizer, decoder.state_dict().items)
        players.train()
        players.play()
        return players


def _engine(settings: RunSettings, folder: Path) -> VllmEngine:
    from hiper.policies.vllm_engine import VllmEngine

    assert settings.rollout.memory_share is not None  # as its settings demand
    longest = settings.prompt.max_tokens + settings.decoding.max_response_tokens
    guided = settings.decoding.mode == "guided"
    engine = settings.engine
    return VllmEngine(folder, engine.device, engine.dtype, longest, guided, settings.rollout.memory_share)


def _at(settings: RunSettings, temperature: float) -> Decoding:
    return settings.decoding.model_copy(update={"temperature": temperature})
