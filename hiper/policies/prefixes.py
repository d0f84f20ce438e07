"""Prompts that begin alike are read once: the rules that all share, and what an episode's last prompt began with.

A transformer's keys and values at a position follow from the tokens up to it, so those of a common beginning can be
copied. Products of other shapes round differently: in float32 log probabilities move by some 1e-5 at most, in bfloat16
by what bfloat16 rounds anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.learning.qwen2 import Backbone, KeyValueCache, Packing
from hiper.trajectory import IntArray

SCORES = 1 << 26  # attention scores that are computed at once, so that long prompts of many episodes fit the memory
WORTHWHILE = 16  # tokens: to read a shorter beginning once saves nothing


class Prefixes:
    """Keys and values of the prompts that were read last. They are of one state of the weights: `forget` them when
    these change."""

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
        rows, known = self._matched(sequences, starts)
        lengths = [len(sequence) for sequence in sequences]
        cache = self._copied(model, rows, known, max(lengths) + room)
        parts: list[Tensor] = []
        for some in _groups(known, lengths, model.shape.num_attention_heads):
            part = _rows(cache, some)
            hidden, _ = model.extend([sequences[i][known[i] :] for i in some], part)
            cache.length[some.start : some.stop] = part.length
            fresh = hidden.split([lengths[i] - known[i] for i in some])
            parts += [states[starts[i] - known[i] :] for i, states in zip(some, fresh, strict=True)]
        self.read, self.known = self.read + sum(starts) + len(starts), self.known + sum(known)
        # a copy: the rows of the sampler's own change places as answers end
        longest = max(lengths)
        kept = [[tensor[:, :, :longest].clone() for tensor in tensors] for tensors in (cache.keys, cache.values)]
        self.prompts, self.cache = list(sequences), KeyValueCache(*kept, cache.length.clone())
        return torch.cat(parts), cache

    def _share(self, model: Backbone, sequences: Sequence[IntArray], starts: Sequence[int]) -> None:
        """Read what all sequences begin with, if that is worth it."""
        first, most = sequences[0], min(starts)
        for other in sequences[1:]:
            most = _alike(first[None, :most], other[:most])[0]
        if len(sequences) > 1 and most >= WORTHWHILE:
            shared = first[:most]
            _, self.cache = model.hidden(Packing.of([shared], [[most - 1]], model.norm.weight.device), cache_room=0)
            self.prompts = [shared]
            self.known -= most  # it is computed once

    def _matched(self, sequences: Sequence[IntArray], starts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Of each sequence the kept row that begins most like it, and how many tokens of it are alike: fewer than the
        prompt has, whose last one is always read."""
        if not self.prompts:
            return [0] * len(sequences), [0] * len(sequences)
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

    def _copied(self, model: Backbone, rows: Sequence[int], known: Sequence[int], capacity: int) -> KeyValueCache:
        """A cache whose row i begins with `known[i]` tokens of the kept row `rows[i]`."""
        shape, weight = model.shape, model.norm.weight
        size = (len(rows), shape.num_key_value_heads, capacity, shape.head_size)
        width = max(known)

        def copied(kept: Tensor | None) -> Tensor:
            out = torch.zeros(size, dtype=dtype, device=weight.device)
            if kept is not None and width:
                out[:, :, :width] = kept[list(rows), :, :width]
            return out

        cache = self.cache
        dtype = _precision(model) if cache is None else cache.keys[0].dtype
        layers = range(shape.num_hidden_layers)
        keys = [copied(cache.keys[layer] if cache else None) for layer in layers]
        values = [copied(cache.values[layer] if cache else None) for layer in layers]
        return KeyValueCache(keys, values, torch.tensor(known, dtype=torch.long, device=weight.device))


def _precision(model: Backbone) -> torch.dtype:
    """Of keys and values as the model computes them here."""
    kind = model.norm.weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.norm.weight.dtype


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
