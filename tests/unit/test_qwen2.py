"""The packed decoder computes what the library's padded one computes, and its folders are ordinary folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hiper.errors import UserError
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.folders import load_decoder, save_decoder

SHAPE = DecoderShape(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rope_theta=10000.0,
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)


@pytest.fixture
def decoder() -> Decoder:
    made = Decoder(SHAPE)
    made.initialize(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in made.parameters():
            # away from the initial values, so that biases and norms matter
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return made


@pytest.fixture
def sequences() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 97, size) for size in (5, 17, 1, 9)]


def packed_logits(decoder: Decoder, sequences: list[np.ndarray], wanted: list[np.ndarray]) -> torch.Tensor:
    hidden, _ = decoder.model.hidden(Packing.of(sequences, wanted))
    return decoder.logits(hidden)


def test_logits_equal_those_of_transformers(decoder: Decoder, sequences: list[np.ndarray], tmp_path: Path) -> None:
    """A folder written here loads with the library's class and gives the same logits at every position."""
    from transformers import Qwen2ForCausalLM

    save_decoder(decoder, tmp_path, tmp_path, eos_token_id=1, pad_token_id=0)
    library = Qwen2ForCausalLM.from_pretrained(tmp_path).eval()
    ours = packed_logits(decoder, sequences, [np.arange(len(s)) for s in sequences])
    theirs = torch.cat([library(input_ids=torch.as_tensor(s)[None]).logits[0] for s in sequences])
    assert torch.allclose(ours, theirs, atol=2e-5)


def test_only_wanted_positions_are_returned(decoder: Decoder, sequences: list[np.ndarray]) -> None:
    """Asking for some positions gives the rows that asking for all gives there, gradients included."""
    every = packed_logits(decoder, sequences, [np.arange(len(s)) for s in sequences])
    wanted = [np.array([4]), np.array([0, 7, 16]), np.array([0]), np.array([2, 8])]
    starts = np.cumsum([0, 5, 17, 1])
    flat = np.concatenate([w + s for w, s in zip(wanted, starts, strict=True)])
    some = packed_logits(decoder, sequences, wanted)
    assert torch.allclose(some, every[flat], atol=1e-5)
    (gradient,) = torch.autograd.grad(some.square().sum(), decoder.model.embed_tokens.weight)
    (expected,) = torch.autograd.grad(every[flat].square().sum(), decoder.model.embed_tokens.weight)
    assert torch.allclose(gradient, expected, atol=1e-3)


def test_cached_chunks_equal_one_pass(decoder: Decoder, sequences: list[np.ndarray]) -> None:
    """Feeding chunks of unequal length through the cache, rows dropping out on the way, gives the logits of whole
    sequences at every fed token."""
    with torch.inference_mode():
        _, cache = decoder.model.hidden(Packing.of(sequences, [[len(s) - 1] for s in sequences]), cache_room=6)
        assert cache is not None
        rows = [list(s) for s in sequences]
        for chunks, keep in (([[11], [12, 13, 14], [15, 16], [17]], [0, 1, 2, 3]), ([[21, 22], [23]], [0, 2])):
            cache, rows = cache.select(torch.tensor(keep)), [rows[i] for i in keep]
            hidden, lengths = decoder.model.extend(chunks, cache)
            rows = [row + chunk for row, chunk in zip(rows, chunks, strict=True)]
            assert lengths == [len(chunk) for chunk in chunks]
            wanted = [np.arange(len(row) - len(chunk), len(row)) for row, chunk in zip(rows, chunks, strict=True)]
            expected = packed_logits(decoder, [np.array(row) for row in rows], wanted)
            assert torch.allclose(decoder.logits(hidden), expected, atol=1e-5)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    """A config.json of another model type is a user error that names the type."""
    (tmp_path / "config.json").write_text('{"model_type": "invented"}')
    with pytest.raises(UserError, match="invented"):
        load_decoder(tmp_path)


def test_truncated_weights_are_a_user_error(decoder: Decoder, tmp_path: Path) -> None:
    """A cut-off safetensors file names the file instead of a parser's traceback."""
    save_decoder(decoder, tmp_path, tmp_path, eos_token_id=1, pad_token_id=0)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_decoder(tmp_path)
