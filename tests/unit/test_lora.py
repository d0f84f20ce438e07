"""Adapters: nothing at first, then exactly the merged weights; whoever reads what was trained never sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiper.config import Lora
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.lora import adapt, merged_weights, trainable

SHAPE = DecoderShape(97, 32, 48, 3, 4, 2, True, 64, 10000.0, 1e-6)
LORA = Lora(rank=4, alpha=6.0)


def decoder(lora: Lora | None = None) -> Decoder:
    made = Decoder(SHAPE)
    made.initialize(torch.Generator().manual_seed(3))
    adapt(made, lora, [5])
    return made


@pytest.fixture
def trained() -> Decoder:
    """Adapted, and moved away from where adapters begin."""
    made, generator = decoder(LORA), torch.Generator().manual_seed(8)
    for _, parameter in trainable(made):
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def logits(model: Decoder) -> Tensor:
    tokens = np.random.default_rng(0).integers(0, SHAPE.vocab_size, 20)
    return model.logits(model.model.hidden(Packing.of([tokens], [np.arange(20)]))[0])


def test_new_adapters_change_no_logit() -> None:
    """B is zero, so the adapted decoder is the plain one, bit for bit."""
    assert torch.equal(logits(decoder(LORA)), logits(decoder()))


def test_merged_weights_are_the_adapted_decoder(trained: Decoder) -> None:
    """A plain decoder with the merged weights has the plain names and the adapted one's logits."""
    plain = decoder()
    weights = dict(merged_weights(trained))
    assert list(weights) == [name for name, _ in plain.named_parameters()]
    before = logits(plain)
    plain.load_state_dict(weights, strict=False)
    assert torch.allclose(logits(plain), logits(trained), atol=1e-5)
    assert not torch.allclose(before, logits(trained), atol=1e-2)


def test_every_linear_layer_of_every_layer_is_adapted_and_nothing_else_trains(trained: Decoder) -> None:
    """Seven per layer, two matrices each, of the given rank; embeddings, norms, biases and the base are frozen."""
    names = [name for name, _ in trainable(trained)]
    assert len(names) == SHAPE.num_hidden_layers * 7 * 2
    assert all(name.startswith("model.layers.") and ".lora_" in name for name in names)
    base, merged = dict(decoder().named_parameters()), dict(merged_weights(trained))
    for name, weight in base.items():
        rank = int(torch.linalg.matrix_rank((merged[name] - weight).detach())) if weight.dim() == 2 else 0
        adapted = weight.dim() == 2 and name.startswith("model.layers.")
        assert rank == (LORA.rank if adapted else 0), name
        assert adapted or torch.equal(merged[name], weight), name


def test_the_gradient_reaches_adapters_alone(trained: Decoder) -> None:
    """After a backward pass every adapter has a gradient that is not zero, and no frozen parameter has one."""
    logits(trained).logsumexp(-1).sum().backward()
    for name, parameter in trained.named_parameters():
        if ".lora_" in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


def test_the_same_seed_draws_the_same_adapters() -> None:
    """A is drawn within ±1/√in from the seed; another seed draws another A."""

    def drawn(seed: int) -> Tensor:
        made = Decoder(SHAPE)
        adapt(made, LORA, [seed])
        layer: nn.Module = made.model.layers[0].mlp.down_proj
        return layer.get_parameter("lora_a")

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert 0.9 / SHAPE.intermediate_size**0.5 < drawn(1).abs().max() <= 1 / SHAPE.intermediate_size**0.5
