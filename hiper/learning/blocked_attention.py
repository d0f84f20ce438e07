"""Causal attention in bfloat16 on a CPU: block by block, of products that torch has fast kernels for.

torch's fused kernel computes no faster in bfloat16 than in float32 there. On a processor with bfloat16 products this
took half of its time, forward and backward. Scores are rounded to bfloat16, as those of `Attention.attend_cached` are;
the log probabilities and gradients of a model were as near to those of float32 as with the fused kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK = 128  # queries


def takes_blocked(values: Tensor) -> bool:
    """Whether these values are computed here."""
    return values.device.type == "cpu" and values.dtype == torch.bfloat16


def attend_blocked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each position attends to itself and those before it: query [s, heads, n, size] of the last n positions, key and
    value [s, kv_heads, m, size] of all, m ≥ n → [s, heads, n, size]. Of the attention's weights nothing is kept for the
    backward pass, which computes them again."""
    attended: Tensor = _Blocked.apply(query.to(value.dtype), key.to(value.dtype), value)  # type: ignore[no-untyped-call]
    return attended


class _Blocked(torch.autograd.Function):
    """Below, s is sequences times kv_heads, and a row of queries one of the heads that share keys."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, heads, length, size = query.shape
        shared, before = heads // key.shape[1], key.shape[2] - length
        q = query.reshape(-1, shared, length, size) * size**-0.5
        k, v = key.reshape(-1, before + length, size), value.reshape(-1, before + length, size)
        out = torch.empty_like(q)
        for some, seen in _blocks(length, before):
            weights = _weights(q[:, :, some], k[:, seen])
            out[:, :, some] = torch.bmm(weights, v[:, seen]).view(len(k), shared, -1, size)
        ctx.save_for_backward(q, k, v)
        return out.view(rows, heads, length, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        rows, heads, length, size = gradients[0].shape
        after = gradients[0].reshape(q.shape)
        of_q = torch.empty_like(q)
        of_k, of_v = (torch.zeros(k.shape, dtype=torch.float32) for _ in range(2))  # sums over many queries
        for some, seen in _blocks(length, k.shape[1] - length):
            weights, queries = _weights(q[:, :, some], k[:, seen]), q[:, :, some].flatten(1, 2)
            gradient = after[:, :, some].flatten(1, 2)
            of_v[:, seen] += torch.bmm(weights.transpose(1, 2), gradient)
            of_weights = torch.bmm(gradient, v[:, seen].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_q[:, :, some] = torch.bmm(of_scores, k[:, seen]).view(of_q[:, :, some].shape)
            of_k[:, seen] += torch.bmm(of_scores.transpose(1, 2), queries)
        like_keys = (rows, -1, k.shape[1], size)
        return (
            (of_q * size**-0.5).view(rows, heads, length, size),
            of_k.to(k.dtype).view(like_keys),
            of_v.to(v.dtype).view(like_keys),
        )


def _blocks(length: int, before: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys that they see: `before` of them come before the first query."""
    for first in range(0, length, BLOCK):
        end = min(first + BLOCK, length)
        yield slice(first, end), slice(0, before + end)


def _weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Of a block of queries [s, shared, n, size] over the keys up to the block's end [s, m, size]: [s, shared·n, m]."""
    count, end = queries.shape[2], keys.shape[1]
    scores = torch.bmm(queries.flatten(1, 2), keys.transpose(1, 2))
    later = torch.ones(count, count, dtype=torch.bool).triu(1)
    scores.view(-1, count, end)[:, :, end - count :].masked_fill_(later, float("-inf"))
    return scores.softmax(-1)
