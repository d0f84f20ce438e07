"""The permitted-token sets of guided decoding as masks on logits: one function for the sampler and the losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hiper.learning.guide import (
    NOT_IN_QUERIES,
    QUERY,
    QUERY_END,
    QUERY_OR_CLOSE,
    TEXT,
    TEXT_OR_CLOSE,
    Guide,
    allowed_rows,
)


class Restriction:
    """Turns `Generation.allowed` entries into masked logits."""

    def __init__(self, guide: Guide, vocabulary: int, device: str) -> None:
        text = torch.ones(vocabulary, dtype=torch.bool)
        text[[i for i in guide.special if i < vocabulary]] = False
        # ids beyond the tokenizer (padding of the embedding to a round size) are no text
        text[len(guide.tokenizer) :] = False
        query = text.clone()
        query[[i for i in range(len(guide.tokenizer)) if text[i] and _ends_queries(guide.tokenizer.decode([i]))]] = (
            False
        )
        close = guide.tag["</think>" if guide.interface == "react" else "</subgoal>"]
        masks = {TEXT: text, QUERY: query, TEXT_OR_CLOSE: text.clone(), QUERY_OR_CLOSE: query.clone()}
        masks[TEXT_OR_CLOSE][close] = True
        masks[QUERY_OR_CLOSE][list(guide.encode(QUERY_END))] = True
        self.masks = {name: mask.to(device) for name, mask in masks.items()}
        self.device = device

    def apply(self, logits: Tensor, allowed: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits [n, vocabulary] with −inf where not permitted; `allowed` [n]."""
        rows, ids, classes = allowed_rows(allowed)
        mask = torch.zeros(logits.shape, dtype=torch.bool, device=self.device)
        mask[rows, ids] = True
        for name, members in classes.items():
            if members:
                mask[members] = self.masks[name]
        return logits.masked_fill(~mask, float("-inf"))


def _ends_queries(text: str) -> bool:
    return any(character in text for character in NOT_IN_QUERIES)
