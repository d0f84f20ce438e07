"""Guided decoding inside vLLM: the same `Guide` and `Restriction` as everywhere, as a logits processor of the engine.

vLLM imports this module by name, in the process of its worker. A request carries what the guide is made from in
`SamplingParams.extra_args[GUIDE_KEY]`; one without is left free.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from hiper.learning.guide import Guide, GuideState
from hiper.learning.restrict import Restriction
from hiper.policies.tokenizer_files import load_tokenizer

GUIDE_KEY = "hiper_guide"


@dataclass
class _Answer:
    """One request while it is answered: `tokens` is vLLM's own growing list, of which `seen` have been followed."""

    state: GuideState
    tokens: list[int]
    seen: int = 0

    def allowed(self) -> tuple[int, ...]:
        for token in self.tokens[self.seen :]:
            self.state.advance(token)
        self.seen = len(self.tokens)
        return self.state.allowed()


class GuideProcessor(LogitsProcessor):
    """Permits in each row what its guide permits."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.folder, self.device = Path(vllm_config.model_config.model), str(device)
        self.vocabulary = int(vllm_config.model_config.get_vocab_size())
        self.guides: dict[tuple[Any, ...], tuple[Guide, Restriction]] = {}
        self.answers: dict[int, tuple[Restriction, _Answer]] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests as they come, go and change their rows."""
        process_dict_updates(self.answers, batch_update, self._begin)

    def _begin(
        self, parameters: SamplingParams, prompt: list[int] | None, tokens: list[int]
    ) -> tuple[Restriction, _Answer] | None:
        wanted = (parameters.extra_args or {}).get(GUIDE_KEY)
        if wanted is None:
            return None
        guide, restriction = self._guide(tuple(wanted["guide"]))
        return restriction, _Answer(guide.start(wanted["actions"], wanted["subgoal"]), tokens)

    def _guide(self, key: tuple[Any, ...]) -> tuple[Guide, Restriction]:
        if key not in self.guides:
            guide = Guide(load_tokenizer(self.folder), *key)
            self.guides[key] = guide, Restriction(guide, self.vocabulary, self.device)
        return self.guides[key]

    def apply(self, logits: Tensor) -> Tensor:
        for restriction in {id(found): found for found, _ in self.answers.values()}.values():
            rows = [row for row, (own, _) in self.answers.items() if own is restriction]
            allowed = [self.answers[row][1].allowed() for row in rows]
            logits[rows] = restriction.apply(logits[rows], allowed)
        return logits
