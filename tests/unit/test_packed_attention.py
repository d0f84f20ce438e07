"""Attention without padding: the kernel gets the right sequences, and what it computes is what the padded way does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import library_models
import numpy as np
import pytest
import torch
from torch import Tensor

from hiper.learning import decoder as decoders
from hiper.learning import library_model
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.folders import load_decoder
from hiper.learning.packed_attention import takes_packed

SEQUENCES = [np.random.default_rng(0).integers(0, 60, size) for size in (5, 17, 1, 30)]
WANTED = [[1, 4], [0, 8, 16], [0], []]


def stand_in(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """`varlen_attn` by its documentation, sequence by sequence, for machines without its kernel."""
    assert cu_seq_q.dtype == torch.int32 and torch.equal(cu_seq_q, cu_seq_k) and window_size[1] == 0
    assert max_q == max_k == int(cu_seq_q.diff().max()) and int(cu_seq_q[-1]) == len(query)
    assert enable_gqa == (query.shape[1] != key.shape[1]) and query.dtype == key.dtype == value.dtype
    out = []
    for start, stop in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        groups = query.shape[1] // key.shape[1]
        q = query[start:stop].transpose(0, 1)
        k, v = (part[start:stop].transpose(0, 1).repeat_interleave(groups, 0) for part in (key, value))
        back = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
        seen = (back >= 0) & ((back <= window_size[0]) if window_size[0] >= 0 else torch.tensor(True))
        scores = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        out.append((scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(out)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attention goes to the stand-in; how often it was asked."""
    asked: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Tensor:
        asked.append(len(arguments[0]))
        return stand_in(*arguments, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", counted)
    for module in (decoders, library_model):
        monkeypatch.setattr(module, "takes_packed", lambda _: True)
    return asked


def made(qk_norm: bool = False) -> Decoder:
    model = Decoder(DecoderShape(60, 32, 64, 3, 4, 2, True, 64, 1e4, 1e-6, qk_norm=qk_norm))
    model.initialize(torch.Generator().manual_seed(1), 0.3)
    return model


def computed(model: Decoder) -> list[Tensor]:
    """Hidden states, and gradients of all weights."""
    hidden, _ = model.model.hidden(Packing.of(SEQUENCES, WANTED))
    (hidden * torch.linspace(-1.0, 1.0, hidden.numel()).view_as(hidden)).sum().backward()
    return [hidden.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_where_sequences_begin_is_known_without_asking_the_device() -> None:
    """Lengths 5, 17, 1 and 30: offsets for the kernel, longest sequence, most wanted of one, and their places."""
    packing = Packing.of(SEQUENCES, WANTED)
    assert packing.starts.tolist() == [0, 5, 22, 23, 53] and packing.starts.dtype == torch.int32
    assert (packing.longest, packing.most) == (30, 3)
    assert packing.wanted.tolist() == [1, 4, 5, 13, 21, 22] and packing.place.tolist() == [0, 1, 0, 1, 2, 0]


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_kernel_computes_what_padding_does(
    kernel: list[int], monkeypatch: pytest.MonkeyPatch, qk_norm: bool, checkpointing: bool
) -> None:
    """Hidden states and every gradient; the last layer, of which few positions are wanted, stays as it is."""
    model = made(qk_norm)
    model.model.checkpointing = checkpointing
    packed = computed(model)
    assert kernel == [53] * (4 if checkpointing else 2)
    monkeypatch.setattr(decoders, "takes_packed", lambda _: False)
    padded = computed(made(qk_norm))
    assert len(packed) == len(padded)
    for one, other in zip(packed, padded, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_cache_is_filled_beside_the_kernel(kernel: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sampler goes on from is the same."""
    found, expected = [], []
    for answers in (found, expected):
        model = made()
        with torch.no_grad():
            hidden, cache = model.model.hidden(Packing.of(SEQUENCES[:2], [[4], [16]]), cache_room=3)
            assert cache is not None
            answers += [hidden, *cache.keys, *cache.values, model.model.extend([[7], [8, 9]], cache)[0]]
        monkeypatch.setattr(decoders, "takes_packed", lambda _: False)
    assert kernel and all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


def test_a_class_of_the_library_has_its_window(kernel: list[int], tmp_path: Path) -> None:
    """Of a model that sees 16 tokens back; loading it compares with the class's own attention."""
    family, said = library_models.OTHERS["mistral-window"]
    library_models.make("mistral-window", tmp_path, family, said)
    model = load_decoder(tmp_path)
    kernel.clear()
    long = [np.arange(40) % 60, np.arange(9)]
    with torch.no_grad():
        packed, _ = model.model.hidden(Packing.of(long, [[39], [8]]))
        assert kernel == [49, 49]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library_model, "takes_packed", lambda _: False)
            padded, _ = model.model.hidden(Packing.of(long, [[39], [8]]))
    assert torch.allclose(packed, padded, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_no_layer_asks_the_device_for_a_number(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """On a GPU each question would wait for everything before it."""
    model, packing = made(), Packing.of(SEQUENCES, WANTED)

    def refuse(*_: Any) -> Any:
        raise AssertionError("a tensor was asked for its value")

    monkeypatch.setattr(decoders, "takes_packed", lambda _: packed)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", lambda q, *_, **__: q)
    for name in ("item", "tolist", "nonzero", "__int__", "__bool__", "__index__", "__float__", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    hidden, _ = model.model.hidden(packing)
    assert hidden.shape == (6, 32)


def test_a_cpu_pads_as_before() -> None:
    """Whatever the precision."""
    assert not any(takes_packed(torch.zeros(3, 2, 8, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(12, 2, 128), (28, 4, 128), (14, 2, 64)])
def test_the_real_kernel_agrees_with_padding(heads: int, kv_heads: int, size: int) -> None:
    """On a GPU, in bfloat16: hidden states and gradients, without waiting for the device."""
    shape = DecoderShape(60, heads * size, 512, 3, heads, kv_heads, True, 4096, 1e4, 1e-6, head_dim=size)
    model = Decoder(shape).cuda()
    model.initialize(torch.Generator("cuda").manual_seed(0))
    random = np.random.default_rng(0)
    rows = [random.integers(0, 60, length) for length in (700, 1, 64, 1500)]
    packing = Packing.of(rows, [[0, 10, 699], [0], [63], [1400, 1499]], "cuda")
    values = torch.zeros(1, kv_heads, size, dtype=torch.bfloat16, device="cuda")
    assert takes_packed(values)
    found = []
    for packed in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoders, "takes_packed", lambda _, packed=packed: packed)
            model.zero_grad()
            torch.cuda.set_sync_debug_mode("error")
            try:
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    hidden, _ = model.model.hidden(packing)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            hidden.float().square().mean().backward()
        found.append([hidden.float().detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        assert float((one - other).norm()) <= 0.02 * float(other.norm())
