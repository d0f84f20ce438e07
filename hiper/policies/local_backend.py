"""The backend `local`: samples with the decoder that trains, or with a copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hiper.config import RunSettings
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.policies import room
from hiper.policies.backend import Weights, at_temperature
from hiper.policies.local import LocalPolicy
from hiper.policies.prefixes import Prefixes
from hiper.policies.tokenizer_files import Chat, load_tokenizer


class LocalPlayers:
    """`weights` gives those that the trainer has now, where `decoder` is a copy of the one in training."""

    def __init__(
        self, settings: RunSettings, decoder: Decoder, tokenizer: Any, device: str, weights: Weights | None = None
    ) -> None:
        self.settings, self.decoder, self.tokenizer, self.device = settings, decoder, tokenizer, device
        self.weights = weights
        self.exact = room.exact(settings)
        self.prefixes = Prefixes() if settings.rollout.keep_prefixes else None

    def policy(self, temperature: float) -> LocalPolicy:
        prompt, decoding = self.settings.prompt, at_temperature(self.settings, temperature)
        half = "bfloat16" in (self.settings.engine.dtype, self.settings.rollout.dtype)
        return LocalPolicy(
            self.decoder,
            self.tokenizer,
            decoding,
            prompt.interface,
            prompt.max_tokens,
            self.device,
            half,
            Chat.of(prompt),
            self.prefixes,
        )

    def play(self) -> None:
        if self.weights is not None:
            mine = dict(self.decoder.named_parameters())
            for name, weight in self.weights():
                mine[name].data.copy_(weight)

    def train(self) -> None:
        if self.prefixes is not None:
            self.prefixes.forget()

    def metrics(self) -> dict[str, float]:
        return {} if self.prefixes is None else {"rollout/prefix_hit_rate": self.prefixes.hit_rate()}


class LocalBackend:
    def __init__(self, settings: RunSettings, device: str) -> None:
        self.settings, self.device = settings, device

    def in_training(self, start: Path, actor: Decoder, tokenizer: Any, weights: Weights, whole: bool) -> LocalPlayers:
        own = self.settings.rollout.dtype
        if whole and own is None:
            return LocalPlayers(self.settings, actor, tokenizer, self.device)
        # without adapters, as what `weights` gives has them in it; a class of the library needs more than weights
        plain = Decoder(actor.shape) if type(actor) is Decoder else load_decoder(start, self.device)
        sampled = plain.to(self.device, getattr(torch, own or self.settings.engine.dtype))
        return LocalPlayers(self.settings, sampled, tokenizer, self.device, weights)

    def finished(self, folder: Path) -> LocalPlayers:
        decoder = load_decoder(folder, self.device)
        if own := self.settings.rollout.dtype:
            decoder = decoder.to(getattr(torch, own))
        return LocalPlayers(self.settings, decoder, load_tokenizer(folder), self.device)
