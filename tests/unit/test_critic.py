"""Critics: what they are made of, what they learn, and what a step of theirs changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pipeline import run_settings

from hiper.config import RunSettings
from hiper.learning.critic import Critic, State
from hiper.learning.decoder import Backbone, Decoder, DecoderShape, Packing
from hiper.learning.learner import Learner, Targets, build_heads
from hiper.learning.local_engine import LocalEngines
from hiper.runs.summary import ReadOuts
from hiper.stages.assessment import gated_values

SHAPE = DecoderShape(31, 16, 32, 3, 2, 2, True, 64, 10000.0, 1e-6)
READ_OUTS = {"high": "prompt", "low": "after_subgoal"}
SEPARATE = {"training__critic__backbone": "separate", "training__critic__detach": False}
TURNS = 6


def decoder(seed: int) -> Decoder:
    made = Decoder(SHAPE)
    made.initialize(torch.Generator().manual_seed(seed))
    return made


def learner(settings: RunSettings, backbone: Backbone | None) -> Learner:
    """`backbone` None: the actor's."""
    actor, critic = decoder(0), settings.training.critic
    heads = build_heads(SHAPE.hidden_size, sorted(READ_OUTS), critic, [7])
    reader = Critic(backbone or actor.model, heads, READ_OUTS, 1000, "cpu")
    return Learner(actor, None, reader, settings.training, None, 1.0, LocalEngines("cpu", autocast=False))


def states() -> list[State]:
    random = np.random.default_rng(0)
    tokens = [random.integers(0, SHAPE.vocab_size, 9).astype(np.int32) for _ in range(TURNS)]
    at = {"prompt": np.array([5]), "after_subgoal": np.array([8])}
    return [State(row, 6, (number, 0), dict(at)) for number, row in enumerate(tokens)]


def targets(scale: float = 1.0) -> dict[str, Targets]:
    random = np.random.default_rng(1)
    old, wanted = (scale * random.uniform(size=TURNS).astype(np.float32) for _ in range(2))
    return {head: Targets(old, wanted, np.ones(TURNS, bool)) for head in READ_OUTS}


def changed(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize(
    ("blocks", "changes"),
    [(None, {}), (1, SEPARATE), (2, SEPARATE), (3, SEPARATE)],
    ids=["frozen features", "one block", "two blocks", "all"],
)
def test_a_step_changes_the_trunk_and_nothing_else(blocks: int | None, changes: dict[str, Any]) -> None:
    """Every parameter of the heads and of the trunk's blocks, embeddings and norm; of the actor none. Frozen features:
    the heads alone."""
    trunk = None
    if blocks is not None:
        trunk = decoder(0).model
        trunk.keep_first(blocks)
    made = learner(run_settings(**changes), trunk)
    actor, heads, backbone = copied(made.actor), copied(made.critic.heads), copied(made.critic.backbone)
    read = states()
    made.critic.fill_features(read)
    made.update_critic(read, targets(), np.random.default_rng(2))
    assert changed(made.critic.heads, heads) == set(heads) and changed(made.actor, actor) == set()
    assert changed(made.critic.backbone, backbone) == (set(backbone) if blocks else set())
    numbers = {int(name.split(".")[1]) for name in backbone if name.startswith("layers.")}
    assert numbers == set(range(blocks or 3)) and {"embed_tokens.weight", "norm.weight"} <= set(backbone)
    saved = {name for name, _ in made.critic_weights() if name.startswith("backbone.")}
    assert saved == ({f"backbone.{name}" for name in backbone} if blocks else set())


def test_a_trunk_is_the_models_first_blocks_and_its_last_norm() -> None:
    """Its hidden states are those of the whole model in which the other blocks add nothing, and not the whole's."""
    whole, trunk, emptied = (decoder(0).model for _ in range(3))
    trunk.keep_first(2)
    with torch.no_grad():
        for linear in (emptied.layers[2].self_attn.o_proj, emptied.layers[2].mlp.down_proj):  # type: ignore[union-attr]
            linear.weight.zero_()
    packing = Packing.of([np.arange(7), np.arange(3)], [[2, 6], [1]])
    found, expected, other = (one.hidden(packing)[0] for one in (trunk, emptied, whole))
    assert torch.allclose(found, expected, atol=1e-6) and not torch.allclose(found, other, atol=1e-2)


@pytest.mark.parametrize("changes", [{}, SEPARATE], ids=["frozen features", "trunk"])
def test_a_critic_of_classes_learns_what_it_is_told(changes: dict[str, Any]) -> None:
    """After many updates with HL-Gauss its values lie near the targets, nearer than a bin is wide."""
    settings = run_settings(
        training__critic__loss="hl_gauss",
        training__critic__bins_low=-1.0,
        training__critic__bins_high=1.0,
        training__critic__bins=11,
        training__critic__learning_rate=1e-2,
        training__critic__epochs=150,
        **changes,
    )
    made, read, wanted = learner(settings, decoder(0).model if changes else None), states(), targets()
    made.critic.fill_features(read)
    made.update_critic(read, wanted, np.random.default_rng(2))
    for state in read:
        state.features = {}
    made.critic.fill_features(read)
    for head, target in wanted.items():
        values = made.critic.values(read, head, (TURNS, 1, 0))[:, 0]
        assert np.abs(values - target.target).max() < 2 / 11


def test_the_gate_puts_the_mean_return_where_values_explain_less_than_nothing() -> None:
    """Two turns with returns 0 and 1, a mean of ½. Values 1 and 0 explain 1 − 4 of the variance: every value becomes ½,
    the bootstraps' column and the previous subgoal's values included; values 0.4 and 0.6 explain something and stay."""
    returns = np.array([0.0, 1.0])
    wrong, right = np.array([[1.0, 7.0], [0.0, 7.0]]), np.array([[0.4, 0.0], [0.6, 0.0]])
    values = {"low": wrong, "low_previous": wrong + 1, "high": right}
    read = {head: ReadOuts(values[head][:, 0], returns, returns) for head in ("low", "high")}
    used, gated = gated_values(values, read)
    assert gated == {"low": True, "high": False}
    assert (used["low"] == 0.5).all() and (used["low_previous"] == 0.5).all() and used["low"].shape == wrong.shape
    assert used["high"] is right and values["low"] is wrong
    same = {"low": ReadOuts(np.array([3.0, 5.0]), np.ones(2), np.ones(2))}  # returns that do not vary tell nothing
    assert gated_values(values, same)[1] == {"low": False}
