"""Log probabilities and entropies over large vocabularies: in chunks they are what they are at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import run_settings
from torch import Tensor

from hiper.learning import losses
from hiper.learning.batches import TurnRow
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.logprobs import LogProbs
from hiper.learning.processes import Processes
from hiper.planning import memory
from hiper.stages import warmstart

SHAPE = DecoderShape(101, 32, 64, 2, 4, 2, True, 64, 10000.0, 1e-6)
TEMPERATURE = 0.7


class OnlyEven:
    """In place of a guide's restriction: permits the tokens that are allowed, and notes how many rows it sees."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def apply(self, logits: Tensor, allowed: list[tuple[int, ...]]) -> Tensor:
        self.rows.append(len(logits))
        mask = torch.ones(logits.shape, dtype=torch.bool)
        for row, ids in enumerate(allowed):
            mask[row, list(ids)] = False
        return logits.masked_fill(mask, float("-inf"))


def rows() -> list[TurnRow]:
    random, made = np.random.default_rng(0), []
    for response in (5, 3, 9):
        tokens = random.integers(0, 101, 4 + response).astype(np.int32)
        trained = random.random(response) < 0.8
        trained[-1] = True
        others = random.integers(0, 101, (response, 6))
        allowed = tuple((int(own), *map(int, ids)) for own, ids in zip(tokens[4:], others, strict=True))
        none = np.zeros(response, np.float32)
        made.append(TurnRow(tokens, 4, none, trained, trained & (random.random(response) < 0.7), none, allowed))
    return made


def decoder() -> Decoder:
    made = Decoder(SHAPE)
    made.initialize(torch.Generator().manual_seed(0), 0.3)
    return made


def at_once(model: Decoder, restriction: OnlyEven) -> tuple[Tensor, Tensor]:
    """Written out: every distribution in one matrix."""
    batch = rows()
    wanted = [np.flatnonzero(row.trained) + row.prompt_length - 1 for row in batch]
    hidden, _ = model.model.hidden(Packing.of([row.tokens for row in batch], wanted))
    allowed = [row.allowed[p] for row in batch for p in np.flatnonzero(row.trained) if row.allowed is not None]
    logprobs = (restriction.apply(model.logits(hidden), allowed) / TEMPERATURE).log_softmax(-1)
    taken = np.concatenate([row.tokens[w + 1] for row, w in zip(batch, wanted, strict=True)]).astype(np.int64)
    acted = torch.as_tensor(np.concatenate([row.chosen[row.trained] for row in batch]))
    return logprobs.gather(1, torch.as_tensor(taken)[:, None]).squeeze(1), losses.entropy(logprobs[acted])


def ours(model: Decoder, restriction: OnlyEven) -> tuple[Tensor, Tensor]:
    batch = rows()
    acted = torch.as_tensor(np.concatenate([row.chosen[row.trained] for row in batch]))
    found: Any = LogProbs(restriction, TEMPERATURE, 1000, "cpu", Processes())  # type: ignore[arg-type]
    taken, entropy = found.at(model, batch, [row.trained for row in batch], acted)
    return taken, entropy


Way = Callable[[Decoder, OnlyEven], tuple[Tensor, Tensor]]


def results(way: Way, autocast: bool = False) -> tuple[list[Tensor], list[int]]:
    """Log probabilities, entropy, and the gradients of a loss that has both; how many rows were seen at a time."""
    model, restriction = decoder(), OnlyEven()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        taken, entropy = way(model, restriction)
    loss = (taken * torch.linspace(-1.0, 1.0, len(taken))).sum() - 0.3 * entropy
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    return [taken.detach(), entropy.detach(), *gradients], restriction.rows


def test_few_read_outs_have_the_bytes_of_one_matrix() -> None:
    """In one chunk: log probabilities, entropy and every gradient, bit for bit."""
    (found, seen), (expected, _) = results(ours), results(at_once)
    assert len(seen) == 1
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_chunks_give_what_one_matrix_gives(monkeypatch: pytest.MonkeyPatch, size: int, autocast: bool) -> None:
    """However the read-outs are cut, and in bfloat16, too; no chunk is larger than it may be, in the backward pass
    neither, where each is computed a second time."""
    expected, (count,) = results(at_once, autocast)
    monkeypatch.setattr(memory, "LOGITS", size * SHAPE.vocab_size + 1)
    found, seen = results(ours, autocast)
    assert sum(seen) == 2 * count and max(seen) == size
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= (2e-2 if autocast else 1e-5) * other.abs().max()


def test_without_gradients_nothing_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring reads each chunk once."""
    monkeypatch.setattr(memory, "LOGITS", 4 * SHAPE.vocab_size)
    restriction = OnlyEven()
    with torch.no_grad():
        taken, _ = ours(decoder(), restriction)
    assert sum(restriction.rows) == len(taken)


def test_the_warm_start_learns_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss and gradients."""
    batch = [warmstart.Example(row.tokens, row.prompt_length) for row in rows()]

    def learned() -> tuple[float, list[Tensor]]:
        model = decoder()
        loss = warmstart._accumulate(model, batch, run_settings(), "cpu")
        return loss, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    whole, expected = learned()
    monkeypatch.setattr(memory, "LOGITS", 3 * SHAPE.vocab_size)
    loss, gradients = learned()
    assert loss == pytest.approx(whole, rel=1e-6)
    assert len(gradients) == len(expected)
    for one, other in zip(gradients, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
