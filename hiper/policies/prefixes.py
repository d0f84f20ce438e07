"""Prompts that begin alike are read once: the rules that all share, and what an episode's last prompt began with.

A transformer's keys and values at a position follow from the tokens up to it, so those of a common beginning can be
copied. Products of other shapes round differently: log probabilities in float32 are equal to 1e-4 (tested on a small
model), in bfloat16 to what bfloat16 rounds anyway, so that another token may be drawn where two are that close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.learning.decoder import Backbone, KeyValueCache, Packing
from hiper.trajectory import IntArray

SCORES = 1 << 26  # attention scores that are computed at once, so that long prompts of many episodes fit the memory
WORTHWHILE = 16  # tokens: to read a shorter beginning once saves nothing


class Prefixes:
    """Keys and values of the prompts that were read last, of one state of the weights: `forget` them when these
    change."""

    def __init__(self) -> None:
        self.prompts: list[IntArray] = []
        self.cache: KeyValueCache | None = None
        self.read = self.known = 0  # tokens of prompts, and those of them that were copied

    def forget(self) -> None:
        self.prompts, self.cache = [], None

    def hit_rate(self) -> float:
        """Share of the prompts' tokens that did not have to be computed, since the last call."""
        rate = self.known / self.read if self.read else 0.0
        self.read = self.known = 0
        return rate

    def open(
        self, model: Backbone, sequences: Sequence[IntArray], starts: Sequence[int], room: int
    ) -> tuple[Tensor, KeyValueCache]:
        """What `model.hidden` gives for `sequences` and the positions from `starts[i]` to the end of each, with room
        for more tokens; `starts` are the prompts' last positions."""
        if self.cache is None:
            self._share(model, sequences, starts)
        self.read += sum(starts) + len(starts)
        if self.cache is None:
            wanted = [range(start, len(one)) for start, one in zip(starts, sequences, strict=True)]
            hidden, cache = model.hidden(Packing.of(sequences, wanted, _device(model)), cache_room=room)
            assert cache is not None
        else:
            hidden, cache = self._extended(model, self.cache, sequences, starts, room)
        # a copy: the rows of the sampler's own change places as answers end
        longest = max(map(len, sequences))
        kept = [[tensor[:, :, :longest].clone() for tensor in tensors] for tensors in (cache.keys, cache.values)]
        self.prompts, self.cache = list(sequences), KeyValueCache(*kept, cache.length.clone())
        return hidden, cache

    def _extended(
        self, model: Backbone, kept: KeyValueCache, sequences: Sequence[IntArray], starts: Sequence[int], room: int
    ) -> tuple[Tensor, KeyValueCache]:
        """As `open`, from what is kept."""
        rows, known = self._matched(sequences, starts)
        self.known += sum(known)
        lengths = [len(sequence) for sequence in sequences]
        cache = _copied(kept, rows, known, max(lengths) + room)
        parts: list[Tensor] = []
        for some in _groups(known, lengths, model.shape.num_attention_heads):
            part = _rows(cache, some)
            hidden, _ = model.extend([sequences[i][known[i] :] for i in some], part)
            cache.length[some.start : some.stop] = part.length
            fresh = hidden.split([lengths[i] - known[i] for i in some])
            parts += [states[starts[i] - known[i] :] for i, states in zip(some, fresh, strict=True)]
        return torch.cat(parts), cache

    def _share(self, model: Backbone, sequences: Sequence[IntArray], starts: Sequence[int]) -> None:
        """Read what all sequences begin with, if that is worth it."""
        first, most = sequences[0], min(starts)
        for other in sequences[1:]:
            most = _alike(first[None, :most], other[:most])[0]
        if len(sequences) > 1 and most >= WORTHWHILE:
            shared = first[:most]
            _, self.cache = model.hidden(Packing.of([shared], [[most - 1]], _device(model)), cache_room=0)
            self.prompts = [shared]
            self.known -= most  # it is computed once

    def _matched(self, sequences: Sequence[IntArray], starts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Of each sequence the kept row that begins most like it, and how many tokens of it are alike: fewer than the
        prompt has, whose last one is always read."""
        width = max(map(len, self.prompts))
        kept = np.full((len(self.prompts), width), -1, np.int32)
        for row, prompt in enumerate(self.prompts):
            kept[row, : len(prompt)] = prompt
        rows, known = [], []
        for sequence, most in zip(sequences, starts, strict=True):
            alike = _alike(kept, sequence[:most])
            rows.append(int(alike.argmax()))
            known.append(int(alike.max()))
        return rows, known


def _copied(kept: KeyValueCache, rows: Sequence[int], known: Sequence[int], capacity: int) -> KeyValueCache:
    """A cache whose row i begins with `known[i]` tokens of the kept row `rows[i]`."""
    width = max(known)

    def copied(tensor: Tensor) -> Tensor:
        out = tensor.new_zeros(len(rows), tensor.shape[1], capacity, tensor.shape[3])
        out[:, :, :width] = tensor[list(rows), :, :width]
        return out

    length = torch.tensor(known, dtype=kept.length.dtype, device=kept.length.device)
    return KeyValueCache([copied(k) for k in kept.keys], [copied(v) for v in kept.values], length)


def _device(model: Backbone) -> torch.device:
    return next(model.parameters()).device


def _alike(kept: Any, sequence: IntArray) -> Any:
    """How many tokens each row [rows, width] has in common with the beginning of the sequence."""
    width = min(kept.shape[1], len(sequence))
    return np.cumprod(kept[:, :width] == sequence[:width], axis=1).sum(axis=1)


def _groups(known: Sequence[int], lengths: Sequence[int], heads: int) -> list[range]:
    """Rows one after the other whose attention scores are SCORES at most together, or single ones."""
    groups, first = [], 0
    for row in range(1, len(lengths) + 1):
        some = range(first, row + 1)
        if row == len(lengths):
            groups.append(range(first, row))
        elif len(some) * heads * max(lengths[i] - known[i] for i in some) * max(lengths[i] for i in some) > SCORES:
            groups.append(range(first, row))
            first = row
    return groups


def _rows(cache: KeyValueCache, some: range) -> KeyValueCache:
    """These rows of a cache, in the same memory."""
    part = slice(some.start, some.stop)
    return KeyValueCache([k[part] for k in cache.keys], [v[part] for v in cache.values], cache.length[part])
