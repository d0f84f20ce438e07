"""The policy whose sampler is vLLM.

What is reproducible: on a CPU a request's random numbers come from its own seed, whatever else is being answered. On a
GPU vLLM would then start a kernel for every request and token. So episodes that are played together share one seed
there, and each process and iteration has its own. A request's logits are computed in a batch with the others', which
changes their last bits: where two tokens are that close another one may be drawn. So equal settings give equal answers
as a rule and not always. (On GPUs vLLM has a batch-invariant mode, VLLM_BATCH_INVARIANT=1, which was not tried.)

Values are not read from its hidden states, which it does not give: the critic computes them (`features` is None).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hiper.config import Decoding
from hiper.policies.base import Request, Response
from hiper.policies.model_policy import ModelPolicy
from hiper.policies.tokenizer_files import PLAIN, Chat
from hiper.policies.vllm_engine import Finished, VllmEngine
from hiper.randomness import seed_number
from hiper.trajectory import Generation, IntArray


class VllmPolicy(ModelPolicy):
    """Several policies may share an engine, one after the other. Forced tokens are sampled like others, one by one."""

    def __init__(
        self,
        engine: VllmEngine,
        tokenizer: Any,
        decoding: Decoding,
        interface: str,
        max_prompt_tokens: int,
        vocabulary: int,
        device: str,
        chat: Chat = PLAIN,
    ) -> None:
        super().__init__(tokenizer, decoding, interface, max_prompt_tokens, vocabulary, device, chat)
        self.engine = engine
        self._waiting: dict[int, tuple[Request, IntArray]] = {}

    def begin(self, seed: Sequence[int]) -> None:
        """Of the episodes to come."""
        self.forget_prompts()
        self.engine.seed(seed_number(seed))

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        """All answers, once all are there."""
        self.begin(seed)
        tickets = [self.submit(request, [*seed, number]) for number, request in enumerate(requests)]
        answers: dict[int, Response] = {}
        while len(answers) < len(tickets):
            answers.update(self.collect())
        return [answers[ticket] for ticket in tickets]

    def submit(self, request: Request, seed: Sequence[int]) -> int:
        prompt = self.encode_prompt(request.prompt)
        self.forget_prompts()
        ticket = self.engine.submit(prompt.tolist(), self._options(request, seed))
        self._waiting[ticket] = (request, prompt)
        return ticket

    def collect(self) -> list[tuple[int, Response]]:
        return [(done.ticket, self._response(done)) for done in self.engine.collect()]

    def cancel(self) -> None:
        self.engine.cancel(self._waiting)
        self._waiting.clear()

    def _options(self, request: Request, seed: Sequence[int]) -> dict[str, Any]:
        options: dict[str, Any] = {
            "temperature": self.decoding.temperature,
            "max_tokens": self.decoding.max_response_tokens,
            "seed": seed_number(seed) if self.engine.seeds_requests else None,
            "ignore_eos": True,  # the ends are the policy's, whatever vLLM takes from the folder
            "stop_token_ids": sorted(self.ends),
        }
        if self.guide is not None:
            from hiper.policies.vllm_guide import GUIDE_KEY

            # an error is to be raised here, not in the engine
            self.guide.start(request.admissible_actions, request.subgoal)
            wanted = {"actions": list(request.admissible_actions), "subgoal": request.subgoal}
            options["extra_args"] = {GUIDE_KEY: {"guide": list(self.guided_by), **wanted}}
        return options

    def _response(self, done: Finished) -> Response:
        request, prompt = self._waiting.pop(done.ticket)
        text, offsets = self.decode(done.tokens)
        generation = Generation(
            prompt_tokens=prompt,
            response_tokens=np.asarray(done.tokens, dtype=np.int32),
            logprobs=np.asarray(done.logprobs, dtype=np.float32),
            allowed=self._allowed(request, done.tokens),
        )
        return Response(text, offsets, generation, self.thinking)

    def _allowed(self, request: Request, tokens: Sequence[int]) -> tuple[tuple[int, ...], ...] | None:
        """The sets that the engine's guide permitted, found again by following the tokens."""
        if self.guide is None:
            return None
        state, found = self.guide.start(request.admissible_actions, request.subgoal), []
        for token in tokens:
            found.append(state.allowed())
            state.advance(token)
        return tuple(found)
