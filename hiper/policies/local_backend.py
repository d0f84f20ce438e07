"""The backend `local`: samples with the decoder that trains, or with a copy of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from hiper.config import RunSettings
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.policies.backend import Weights, at_temperature
from hiper.policies.local import LocalPolicy
from hiper.policies.tokenizer_files import load_tokenizer


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
        prompt, decoding = self.settings.prompt, at_temperature(self.settings, temperature)
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


class LocalBackend:
    def __init__(self, settings: RunSettings, device: str) -> None:
        self.settings, self.device = settings, device

    def in_training(self, start: Path, actor: Decoder, tokenizer: Any, weights: Weights, whole: bool) -> LocalPlayers:
        if whole:
            return LocalPlayers(self.settings, actor, tokenizer, self.device)
        sampled = copy.deepcopy(actor).to(self.device, getattr(torch, self.settings.engine.dtype))
        return LocalPlayers(self.settings, sampled, tokenizer, self.device, weights)

    def finished(self, folder: Path) -> LocalPlayers:
        return LocalPlayers(self.settings, load_decoder(folder, self.device), load_tokenizer(folder), self.device)
