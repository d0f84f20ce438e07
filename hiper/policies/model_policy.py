"""What every policy has that is a language model with a tokenizer: prompts to tokens, tokens to text, the guide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate, takewhile
from typing import Any

import numpy as np

from hiper.config import Decoding
from hiper.errors import UserError
from hiper.learning.guide import Guide, answer_tokens
from hiper.learning.restrict import Restriction
from hiper.plan_execute import opens_thought
from hiper.policies.tokenizer_files import PLAIN, Chat, chat_frame, ends
from hiper.trajectory import IntArray

UNFINISHED = "\ufffd"  # what decoders write for the bytes of a part of a character


class ModelPolicy:
    """`guide` and `restriction` are None under free decoding; the restriction lies on `device` and covers the model's
    `vocabulary`."""

    def __init__(
        self,
        tokenizer: Any,
        decoding: Decoding,
        interface: str,
        max_prompt_tokens: int,
        vocabulary: int,
        device: str,
        chat: Chat = PLAIN,
    ) -> None:
        self.tokenizer, self.decoding, self.device = tokenizer, decoding, device
        self.interface, self.max_prompt_tokens = interface, max_prompt_tokens
        self.before, self.after = chat_frame(tokenizer, chat)
        self.thinking = opens_thought(self.after)
        self.end = int(tokenizer.eos_token_id)
        self.ends = ends(tokenizer) if decoding.mode == "free" else frozenset((self.end,))  # the guide permits one
        self._encoded: dict[str, IntArray] = {}
        self.guide: Guide | None = None
        self.restriction: Restriction | None = None
        if decoding.mode == "guided":
            self.guided_by = guided_by(tokenizer, decoding, interface, chat)
            self.guide = Guide(tokenizer, *self.guided_by)
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

    def encode_answer(self, answer: str) -> IntArray:
        """Token ids of a canonical answer, or its beginning, as this policy would write it [answer]."""
        if self.guide is None:
            return np.asarray(self.tokenizer.encode(answer, add_special_tokens=False), dtype=np.int32)
        return np.asarray(answer_tokens(self.tokenizer, [answer])[0], dtype=np.int32)

    def decode(self, tokens: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        """Response text (end token left out) and the character offset of each token."""
        return offsets_of(self.tokenizer, tokens, self.ends)


def offsets_of(tokenizer: Any, tokens: Sequence[int], ends: Collection[int]) -> tuple[str, tuple[int, ...]]:
    """The text of an answer (tokens in `ends` left out), where each of its tokens begins, and its length, by decoding
    growing prefixes.

    A token that begins inside a character, as byte tokens may, has the offset of that character.
    """
    pieces: list[int] = []  # the tokens since the last that ended between two characters
    starts: list[int] = []
    text, seen = "", ""  # of the tokens before `pieces`, of `pieces`
    for token in tokens:
        if token in ends:
            starts.append(len(text) + len(seen))
            continue
        pieces.append(token)
        piece = tokenizer.decode(pieces, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        starts.append(len(text) + _start_of_last(seen, piece))
        seen = piece
        if not piece.endswith(UNFINISHED):
            text, seen, pieces = text + piece, "", []
    text += seen
    return text, (*_non_decreasing(starts), len(text))


def guided_by(tokenizer: Any, decoding: Decoding, interface: str, chat: Chat) -> tuple[str, int, int, bool, int]:
    """What a guide is made of besides the tokenizer."""
    thinking = opens_thought(chat_frame(tokenizer, chat)[1])
    return interface, decoding.max_text_tokens, int(tokenizer.eos_token_id), thinking, decoding.max_response_tokens


def _start_of_last(before: str, after: str) -> int:
    """Where the token begins that turned the text `before` into `after`: at the first character that it changed, or at
    the unfinished one that is unfinished still."""
    if before and before == after:
        return len(before) - 1
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    return sum(1 for _ in alike)


def _non_decreasing(starts: list[int]) -> list[int]:
    """Some decoders write a mark for every byte of an unfinished character: then its tokens begin where the last
    does."""
    return list(accumulate(reversed(starts), min))[::-1]
