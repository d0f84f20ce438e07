"""What a value head puts out, and how it learns: the kinds of `training.critic.loss`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from hiper.config import Critic


class ValueLoss(Protocol):
    """A head puts out `outputs` numbers for each state; `value` makes one of them, and `loss` compares them with what
    the state was worth. Plain functions of tensors; no state of their own."""

    outputs: int

    def value(self, output: Tensor) -> Tensor:
        """[n, outputs] → [n]."""
        ...

    def loss(self, output: Tensor, old: Tensor, target: Tensor) -> Tensor:
        """Summed over states, not averaged. `output` [n, outputs]; `old` [n], the value before the update, and
        `target` [n]."""
        ...


class Squared:
    """Squared error without ½, PPO's clip included: max((v − y)², (v_old + clip(v − v_old, ±clip) − y)²)."""

    outputs = 1

    def __init__(self, clip: float) -> None:
        self.clip = clip

    def value(self, output: Tensor) -> Tensor:
        return output.squeeze(-1)

    def loss(self, output: Tensor, old: Tensor, target: Tensor) -> Tensor:
        value = self.value(output)
        near = old + (value - old).clamp(-self.clip, self.clip)
        return torch.maximum((value - target) ** 2, (near - target) ** 2).sum()


class HlGauss:
    """Regression as classification (HL-Gauss: Imani & White 2018; for values Farebrother et al. 2024, arXiv
    2403.03950).

    `bins` of equal width lie between `low` and `high`, with edges e_0 … e_bins and centres c_j. The target is a normal
    distribution around y, cut off at the ends, as probabilities of the bins:

        p_j = [Φ((e_{j+1} − y) / σ) − Φ((e_j − y) / σ)] / [Φ((high − y) / σ) − Φ((low − y) / σ)]
        loss = −Σ_j p_j log softmax(output)_j,   value = Σ_j softmax(output)_j c_j

    σ = `sigma` bin widths. A y beyond the ends counts as the end. There is no clip.
    """

    def __init__(self, bins: int, low: float, high: float, sigma: float) -> None:
        self.outputs, self.low, self.high = bins, low, high
        self.width = (high - low) / bins
        self.deviation = sigma * self.width

    def edges(self, like: Tensor) -> Tensor:
        """[bins + 1], ascending."""
        return torch.linspace(self.low, self.high, self.outputs + 1, device=like.device, dtype=torch.float32)

    def value(self, output: Tensor) -> Tensor:
        centres = self.edges(output)[:-1] + self.width / 2
        return output.float().softmax(-1) @ centres

    def probabilities(self, target: Tensor) -> Tensor:
        """What [n] targets look like [n, bins]."""
        target = target.float().clamp(self.low, self.high)
        below = torch.special.ndtr((self.edges(target) - target[:, None]) / self.deviation)
        return below.diff(dim=-1) / (below[:, -1:] - below[:, :1])

    def loss(self, output: Tensor, old: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.float(), self.probabilities(target), reduction="sum")


VALUE_LOSSES: dict[str, Callable[[Critic], ValueLoss]] = {
    "squared": lambda critic: Squared(critic.clip),
    "hl_gauss": lambda critic: HlGauss(critic.bins, critic.bins_low, critic.bins_high, critic.bins_sigma),
}


def value_loss(critic: Critic) -> ValueLoss:
    """The one that the settings name."""
    return VALUE_LOSSES[critic.loss](critic)
