"""The permitted-token sets of guided decoding as masks on logits: one function for the sampler and the losses."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from hiper.learning.guide import (
    NOT_IN_QUERIES,
    NOT_IN_TEXT,
    QUERY,
    QUERY_END,
    QUERY_OR_CLOSE,
    TEXT,
    TEXT_OR_CLOSE,
    Guide,
    allowed_rows,
)
from hiper.plan_execute import CHINESE

_BEGUN = re.compile("[\u00e4-\u00e9].?$|<0xE[4-9]>$")


class Restriction:
    """Turns `Generation.allowed` entries into masked logits."""

    def __init__(self, guide: Guide, vocabulary: int, device: str) -> None:
        # ids that the tokenizer does not know (padding of the embedding to a round size) are no text
        known = sorted(i for i in guide.tokenizer.get_vocab().values() if i < vocabulary)
        pieces = {
            i: guide.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in known if i not in guide.special
        }
        plain = [i for i, piece in pieces.items() if NOT_IN_TEXT not in piece and not _is_chinese(guide, i, piece)]
        text, query = torch.zeros(vocabulary, dtype=torch.bool), torch.zeros(vocabulary, dtype=torch.bool)
        text[plain] = True
        query[[i for i in plain if not any(character in pieces[i] for character in NOT_IN_QUERIES)]] = True
        close = guide.tag["</think>" if guide.interface == "react" else "</subgoal>"][0]
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


def _is_chinese(guide: Guide, token: int, piece: str) -> bool:
    """Does the token hold a character that makes a turn invalid, or begin the bytes of one (E4 to E9, which byte-level
    tokenizers write as the letters of these code points)?"""
    unfinished = piece.endswith("\ufffd") and _BEGUN.search(guide.tokenizer.convert_ids_to_tokens(token))
    return bool(CHINESE.search(piece) or unfinished)
