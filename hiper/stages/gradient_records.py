"""What is written down about the gradients of several estimators on the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.algorithms.interface import Floats
from hiper.runs.summary import ReadOuts, explained
from hiper.stages import gradient_noise


@dataclass(frozen=True)
class Sample:
    """What one estimator makes of one batch: `gradient` [parameters], or its sketch; `values`: what
    each head said and was to say."""

    gradient: Tensor
    trained_tokens: int
    advantage_std: float
    values: dict[str, ReadOuts]


def summary(samples: Mapping[str, Sequence[Sample]], turns: Sequence[int]) -> dict[str, Any]:
    """Every number of the file: per estimator, and how far their expected gradients agree. `turns` [batch] were
    played.

    `per_token`: the loss divided by the estimator's own trained tokens, as in training. `per_turn`: divided by the
    turns of the batch, a number that all estimators share.
    """
    names = list(samples)
    products = inner_products([sample.gradient for name in names for sample in samples[name]])
    per_token = products.reshape(len(names), len(turns), len(names), len(turns))
    counts = np.array([[sample.trained_tokens for sample in samples[name]] for name in names])
    scale = counts / np.asarray(turns)
    per_turn = per_token * scale[:, :, None, None] * scale
    found: dict[str, Any] = {}
    for i, name in enumerate(names):
        found[name] = {
            "advantage_std": rounded(float(np.mean([sample.advantage_std for sample in samples[name]]))),
            "explained_variance": _explained(samples[name]),
            "per_token": _plain(asdict(gradient_noise.noise(per_token[i, :, i]))),
            "per_turn": _plain(asdict(gradient_noise.noise(per_turn[i, :, i]))),
            "trained_tokens": [sample.trained_tokens for sample in samples[name]],
        }
    alignment: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        cosine = gradient_noise.alignment(per_token[[i, j]][:, :, [i, j]])
        alignment[first][second] = alignment[second][first] = rounded(cosine)
    return {"algorithms": names, "alignment": alignment, "estimators": found}


def _explained(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Of Monte-Carlo returns, by head, over all batches together."""
    found = {}
    for head in samples[0].values:
        parts = [sample.values[head] for sample in samples]
        returns, values = (np.concatenate(arrays) for arrays in ([p.returns for p in parts], [p.values for p in parts]))
        found[head] = rounded(explained(returns, values))
    return found


def inner_products(gradients: Sequence[Tensor]) -> Floats:
    """[gradient, gradient], summed in double precision."""
    stacked = torch.stack(list(gradients))
    total = torch.zeros(len(stacked), len(stacked), dtype=torch.float64)
    for part in stacked.split(1 << 16, dim=1):
        wide = part.double()
        total += wide @ wide.T
    return total.numpy()


def _plain(value: Any) -> Any:
    """Numbers as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return list(map(rounded, value)) if isinstance(value, tuple) else rounded(value)


def rounded(value: float) -> float | None:
    """Six digits, so that the order of additions does not show; None for what is infinite or unknown."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
