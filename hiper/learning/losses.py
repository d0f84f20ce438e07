"""Losses as functions of tensors. Every function returns the *sum* over its elements; callers divide by the count
of the whole mini-batch, so that the result does not depend on how it was cut into micro-batches.

TOKEN_LOSSES are those of the policy, by the names that `training.loss` has for them. To add one: a function that keeps
the contract of `TokenLoss`, and a line there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hiper.config import Training
from hiper.errors import UserError, nearest

LARGEST_LOG_RATIO = 20.0  # a ratio beyond exp(±20) tells nothing more, and its exponential would overflow


def bounded_ratio(log_ratio: Tensor) -> Tensor:
    """exp(log_ratio), the exponent kept within ±LARGEST_LOG_RATIO: finite, and without gradient beyond it."""
    return log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()


def clipped_policy_loss(
    logprob: Tensor,
    old_logprob: Tensor,
    advantage: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
    importance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, negated and summed, and the number of clipped tokens; all inputs [tokens].

    ρ = exp(logprob − old_logprob), bounded; loss = max(−ρA, −clip(ρ, 1−clip_low, 1+clip_high)A); with dual clip c and
    A < 0 the loss is at most −cA (Ye et al. 2020, as in the released code). `importance` weighs each token's loss.
    """
    ratio = bounded_ratio(logprob - old_logprob)
    plain = -ratio * advantage
    clipped = -ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage
    loss = torch.maximum(plain, clipped)
    if dual_clip is not None:
        loss = torch.where(advantage < 0, torch.minimum(loss, -dual_clip * advantage), loss)
    if importance is not None:
        loss = importance * loss
    return loss.sum(), (clipped > plain).sum()


@dataclass(frozen=True)
class Tokens:
    """What a token loss may look at, [tokens] each, of the tokens of a micro-batch that carry a policy gradient.

    `logprob`: log π under the actor as it is now, the one that gradients flow through; `old_logprob`: under the policy
    that drew the token; `turn`: a number, from 0 on, that the tokens of a turn share; `importance`: what the token's
    loss is to be multiplied by, for a sampler that is not the trainer (None: nothing).
    """

    logprob: Tensor
    old_logprob: Tensor
    advantage: Tensor
    turn: Tensor
    importance: Tensor | None = None


TokenLoss = Callable[[Tokens, Training], tuple[Tensor, Tensor]]
"""A token loss: (the loss, the number of tokens that its clip acts on), both summed over the tokens, not averaged, and
scalars. The settings are there for its parameters. No term may join tokens of different turns, because turns come in
micro-batches; KL and entropy are added elsewhere. No ratio may overflow: `bounded_ratio`."""


def ppo_clip(tokens: Tokens, settings: Training) -> tuple[Tensor, Tensor]:
    """`clipped_policy_loss` with `clip_low`, `clip_high` and `dual_clip`."""
    return clipped_policy_loss(
        tokens.logprob,
        tokens.old_logprob,
        tokens.advantage,
        settings.clip_low,
        settings.clip_high,
        settings.dual_clip,
        tokens.importance,
    )


def cispo(tokens: Tokens, settings: Training) -> tuple[Tensor, Tensor]:
    """CISPO (MiniMax-M1, arXiv 2506.13585): REINFORCE with a clipped importance weight, so that no token's gradient is
    cut off.

        loss = −w · A · log π,   w = sg(clip(ρ, 1 − clip_low, 1 + clip_high))

    The paper leaves the lower side open, which is `clip_low: 1.0`. On the policy that drew the tokens its gradient is
    PPO's.
    """
    return _weighted_likelihood(tokens, 1.0 - settings.clip_low, 1.0 + settings.clip_high)


def dispo(tokens: Tokens, settings: Training) -> tuple[Tensor, Tensor]:
    """DISPO (arXiv 2602.00983): CISPO with bounds of its own for tokens of good and of bad turns, `training.dispo`.

        loss = −w · A · log π,   w = sg(clip(ρ, 1 − good_low, 1 + good_high)) if A > 0
                                 w = sg(clip(ρ, 1 − bad_low, 1 + bad_high))   if A < 0

    A good token that has become likelier explores, one that has become rarer is distilled; a bad one that has become
    likelier is unlearned, one that has become rarer is let go.
    """
    bounds, good = settings.dispo, tokens.advantage > 0
    low = torch.where(good, 1.0 - bounds.good_low, 1.0 - bounds.bad_low)
    high = torch.where(good, 1.0 + bounds.good_high, 1.0 + bounds.bad_high)
    return _weighted_likelihood(tokens, low, high)


