"""Causal attention within packed rows, without padding: torch's kernel for sequences of several lengths
(`torch.nn.attention.varlen`, FlashAttention), where there is one."""

from __future__ import annotations

from functools import cache
from inspect import signature

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
LARGEST_HEAD, HEAD_STEP = 256, 8  # sizes of a head that the kernel takes
OLDEST = (8, 0)  # compute capability


def takes_packed(values: Tensor) -> bool:
    """Whether the kernel can be used for these values [total, heads, size]; elsewhere sequences are padded."""
    size = values.shape[-1]
    if not _has_kernel():
        return False
    fits = values.dtype in HALVES and size <= LARGEST_HEAD and size % HEAD_STEP == 0
    return values.is_cuda and fits and _capability(values.device) >= OLDEST


@cache
def _has_kernel() -> bool:
    """Whether this torch's kernel takes grouped queries and windows; that of 2.13, which is pinned, does."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"enable_gqa", "window_size"} <= signature(varlen_attn).parameters.keys()


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    longest: int,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """Each token attends to itself and those before it in its sequence: query [total, heads, size], key and value
    [total, kv_heads, size] → [total, heads, size].

    `starts` [sequences + 1], int32: where each sequence begins, and the end; `longest` of them; `window`: how many
    tokens back are seen, None: all. Nothing here asks the device for a number.
    """
    from torch.nn.attention.varlen import varlen_attn

    # under autocast what was normed or rotated may be float32
    halves = (part.to(value.dtype) for part in (query, key))
    attended: Tensor = varlen_attn(
        *halves,
        value,
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended
