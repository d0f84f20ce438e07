"""How training is shared out: what each process gets, and what is refused before anything starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pipeline import run_settings

from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.learning.batches import micro_batches
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.processes import Processes, joined
from hiper.stages.distribution import resumable_by

SHARDED = {"engine__name": "deepspeed", "engine__zero_stage": 2}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_everything_is_dealt_once_and_in_equal_rounds(size: int) -> None:
    """Seven things: each process has as many rounds, all things are had once, and only the last round has gaps."""
    shares = [Processes(rank, size).dealt(range(7)) for rank in range(size)]
    assert {len(share) for share in shares} == {-(-7 // size)}
    assert sorted(item for share in shares for item in share if item is not None) == list(range(7))
    assert all(item is not None for share in shares for item in share[:-1])


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 3), (2, 4), (5, 1)])
def test_blocks_in_order_are_the_whole(count: int, size: int) -> None:
    """The blocks of all processes, one after the other, are the things in their order, about as many each."""
    blocks = [Processes(rank, size).block(count) for rank in range(size)]
    assert [place for block in blocks for place in block] == list(range(count))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def test_micro_batches_are_small_enough_for_every_process_to_have_one() -> None:
    """Rows that fit into one micro-batch of a single process are cut into as many as there are processes, at most."""
    lengths = np.random.default_rng(0).integers(100, 900, 64)
    for size in (1, 2, 4, 8):
        groups = micro_batches(lengths, Processes(0, size).budget(lengths, 10**6))
        assert size / 2 < len(groups) <= size
    assert Processes(0, 8).budget(lengths, 500) == 500


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine__gpus": 2}, ["engine", "local", "gpus: 1"]),
        ({"engine__zero_stage": 3}, ["engine", "local", "zero_stage: 0"]),
        ({"engine__offload_optimizer": True}, ["engine", "local", "offload_optimizer: false"]),
        ({"engine__name": "deepspeed"}, ["zero_stage = 0", "choose 1, 2 or 3"]),
        ({**SHARDED, "engine__gpus": 16}, ["8 groups", "16 processes"]),
        ({**SHARDED, "training__critic__detach": False}, ["training.critic.backbone: separate"]),
    ],
    ids=["local on two", "local sharded", "local offloaded", "nothing sharded", "more processes than groups", "critic"],
)
def test_engines_that_cannot_be_are_refused(changes: dict[str, object], named: list[str]) -> None:
    """Each contradiction is an error that says what to change."""
    with pytest.raises(UserError) as error:
        run_settings(**changes)
    assert all(part in str(error.value) for part in named), str(error.value)


def test_processes_must_be_as_many_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun the engine `local` is refused; a run for three processes that is started alone hears the command;
    GPUs that are not there are named."""
    for changes, started, named in (
        ({}, "2", ["engine local", "without torchrun"]),
        (
            {**SHARDED, "engine__gpus": 3},
            "1",
            ["1 processes", "torchrun --standalone --nproc-per-node 3 --no-python -- hiper"],
        ),
        ({**SHARDED, "engine__gpus": 2, "engine__nodes": 2}, "1", ["are 4", "--nnodes 2"]),
        ({**SHARDED, "engine__device": "cuda"}, "1", ["engine.gpus=1", "torch sees"]),
    ):
        monkeypatch.setenv("WORLD_SIZE", started)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(UserError) as error, joined(run_settings(**changes).engine):
            raise AssertionError("let in")
        assert all(part in str(error.value) for part in named), str(error.value)


def test_a_checkpoint_may_be_gone_on_with_by_more_processes() -> None:
    """What is shared out, and over how many, does not change whose checkpoint it is; the arithmetic does."""

    def owner(**changes: object) -> str:
        return stage_digest(resumable_by(run_settings(**{**SHARDED, **changes})), "train")

    assert owner() == owner(engine__gpus=4, engine__zero_stage=3, engine__gradient_checkpointing=True)
    assert owner() != owner(engine__dtype="bfloat16")
    assert owner() != stage_digest(resumable_by(run_settings()), "train")


@pytest.mark.parametrize("tied", [True, False])
def test_gradient_checkpointing_changes_no_gradient(tied: bool) -> None:
    """Layers computed a second time give the same hidden states and the same gradients, to the last bit."""
    found = []
    for checkpointing in (False, True):
        decoder = Decoder(DecoderShape(50, 32, 64, 3, 4, 2, tied, 64, 10000.0, 1e-6))
        decoder.initialize(torch.Generator().manual_seed(0))
        decoder.model.checkpointing = checkpointing
        packing = Packing.of([np.arange(9), np.arange(20, 25)], [[2, 8], [4]])
        logits = decoder.logits(decoder.model.hidden(packing)[0])
        logits.log_softmax(-1)[:, 7].sum().backward()
        found.append([logits.detach(), *(p.grad for p in decoder.parameters())])
    assert len(found[0]) == len(list(decoder.parameters())) + 1
    for plain, again in zip(*found, strict=True):
        assert plain is not None and again is not None and torch.equal(plain, again)
