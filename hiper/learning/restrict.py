"""The permitted-token sets of guided decoding as masks on logits: one function for the sampler and the losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hiper.learning.guide import Guide, allowed_rows


class Restriction:
    """Turns `Generation.allowed` entries into masked logits. `close` is the tag that ends free text."""

    def __init__(self, guide: Guide, vocabulary: int, device: str) -> None:
        text = torch.ones(vocabulary, dtype=torch.bool)
        text[[i for i in guide.special if i < vocabulary]] = False
        # ids beyond the tokenizer (padding of the embedding to a round size) are no text
        text[len(guide.tokenizer) :] = False
        closed = text.clone()
        closed[guide.tag["</think>" if guide.interface == "react" else "</subgoal>"]] = True
        self.text, self.text_or_close, self.device = text.to(device), closed.to(device), device

    def apply(self, logits: Tensor, allowed: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits [n, vocabulary] with −inf where not permitted; `allowed` [n]."""
        rows, ids, text, text_or_close = allowed_rows(allowed)
        mask = torch.zeros(logits.shape, dtype=torch.bool, device=self.device)
        mask[rows, ids] = True
        mask[text] = self.text
        mask[text_or_close] = self.text_or_close
        return logits.masked_fill(~mask, float("-inf"))
