"""What every policy has that is a language model with a tokenizer: prompts to tokens, tokens to text, the guide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hiper.config import Decoding
from hiper.errors import UserError
from hiper.learning.guide import Guide
from hiper.learning.restrict import Restriction
from hiper.policies.tokenizer_files import chat_frame, ends
from hiper.trajectory import IntArray


class ModelPolicy:
    """`guide` and `restriction` are None under free decoding; the restriction lies on `device` and covers the model's
    `vocabulary`."""

    def __init__(
        self, tokenizer: Any, decoding: Decoding, interface: str, max_prompt_tokens: int, vocabulary: int, device: str
    ) -> None:
        self.tokenizer, self.decoding, self.device = tokenizer, decoding, device
        self.interface, self.max_prompt_tokens = interface, max_prompt_tokens
        self.before, self.after = chat_frame(tokenizer)
        self.end = int(tokenizer.eos_token_id)
        self.ends = ends(tokenizer) if decoding.mode == "free" else frozenset((self.end,))  # the guide permits one
        self._encoded: dict[str, IntArray] = {}
        self.guide: Guide | None = None
        self.restriction: Restriction | None = None
        if decoding.mode == "guided":
            self.guide = Guide(tokenizer, interface, decoding.max_text_tokens, self.end)
            self.restriction = Restriction(self.guide, vocabulary, device)

    def fits(self, prompt: str) -> bool:
        """Is the chat with this user message within the limit? What does is encoded again soon: it is remembered."""
        ids = self._encode(prompt)
        if fitting := len(ids) <= self.max_prompt_tokens:
            self._encoded[prompt] = ids
        return fitting

    def encode_prompt(self, prompt: str) -> IntArray:
        """Token ids of the chat with one user message, ready for the answer [prompt]; UserError when over the limit."""
        known = self._encoded.get(prompt)
        ids = self._encode(prompt) if known is None else known
        if len(ids) > self.max_prompt_tokens:
            raise UserError(
                f"a prompt has {len(ids)} tokens, over prompt.max_tokens={self.max_prompt_tokens}; raise the limit"
            )
        return ids

    def forget_prompts(self) -> None:
        """What `fits` has remembered is no longer needed."""
        self._encoded.clear()

    def _encode(self, prompt: str) -> IntArray:
        text = self.before + prompt + self.after
        return np.asarray(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)

    def decode(self, tokens: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        """Response text (end token left out) and the character offset of each token, by decoding growing prefixes.

        A character spread over several byte tokens belongs to the first of them.
        """
        pieces: list[int] = []
        offsets, text = [0], ""
        for token in tokens:
            pieces.append(token)
            if token in self.ends:
                offsets.append(offsets[-1])
                pieces.pop()
                continue
            piece = self.tokenizer.decode(pieces, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if piece.endswith("\ufffd"):
                # an unfinished character: wait for the rest, the tokens so far share its position
                offsets.append(len(text))
                continue
            text, pieces = text + piece, []
            offsets.append(len(text))
        if pieces:
            text += self.tokenizer.decode(pieces, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            offsets[-1] = len(text)
        return text, tuple(offsets)
