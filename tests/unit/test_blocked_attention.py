"""Attention block by block is attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hiper.learning.blocked_attention import BLOCK, attend_blocked, takes_blocked
from hiper.learning.decoder import Decoder, DecoderShape, Packing


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


@pytest.mark.parametrize("before", [1, BLOCK, 3 * BLOCK - 1])
def test_queries_of_the_last_positions_get_what_they_get_among_all(before: int) -> None:
    """As the sampler reads what comes after a kept prefix."""
    parts = _parts(before + BLOCK + 3, 2, torch.float32)
    last = [parts[0][:, :, before:].detach().requires_grad_(), *parts[1:]]
    among = attend_blocked(*parts)[:, :, before:]
    found, wanted = _values_and_gradients(attend_blocked(*last), last), _values_and_gradients(among, parts)
    wanted[1] = wanted[1][:, :, before:]
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_cache_is_extended_by_the_same_hidden_states_with_blocks_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different lengths behind different beginnings, to what bfloat16 rounds."""
    decoder = Decoder(DecoderShape(50, 32, 48, 3, 4, 2, True, 512, 10000.0, 1e-6))
    decoder.initialize(torch.Generator().manual_seed(1))
    decoder.to(torch.bfloat16)
    known, fresh = [list(range(n)) for n in (5, 40, 11)], [[t % 50 for t in range(n)] for n in (150, 3, 64)]
    found = []
    for fewest in (1, 10**6):
        monkeypatch.setattr("hiper.learning.decoder.FEWEST_BLOCKED", fewest)
        with torch.inference_mode():
            _, cache = decoder.model.hidden(Packing.of(known, [[0]] * 3, "cpu"), cache_room=200)
            assert cache is not None
            hidden, lengths = decoder.model.extend(fresh, cache)
        assert lengths == [150, 3, 64]
        found.append((hidden.float(), cache.length.tolist()))
    (blocked, reached), (whole, wanted) = found
    assert reached == wanted
    assert (blocked - whole).norm() < 0.02 * whole.norm()


def test_only_bfloat16_on_a_cpu_is_computed_in_blocks() -> None:
    """float32 keeps its bytes, and GPUs their kernels."""
    assert takes_blocked(torch.zeros(1, dtype=torch.bfloat16))
    assert not takes_blocked(torch.zeros(1))
    assert not takes_blocked(torch.zeros(1, dtype=torch.bfloat16, device="meta"))
