"""The local sampler: the project's own decoder with a KV cache, generating for unfinished responses only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.config import Decoding
from hiper.learning.decoder import Decoder, KeyValueCache, Packing
from hiper.learning.guide import CLASSES, GuideState
from hiper.policies.base import Request, Response
from hiper.policies.model_policy import ModelPolicy
from hiper.policies.prefixes import Prefixes
from hiper.policies.tokenizer_files import PLAIN, Chat
from hiper.randomness import generator
from hiper.trajectory import Generation, IntArray


class LocalPolicy(ModelPolicy):
    """Samples from `decoder`, which training may update in place between calls. `autocast`: with bfloat16 products;
    `prefixes`: read once what prompts begin with, until `begin`."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Any,
        decoding: Decoding,
        interface: str,
        max_prompt_tokens: int,
        device: str,
        autocast: bool = False,
        chat: Chat = PLAIN,
        prefixes: Prefixes | None = None,
    ) -> None:
        super().__init__(tokenizer, decoding, interface, max_prompt_tokens, decoder.shape.vocab_size, device, chat)
        self.decoder, self.autocast, self.prefixes = decoder, autocast, prefixes

    def begin(self, seed: Sequence[int]) -> None:
        if self.prefixes is not None:
            self.prefixes.forget()

    @torch.inference_mode()
    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        """Tokens that the guide leaves no choice about are not sampled but fed together with the choice before them."""
        if not requests:
            return []
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.autocast):
            return self._respond(requests, seed)

    def _respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        random = generator(seed)
        prompts = [self.encode_prompt(request.prompt) for request in requests]
        self.forget_prompts()
        limit = self.decoding.max_response_tokens
        drafts = [
            _Draft(i, self.guide.start(r.admissible_actions, r.subgoal) if self.guide else None, limit, self.ends)
            for i, r in enumerate(requests)
        ]
        openings = [np.concatenate([p, np.array(d.force(), np.int32)]) for p, d in zip(prompts, drafts, strict=True)]
        wanted = [np.arange(len(p) - 1, len(o)) for p, o in zip(prompts, openings, strict=True)]
        hidden, cache = self._read(openings, wanted, limit)
        active, lengths = drafts, [len(w) for w in wanted]
        while True:
            parts = hidden.split(lengths)
            for draft, part in zip(active, parts, strict=True):
                draft.features.append(part)
            tokens = self._sample(torch.stack([part[-1] for part in parts]), active, random)
            chunks = [draft.take(token) for draft, token in zip(active, tokens, strict=True)]
            going = _unfinished(active)
            if not going:
                break
            if len(going) < len(active):
                cache = cache.select(going)
                active, chunks = [active[row] for row in going], [chunks[row] for row in going]
            hidden, lengths = self.decoder.model.extend(chunks, cache)
        return [self._response(prompt, draft) for prompt, draft in zip(prompts, drafts, strict=True)]

    def _read(self, openings: Sequence[IntArray], wanted: Sequence[Any], room: int) -> tuple[Tensor, KeyValueCache]:
        """The hidden states at the wanted positions, and a cache with room for more tokens."""
        if self.prefixes is not None:
            return self.prefixes.open(self.decoder.model, openings, [int(places[0]) for places in wanted], room)
        hidden, cache = self.decoder.model.hidden(Packing.of(openings, wanted, self.device), cache_room=room)
        assert cache is not None
        return hidden, cache

    def _sample(self, hidden: Tensor, drafts: Sequence[_Draft], random: np.random.Generator) -> list[int]:
        """One token per row, by inverting the cumulative distribution at one uniform number per row.

        The numbers go to the drafts in the order of their requests, wherever these stand now.
        """
        logits = self.decoder.logits(hidden)
        if self.restriction is not None:
            permitted = [draft.permitted() for draft in drafts]
            logits = self.restriction.apply(logits, permitted)
        greedy = self.decoding.temperature == 0
        scaled = (logits if greedy else logits / self.decoding.temperature).log_softmax(-1)
        if greedy:
            tokens = scaled.argmax(-1)
        else:
            cumulative = scaled.double().exp().cumsum(-1)
            numbers = random.random(len(drafts))[np.argsort(np.argsort([draft.number for draft in drafts]))]
            uniform = torch.as_tensor(numbers, device=self.device) * cumulative[:, -1]
            tokens = torch.searchsorted(cumulative, uniform[:, None], right=True).squeeze(1)
        chosen = scaled.gather(1, tokens[:, None]).squeeze(1)
        for draft, logprob in zip(drafts, chosen.tolist(), strict=True):
            draft.logprobs.append(logprob)
        return tokens.tolist()

    def _response(self, prompt: np.ndarray, draft: _Draft) -> Response:
        text, offsets = self.decode(draft.tokens)
        generation = Generation(
            prompt_tokens=prompt,
            response_tokens=np.asarray(draft.tokens, dtype=np.int32),
            logprobs=np.asarray(draft.logprobs, dtype=np.float32),
            allowed=tuple(draft.allowed) if self.guide else None,
            features=torch.cat(draft.features).float().cpu().numpy(),
        )
        return Response(text, offsets, generation, self.thinking)


def _unfinished(drafts: Sequence[_Draft]) -> list[int]:
    """Rows of the incomplete drafts, in an order that moves few of them: gaps are filled from the end."""
    going = [row for row, draft in enumerate(drafts) if not draft.complete]
    staying = {row for row in going if row < len(going)}
    movers = iter(row for row in going if row >= len(going))
    return [place if place in staying else next(movers) for place in range(len(going))]


class _Draft:
    """The response to request `number` while it grows; complete after one of `ends` or at `limit` tokens."""

    def __init__(self, number: int, guide: GuideState | None, limit: int, ends: frozenset[int]) -> None:
        self.number, self.guide, self.limit, self.ends = number, guide, limit, ends
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.allowed: list[tuple[int, ...]] = []
        self.features: list[Tensor] = []
        self.ended = False

    @property
    def complete(self) -> bool:
        return self.ended or len(self.tokens) >= self.limit

    def permitted(self) -> tuple[int, ...]:
        assert self.guide is not None
        self.allowed.append(self.guide.allowed())
        return self.allowed[-1]

    def take(self, token: int) -> list[int]:
        """Accept a sampled token; returns it with the forced ones that follow."""
        self._append(token)
        return [token, *self.force()]

    def force(self) -> list[int]:
        """Append the tokens that may only be followed by one token each, and return them."""
        forced: list[int] = []
        while self.guide is not None and not self.complete:
            allowed = self.guide.allowed()
            if len(allowed) != 1 or allowed in CLASSES:
                break
            self.allowed.append(allowed)
            self.logprobs.append(0.0)
            self._append(allowed[0])
            forced.append(allowed[0])
        return forced

    def _append(self, token: int) -> None:
        self.tokens.append(token)
        self.ended = self.guide.advance(token) if self.guide else token in self.ends