def _weighted_likelihood(tokens: Tokens, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
    ratio = bounded_ratio(tokens.logprob - tokens.old_logprob).detach()
    weight = torch.minimum(torch.maximum(ratio, torch.as_tensor(low)), torch.as_tensor(high))
    return _summed(-weight * tokens.advantage * tokens.logprob, tokens), (weight != ratio).sum()


def gbpo(tokens: Tokens, settings: Training) -> tuple[Tensor, Tensor]:
    """Bounded policy optimisation (arXiv 2604.18578): the ratio is drawn towards a target beyond which nothing is won.

        loss = |ρ − ρ*| · |A|,   ρ* = 1 − low + (low + high) · σ(A / temperature)

    with `training.gbpo`; at the published temperature ρ* is 1 + high for a good token and 1 − low for a bad one. The
    paper's σ looks at the reward less its group's median, here at the advantage, whatever made it. The tokens that
    count as clipped have passed their target: the loss draws them back.
    """
    bounds, advantage = settings.gbpo, tokens.advantage
    ratio = bounded_ratio(tokens.logprob - tokens.old_logprob)
    target = 1.0 - bounds.low + (bounds.low + bounds.high) * torch.sigmoid(advantage / bounds.temperature)
    passed = torch.where(advantage > 0, ratio > target, ratio < target) & (advantage != 0)
    return _summed((ratio - target).abs() * advantage.abs(), tokens), passed.sum()


def fiberpo(tokens: Tokens, settings: Training) -> tuple[Tensor, Tensor]:
    """FiberPO (arXiv 2603.08239): a turn's ratio and what a token adds to it are clipped apart, `training.fiberpo`.

        c = mean of ℓ over the turn's tokens, ℓ = log ρ,   b = clip(c, ±turn)
        loss = −exp(b + clip(ℓ − b, ±token)) · A

    Within both bounds it is −ρA. A token counts as clipped where either bound acts.
    """
    bounds = settings.fiberpo
    change = (tokens.logprob - tokens.old_logprob).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    turn, count = tokens.turn, torch.bincount(tokens.turn).clamp(min=1)
    mean = torch.zeros(len(count), dtype=change.dtype, device=change.device).index_add(0, turn, change) / count
    base, common = mean.clamp(-bounds.turn, bounds.turn)[turn], mean[turn]
    own = change - base
    gated = (base + own.clamp(-bounds.token, bounds.token)).exp()
    clipped = (common.abs() > bounds.turn) | (own.abs() > bounds.token)
    return _summed(-gated * tokens.advantage, tokens), clipped.sum()


def _summed(loss: Tensor, tokens: Tokens) -> Tensor:
    return (loss if tokens.importance is None else tokens.importance * loss).sum()


TOKEN_LOSSES: dict[str, TokenLoss] = {
    "ppo_clip": ppo_clip,
    "cispo": cispo,
    "dispo": dispo,
    "gbpo": gbpo,
    "fiberpo": fiberpo,
}


def token_loss(name: str) -> TokenLoss:
    """The loss that `training.loss` names; UserError where there is none."""
    if name not in TOKEN_LOSSES:
        raise UserError(
            f"training.loss = {name!r}: no token loss has this name in hiper/learning/losses.py, which has: "
            f"{', '.join(sorted(TOKEN_LOSSES))}{nearest(name, TOKEN_LOSSES)}"
        )
    return TOKEN_LOSSES[name]


def truncated_importance(trainer: Tensor, sampler: Tensor, cap: float) -> Tensor:
    """w = min(exp(trainer − sampler), cap) of each token, from the log probabilities [tokens] that the trainer and the
    sampler give it under the same weights (truncated importance sampling: Ionides 2008; Espeholt et al. 2018's ρ̄).

    A sampler with other arithmetic draws from another distribution than the one the trainer differentiates;
    E_sampler[w ∇ log π] is the trainer's gradient but for the truncation, which bounds the variance.
    """
    return bounded_ratio(trainer - sampler).clamp(max=cap)


def k3_divergence(logprob: Tensor, reference_logprob: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(π ‖ π_ref), summed: exp(x) − x − 1 with x = log π_ref − log π, each term at most
    10."""
    x = (reference_logprob - logprob).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return (x.exp() - x - 1.0).clamp(-10.0, 10.0).sum()


def entropy(logprobs: Tensor) -> Tensor:
    """Entropy of each row of `logprobs` [tokens, vocabulary], summed; −inf entries count as probability 0."""
    return -_weighted(logprobs).sum()


def entropies(logprobs: Tensor) -> Tensor:
    """The same [tokens], not summed."""
    return -_weighted(logprobs).sum(-1)


def _weighted(logprobs: Tensor) -> Tensor:
    probabilities = logprobs.exp()
    return probabilities * logprobs.masked_fill(probabilities == 0, 0.0)
