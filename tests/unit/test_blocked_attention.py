"""Attention block by block is attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hiper.learning.blocked_attention import BLOCK, attend_blocked, takes_blocked


def _parts(length: int, kv_heads: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = [(2, 6, length, 16), (2, kv_heads, length, 16), (2, kv_heads, length, 16)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def _values_and_gradients(attended: Tensor, parts: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, attended.numel(), dtype=attended.dtype).view(attended.shape)
    return [attended.detach(), *torch.autograd.grad((attended * weights).sum(), parts)]


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("length", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_blocks_give_the_attention_and_its_gradients_of_the_whole(
    length: int, kv_heads: int, dtype: torch.dtype, close: float
) -> None:
    """Against torch's in float64, at and around the borders of blocks, with shared and with own keys."""
    ours = _parts(length, kv_heads, dtype)
    whole = [part.detach().double().requires_grad_() for part in ours]
    found = _values_and_gradients(attend_blocked(*ours), ours)
    wanted = _values_and_gradients(
        F.scaled_dot_product_attention(whole[0], whole[1], whole[2], is_causal=True, enable_gqa=True), whole
    )
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype
        assert (one.double() - other).abs().max() <= close * max(1.0, float(other.abs().max()))


def test_only_bfloat16_on_a_cpu_is_computed_in_blocks() -> None:
    """float32 keeps its bytes, and GPUs their kernels."""
    assert takes_blocked(torch.zeros(1, dtype=torch.bfloat16))
    assert not takes_blocked(torch.zeros(1))
    assert not takes_blocked(torch.zeros(1, dtype=torch.bfloat16, device="meta"))
