"""PPO's losses as functions of tensors. Every function returns the *sum* over its elements; callers divide by the count
of the whole mini-batch, so that the result does not depend on how it was cut into micro-batches."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy_loss(
    logprob: Tensor, old_logprob: Tensor, advantage: Tensor, clip_low: float, clip_high: float, dual_clip: float | None
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, negated and summed, and the number of clipped tokens; all inputs [tokens].

    ρ = exp(logprob − old_logprob); loss = max(−ρA, −clip(ρ, 1−clip_low, 1+clip_high)A); with dual clip c and A < 0 the
    loss is at most −cA (Ye et al. 2020, as in the released code).
    """
    ratio = (logprob - old_logprob).exp()
    plain = -ratio * advantage
    clipped = -ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage
    loss = torch.maximum(plain, clipped)
    if dual_clip is not None:
        loss = torch.where(advantage < 0, torch.minimum(loss, -dual_clip * advantage), loss)
    return loss.sum(), (clipped > plain).sum()


def k3_divergence(logprob: Tensor, reference_logprob: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(π ‖ π_ref), summed: exp(x) − x − 1 with x = log π_ref − log π, each term at most
    10."""
    x = (reference_logprob - logprob).clamp(-20.0, 20.0)
    return (x.exp() - x - 1.0).clamp(-10.0, 10.0).sum()


def entropy(logprobs: Tensor) -> Tensor:
    """Entropy of each row of `logprobs` [tokens, vocabulary], summed; −inf entries count as probability 0."""
    probabilities = logprobs.exp()
    return -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum()


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """max of the squared errors of the value and of the value kept within `clip` of the old one, summed (no ½)."""
    near = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum((value - target) ** 2, (near - target) ** 2).sum()
