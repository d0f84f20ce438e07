"""Both samplers, made to answer alike: `transformers`' `generate` as its manual says (left-padded prompts, one batch),
and a `LocalPolicy` whose answers end where they are told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dev.bench.measure import Disagreement
from dev.bench.models import Machine
from hiper.learning.guide import GuideState
from hiper.policies.base import Request, Response
from hiper.policies.local import LocalPolicy
from hiper.policies.tokenizer_files import chat_frame


class Library:
    """`model` is a `Qwen2ForCausalLM` that does not stop at an end token by itself."""

    def __init__(self, model: Any, tokenizer: Any, machine: Machine) -> None:
        self.model, self.tokenizer, self.machine = model, tokenizer, machine
        self.before, self.after = chat_frame(tokenizer)
        tokenizer.padding_side = "left"

    def sample(self, prompts: Sequence[str], lengths: np.ndarray) -> list[str]:
        """One answer of `lengths[i]` tokens to each prompt."""
        encoded = self._encode(prompts)
        width = encoded["input_ids"].shape[1]
        planned = torch.as_tensor(lengths, device=self.machine.device)
        out = self._generate(encoded, int(lengths.max()), [_Planned(width, planned)], do_sample=True)
        return [str(text) for text in self.tokenizer.batch_decode(out.sequences[:, width:])]

    def greedy(
        self, policy: LocalPolicy, requests: Sequence[Request], tokens: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(tokens [tokens], log probabilities [tokens, vocabulary]) per prompt; under the policy's guide, if it has
        one. Entries behind the end of an answer mean nothing."""
        encoded = self._encode([request.prompt for request in requests])
        width = encoded["input_ids"].shape[1]
        guide = _Guided(policy, requests, width) if policy.guide is not None else None
        out = self._generate(encoded, tokens, [guide] if guide else [], guide, do_sample=False)
        scores = torch.stack(out.scores, 1).float().log_softmax(-1).cpu().numpy()
        answers = out.sequences[:, width:].cpu().numpy()
        return [(answers[i], scores[i]) for i in range(len(requests))]

    def restricted(self, policy: LocalPolicy, requests: Sequence[Request], tokens: int) -> list[int]:
        """Lengths of sampled answers under the policy's guide."""
        encoded = self._encode([request.prompt for request in requests])
        width = encoded["input_ids"].shape[1]
        guide = _Guided(policy, requests, width)
        out = self._generate(encoded, tokens, [guide], guide, do_sample=True)
        self.tokenizer.batch_decode(out.sequences[:, width:])
        return [min(length, tokens) for length in guide.lengths]

    def _encode(self, prompts: Sequence[str]) -> Any:
        texts = [self.before + prompt + self.after for prompt in prompts]
        encoded = self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        return {name: encoded[name].to(self.machine.device) for name in ("input_ids", "attention_mask")}

    def _generate(self, encoded: Any, tokens: int, stops: Sequence[Any], guide: Any = None, *, do_sample: bool) -> Any:
        from transformers import StoppingCriteriaList

        sampling = (
            {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if do_sample else {"do_sample": False}
        )
        with torch.inference_mode(), self.machine.autocast():
            out = self.model.generate(
                **encoded,
                **sampling,
                max_new_tokens=tokens,
                stopping_criteria=StoppingCriteriaList(stops),
                prefix_allowed_tokens_fn=guide.allowed if guide is not None else None,
                pad_token_id=int(self.tokenizer.pad_token_id),
                return_dict_in_generate=True,
                output_scores=not do_sample,
            )
        self.machine.wait()
        return out


class _Planned:
    """Row i is done after `lengths[i]` tokens; the same protocol as an end token's."""

    def __init__(self, width: int, lengths: Tensor) -> None:
        self.width, self.lengths = width, lengths

    def __call__(self, tokens: Tensor, scores: Any, **rest: Any) -> Tensor:
        return tokens.shape[1] - self.width >= self.lengths


class _Guided:
    """The guide of every row, advanced as tokens come: once to say what is allowed, once to say who is done."""

    def __init__(self, policy: LocalPolicy, requests: Sequence[Request], width: int) -> None:
        assert policy.guide is not None and policy.restriction is not None
        self.width, self.device = width, policy.device
        self.states: list[GuideState] = [policy.guide.start(r.admissible_actions, r.subgoal) for r in requests]
        self.lengths = [0] * len(requests)
        self.done = [False] * len(requests)
        self.end = policy.end
        # lists, because that is what the library wants from `prefix_allowed_tokens_fn`
        masks = policy.restriction.masks
        self.classes = {name: torch.nonzero(mask).flatten().tolist() for name, mask in masks.items()}

    def allowed(self, row: int, tokens: Tensor) -> list[int]:
        if self.done[row]:
            return [self.end]
        permitted = self.states[row].allowed()
        return self.classes[permitted] if permitted in self.classes else list(permitted)

    def __call__(self, tokens: Tensor, scores: Any, **rest: Any) -> Tensor:
        for row, token in enumerate(tokens[:, -1].tolist()):
            if not self.done[row]:
                self.lengths[row] += 1
                self.done[row] = self.states[row].advance(token)
        return torch.tensor(self.done, device=self.device)


class PlannedPolicy(LocalPolicy):
    """Ends the answer to request i at `planned[i]` tokens, whatever it samples; the work is that of `LocalPolicy`."""

    planned: Sequence[int] = ()

    def _sample(self, hidden: Tensor, drafts: Sequence[Any], random: np.random.Generator) -> list[int]:
        tokens = super()._sample(hidden, drafts, random)
        return [
            self.end
            if len(draft.tokens) + 1 == self.planned[draft.number]
            else (self.end + 1 if token == self.end else token)
            for draft, token in zip(drafts, tokens, strict=True)
        ]


def require_same_answer(
    where: str, answer: Response, tokens: np.ndarray, scores: np.ndarray, tolerance: float
) -> float:
    """Largest difference of log probabilities. Where two tokens are equally likely the answers may part: what comes
    after is not compared. `scores` [tokens, vocabulary] are the library's log probabilities."""
    assert answer.generation is not None
    worst = 0.0
    for place, token in enumerate(answer.generation.response_tokens.tolist()):
        difference = abs(float(scores[place, token]) - float(answer.generation.logprobs[place]))
        if not difference <= tolerance:
            raise Disagreement(f"{where}: log probabilities of token {place} differ by {difference:.3g}")
        worst = max(worst, difference)
        other = int(tokens[place])
        if other != token:
            if scores[place, other] - scores[place, token] > tolerance:
                raise Disagreement(f"{where}: token {place} is {token} here and {other} in generate")
            break
    return worst
