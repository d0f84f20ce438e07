"""PPO's losses against arithmetic done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pipeline import run_settings

from hiper.config import Training
from hiper.errors import UserError
from hiper.learning import losses
from hiper.learning.batches import TurnRow
from hiper.learning.critic import Critic
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.learner import Learner, build_heads
from hiper.learning.local_engine import LocalEngines


def policy_loss(ratio: float, advantage: float, dual_clip: float | None = None) -> float:
    loss, _ = losses.clipped_policy_loss(
        torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), 0.2, 0.2, dual_clip
    )
    return float(loss)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.1, 2.0, -2.2),  # inside the range: −ρA
        (1.5, 2.0, -2.4),  # clipped at 1.2: −1.2·2
        (0.5, 2.0, -1.0),  # a falling ratio of a good action is not clipped: −0.5·2
        (0.5, -2.0, 1.6),  # clipped at 0.8: 0.8·2
        (1.5, -2.0, 3.0),  # a rising ratio of a bad action is not clipped: 1.5·2
    ],
)
def test_clipped_surrogate(ratio: float, advantage: float, expected: float) -> None:
    """The larger of the plain and the clipped loss."""
    assert policy_loss(ratio, advantage) == pytest.approx(expected, rel=1e-5)


def test_dual_clip_bounds_the_loss_of_bad_actions_only() -> None:
    """With c = 3 a bad action costs at most 3·|A|; a good one is untouched."""
    assert policy_loss(10.0, -2.0, 3.0) == pytest.approx(6.0)
    assert policy_loss(10.0, 2.0, 3.0) == pytest.approx(-2.4, rel=1e-5)


@pytest.mark.parametrize("advantage", [2.0, -2.0, 0.0])
@pytest.mark.parametrize(("new", "old"), [(-0.1, -95.0), (-95.0, -0.1), (-0.1, -2000.0)])
def test_no_ratio_makes_an_infinite_gradient(new: float, old: float, advantage: float) -> None:
    """exp(94.9) overflows float32 in products and exp(2000) by itself: the exponent is bounded."""
    logprob = torch.tensor([new], requires_grad=True)
    for dual_clip in (None, 3.0):
        loss, _ = losses.clipped_policy_loss(
            logprob, torch.tensor([old]), torch.tensor([advantage]), 0.2, 0.2, dual_clip, torch.ones(1)
        )
        (gradient,) = torch.autograd.grad(loss, logprob)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    assert 0.0 < float(losses.truncated_importance(torch.tensor([new]), torch.tensor([old]), 2.0)) <= 2.0


def test_ratios_within_the_bound_are_plain_exponentials() -> None:
    """Bit for bit, with the gradients of the exponential."""
    exponents = torch.linspace(-20.0, 20.0, 1001, requires_grad=True)
    assert torch.equal(losses.bounded_ratio(exponents), exponents.exp())
    (gradient,) = torch.autograd.grad(losses.bounded_ratio(exponents).sum(), exponents)
    assert torch.equal(gradient, exponents.exp())


def test_k3_is_zero_for_equal_policies_and_positive_otherwise() -> None:
    """exp(x) − x − 1 at x = ln 2 is 2 − 0.6931 − 1 = 0.3069; huge differences are clamped to 10."""
    same = torch.tensor([-1.0])
    assert float(losses.k3_divergence(same, same)) == 0.0
    assert float(losses.k3_divergence(same, same + math.log(2.0))) == pytest.approx(1 - math.log(2.0), rel=1e-5)
    assert float(losses.k3_divergence(same, same + 30.0)) == 10.0


def test_entropy_ignores_impossible_tokens() -> None:
    """Two equal tokens and one of probability 0 have entropy ln 2, and a finite gradient."""
    logits = torch.tensor([[0.0, 0.0, float("-inf")]], requires_grad=True)
    value = losses.entropy(logits.log_softmax(-1))
    assert float(value) == pytest.approx(math.log(2.0))
    value.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_truncated_importance_by_hand() -> None:
    """w = min(exp(trainer − sampler), 2): a token that the trainer finds half as likely counts half, one that it finds
    three times as likely counts 2; the policy loss is multiplied by it, token by token."""
    # probabilities: trainer 0.2, sampler 0.4 → 0.5; 0.3 and 0.1 → 3, truncated to 2; 0.5 and 0.5 → 1
    trainer, sampler = torch.tensor([0.2, 0.3, 0.5]).log(), torch.tensor([0.4, 0.1, 0.5]).log()
    weights = losses.truncated_importance(trainer, sampler, 2.0)
    assert weights.tolist() == pytest.approx([0.5, 2.0, 1.0])
    # ratios of 1, advantages 1, −2, 4: losses −1, 2, −4, weighed −0.5, 4, −4
    advantage = torch.tensor([1.0, -2.0, 4.0])
    loss, clipped = losses.clipped_policy_loss(trainer, trainer, advantage, 0.2, 0.2, None, weights)
    assert float(loss) == pytest.approx(-0.5) and int(clipped) == 0
    plain, _ = losses.clipped_policy_loss(trainer, trainer, advantage, 0.2, 0.2, None)
    assert float(plain) == pytest.approx(-3.0)


def test_truncated_importance_corrects_the_gradient() -> None:
    """Over the sampler's own distribution the weighed gradient is the trainer's exactly, where nothing is truncated."""
    logits = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    advantage, sampler = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.3, 0.4])
    trainer = logits.log_softmax(-1)
    wanted = torch.autograd.grad((trainer.exp() * advantage).sum(), logits)[0]
    trainer = logits.log_softmax(-1)
    weights = losses.truncated_importance(trainer.detach(), sampler.log(), 10.0)
    loss, _ = losses.clipped_policy_loss(
        trainer, trainer.detach(), sampler * advantage, 0.2, 0.2, None, weights
    )  # each token as often as it is sampled
    assert torch.allclose(torch.autograd.grad(-loss, logits)[0], wanted, atol=1e-6)


def test_ppo_clip_is_the_clipped_surrogate_with_the_settings_clips() -> None:
    """With clips 0.2 and 0.3 and dual clip 2: −1.3·1 (clipped above), −0.5·1 (not clipped below), 2·2 (dual clip), each
    times its importance; PPO's range clips the first alone."""
    ratio, advantage = torch.tensor([1.5, 0.5, 5.0]), torch.tensor([1.0, 1.0, -2.0])
    settings = run_settings(training__clip_high=0.3, training__dual_clip=2.0).training
    tokens = losses.Tokens(ratio.log(), torch.zeros(3), advantage, torch.arange(3), torch.tensor([1.0, 2.0, 0.5]))
    loss, clipped = losses.token_loss("ppo_clip")(tokens, settings)
    assert float(loss) == pytest.approx(-1.3 * 1.0 - 0.5 * 2.0 + 4.0 * 0.5, rel=1e-5) and int(clipped) == 1


