"""The backend `vllm`: samples with vLLM, in the same process. It is imported when the first engine is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiper.config import RunSettings
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.learning.library_model import PackedModel, in_files
from hiper.learning.model_config import shape_of
from hiper.policies.backend import Weights, at_temperature
from hiper.policies.tokenizer_files import Chat, load_tokenizer
from hiper.policies.vllm import VllmPolicy
from hiper.policies.vllm_engine import VllmEngine
from hiper.records import read_json


def _by_files(model: Decoder, weights: Weights) -> Weights:
    """The weights by the names that vLLM reads in a folder; one after the other where the names are the same."""
    if not isinstance(model, PackedModel):
        return weights
    return lambda: in_files(model, dict(weights())).items()


class VllmPlayers:
    """`weights` gives those that are to be played with now, by the names of the model folder."""

    exact = False

    def __init__(
        self, settings: RunSettings, engine: VllmEngine, folder: Path, tokenizer: Any, weights: Weights
    ) -> None:
        self.settings, self.engine, self.tokenizer, self.weights = settings, engine, tokenizer, weights
        self.vocabulary = shape_of(read_json(folder / "config.json"), folder / "config.json").vocab_size

    def policy(self, temperature: float) -> VllmPolicy:
        prompt, device = self.settings.prompt, self.settings.engine.device
        decoding = at_temperature(self.settings, temperature)
        return VllmPolicy(
            self.engine,
            self.tokenizer,
            decoding,
            prompt.interface,
            prompt.max_tokens,
            self.vocabulary,
            device,
            Chat.of(prompt),
        )

    def play(self) -> None:
        if self.engine.asleep:
            self.engine.wake(self.weights())

    def train(self) -> None:
        if not self.engine.asleep:
            self.engine.sleep()

    def metrics(self) -> dict[str, float]:
        return {"rollout/prefix_hit_rate": self.engine.prefix_hit_rate()}


class VllmBackend:
    """A process has one engine, whose weights change."""

    def __init__(self, settings: RunSettings, device: str) -> None:
        self.settings = settings
        self.engine: VllmEngine | None = None

    def in_training(self, start: Path, actor: Decoder, tokenizer: Any, weights: Weights, whole: bool) -> VllmPlayers:
        return VllmPlayers(self.settings, self._opened(start), start, tokenizer, _by_files(actor, weights))

    def finished(self, folder: Path) -> VllmPlayers:
        decoder, tokenizer = load_decoder(folder, "cpu"), load_tokenizer(folder)
        weights = _by_files(decoder, decoder.state_dict().items)
        players = VllmPlayers(self.settings, self._opened(folder), folder, tokenizer, weights)
        players.train()
        players.play()
        return players

    def _opened(self, folder: Path) -> VllmEngine:
        if self.engine is None:
            settings, engine = self.settings, self.settings.engine
            assert settings.rollout.memory_share is not None  # as its settings demand
            longest = settings.prompt.max_tokens + settings.decoding.max_response_tokens
            guided = settings.decoding.mode == "guided"
            share = settings.rollout.memory_share
            self.engine = VllmEngine(folder, engine.device, engine.dtype, longest, guided, share)
        return self.engine
