"""The backend `vllm`: samples with vLLM, in the same process. It is imported when the first engine is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiper.config import RunSettings
from hiper.learning.decoder import Decoder
from hiper.learning.folders import load_decoder
from hiper.learning.library_model import PackedModel, in_files
from hiper.learning.model_config import shape_of
from hiper.learning.model_files import CONFIG
from hiper.learning.torch_setup import card_memory
from hiper.planning.sampler import SEQUENCES
from hiper.policies import room
from hiper.policies.backend import Weights, at_temperature
from hiper.policies.tokenizer_files import Chat, load_tokenizer
from hiper.policies.vllm import VllmPolicy
from hiper.policies.vllm_engine import VllmEngine, Wanted
from hiper.records import read_json


def _by_files(model: Decoder, weights: Weights) -> Weights:
    """The weights by the names that vLLM reads in a folder; one after the other where the names are the same."""
    if not isinstance(model, PackedModel):
        return weights
    return lambda: in_files(model, dict(weights())).items()


class VllmPlayers:
    """`weights` gives those that are to be played with now, by the names of the model folder."""

    def __init__(
        self, settings: RunSettings, engine: VllmEngine, folder: Path, tokenizer: Any, weights: Weights
    ) -> None:
        self.exact = room.exact(settings)
        self.settings, self.engine, self.tokenizer, self.weights = settings, engine, tokenizer, weights
        self.vocabulary = shape_of(read_json(folder / CONFIG), folder / CONFIG).vocab_size

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
        sequences = room.sequences_in_training(self.settings, self.settings.engine.processes)
        return VllmPlayers(self.settings, self._opened(start, sequences), start, tokenizer, _by_files(actor, weights))

    def finished(self, folder: Path) -> VllmPlayers:
        decoder, tokenizer = load_decoder(folder, "cpu"), load_tokenizer(folder)
        weights = _by_files(decoder, decoder.state_dict().items)
        sequences = min(self.settings.evaluation.batch, SEQUENCES)
        players = VllmPlayers(self.settings, self._opened(folder, sequences), folder, tokenizer, weights)
        players.train()
        players.play()
        return players

    def _opened(self, folder: Path, sequences: int) -> VllmEngine:
        if self.engine is None:
            memory = card_memory(self.settings.engine.device)
            self.engine = VllmEngine(folder, engine_wanted(self.settings, folder, sequences, memory))
        return self.engine


def engine_wanted(settings: RunSettings, folder: Path, sequences: int, memory: float | None) -> Wanted:
    """What the settings ask of an engine for the model in `folder`; `memory`: of the GPU, None without one."""
    engine, share, sleeps = settings.engine, None, False
    if memory is not None:
        shape = shape_of(read_json(folder / CONFIG), folder / CONFIG)
        share = room.vllm_share(settings, shape, sequences, memory)
        layout = room.layout_of(settings, shape, engine.processes, memory)
        sleeps = not room.stays(settings, shape, layout, share, memory)
    return Wanted(
        device=engine.device,
        dtype=engine.dtype,
        longest=room.longest(settings),
        guided=settings.decoding.mode == "guided",
        sequences=sequences,
        memory_share=share,
        sleeps=sleeps,
    )