def test_an_unknown_loss_is_an_error_that_lists_the_known_ones() -> None:
    """With the nearest name; composing a run says so before anything is played."""
    with pytest.raises(UserError, match=r"'ppo_clip_'.*which has: .*ppo_clip.*; did you mean 'ppo_clip'"):
        losses.token_loss("ppo_clip_")


def test_a_loss_is_added_by_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """REINFORCE's, −A log π: a step with it moves the actor as its gradient says, with no other change."""

    def reinforce(tokens: losses.Tokens, settings: Training) -> tuple[torch.Tensor, torch.Tensor]:
        return -(tokens.advantage * tokens.logprob).sum(), torch.zeros((), dtype=torch.int64)

    monkeypatch.setitem(losses.TOKEN_LOSSES, "reinforce", reinforce)
    settings = run_settings(training__loss="reinforce", training__kl=0.0, training__entropy=0.0).training
    actor = Decoder(DecoderShape(19, 16, 32, 1, 2, 2, True, 64, 10000.0, 1e-6))
    actor.initialize(torch.Generator().manual_seed(0))
    critic = Critic(actor.model, build_heads(16, [], settings.critic, [0]), {}, 1000, "cpu")
    learner = Learner(actor, None, critic, settings, None, 1.0, LocalEngines("cpu", autocast=False))
    every = np.ones(2, bool)
    row = TurnRow(
        tokens=np.array([1, 2, 3, 4], np.int32),
        prompt_length=2,
        advantage=np.array([1.0, -3.0], np.float32),
        trained=every,
        chosen=every,
        logprob=np.array([-9.0, -0.1], np.float32),  # PPO's ratio would clip both
        allowed=None,
    )
    found = learner.accumulate_actor_gradients([row], np.arange(1))
    gradient = [parameter.grad.clone() for parameter in actor.parameters() if parameter.grad is not None]
    actor.zero_grad(set_to_none=True)
    hidden, _ = actor.model.hidden(Packing.of([row.tokens], [np.array([1, 2])]))
    logprob = actor.logits(hidden).log_softmax(-1)[torch.arange(2), torch.tensor([3, 4])]
    expected = -(torch.tensor([1.0, -3.0]) * logprob).sum() / 2
    expected.backward()
    assert found["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    wanted = [parameter.grad for parameter in actor.parameters() if parameter.grad is not None]
    assert len(gradient) == len(wanted) and all(
        torch.allclose(one, other, atol=1e-6) for one, other in zip(gradient, wanted, strict=True)
    )
    before = [parameter.detach().clone() for parameter in actor.parameters()]
    learner.update_actor([row], np.random.default_rng(0), 1e-3)
    assert any(not torch.equal(one, other) for one, other in zip(before, actor.parameters(), strict=True))
