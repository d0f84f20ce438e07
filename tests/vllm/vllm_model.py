"""What the tests of the vLLM backend play with: the size of the model that they make, requests, and an engine beside
the trainer's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.config import Decoding
from hiper.learning.decoder import Decoder, Packing
from hiper.learning.library_model import in_files
from hiper.policies.base import Request
from hiper.policies.local import LocalPolicy
from hiper.policies.vllm import VllmPolicy
from hiper.policies.vllm_engine import VllmEngine
from hiper.trajectory import Generation

# The CPU's attention takes heads of 32, 64, … only; the long prompts of style `full` need room.
SIZES: dict[str, Any] = {"model__scratch__hidden": 64, "model__scratch__heads": 2, "prompt__max_tokens": 1200}

ACTIONS = ("go to desk 1", "go to desk 10", "look", "take mug 1 from desk 1")
LONG = "a longer prompt: go to desk 1 and take mug 1 from desk 1, then look, and so on and so forth " * 3
REQUESTS = [
    Request("find a mug", ACTIONS, None),
    Request(LONG, ACTIONS, "find a mug"),
    Request("one way only", ("look",), "find a mug"),
]


@dataclass
class Opened:
    """The engine, and the trainer's model with the same weights."""

    engine: VllmEngine
    decoder: Decoder
    tokenizer: Any

    def policy(self, mode: str, temperature: float = 1.0, tokens: int = 24) -> VllmPolicy:
        decoding = Decoding(mode=mode, temperature=temperature, max_response_tokens=tokens, max_text_tokens=5)
        vocabulary = self.decoder.shape.vocab_size
        return VllmPolicy(self.engine, self.tokenizer, decoding, "plan_execute", 1200, vocabulary, "cpu")

    def local(self, mode: str, temperature: float) -> LocalPolicy:
        decoding = Decoding(mode=mode, temperature=temperature, max_response_tokens=24, max_text_tokens=5)
        return LocalPolicy(self.decoder, self.tokenizer, decoding, "plan_execute", 1200, "cpu")

    def weights(self) -> Mapping[str, Tensor]:
        """The trainer's, by the names of the model's files."""
        return in_files(self.decoder, self.decoder.state_dict())

    def change(self, seed: int) -> None:
        """Move the trainer's weights; the engine is not told."""
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.decoder.parameters():
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=random))

    def trainer_logprobs(self, policy: VllmPolicy, generation: Generation) -> np.ndarray:
        """Of the sampled tokens, by one pass over prompt and response."""
        count, start = len(generation.response_tokens), len(generation.prompt_tokens)
        tokens = np.concatenate([generation.prompt_tokens, generation.response_tokens])
        with torch.inference_mode():
            hidden, _ = self.decoder.model.hidden(Packing.of([tokens], [np.arange(start - 1, start + count - 1)]))
            logits = self.decoder.logits(hidden)
            if policy.restriction is not None:
                assert generation.allowed is not None
                logits = policy.restriction.apply(logits, generation.allowed)
            logprobs = (logits / policy.decoding.temperature).log_softmax(-1)
            return logprobs[torch.arange(count), generation.response_tokens.astype(np.int64)].numpy()
