"""Rotary position embeddings and the ways to stretch them: the frequencies follow from a model's configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """All positions divided by `factor`."""

    factor: float


@dataclass(frozen=True)
class Llama3:
    """Llama 3.1's: slow waves are stretched by `factor`, fast ones stay, between both it goes over. `low` and `high`:
    waves that fit into the `original` length at the two borders."""

    factor: float
    low: float
    high: float
    original: int


@dataclass(frozen=True)
class Yarn:
    """YaRN (Peng et al. 2023): as `Llama3` by the number of turns within the `original` length, `fast` and `slow` at
    the borders, whole dimensions with `truncate`; cosines and sines are multiplied by `attention`."""

    factor: float
    original: int
    attention: float
    fast: float
    slow: float
    truncate: bool


Scaling = Linear | Llama3 | Yarn


def yarn_attention(factor: float, first: float | None = None, second: float | None = None) -> float:
    """The factor of cosines and sines by YaRN's formula; `first` and `second`: DeepSeek's `mscale` and
    `mscale_all_dim`."""

    def stretched(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    return stretched(first) / stretched(second) if first and second else stretched(1.0)


def frequencies(size: int, theta: float, scaling: Scaling, device: torch.device) -> tuple[Tensor, float]:
    """Radians per position [size / 2] in float32, and what cosines and sines are multiplied by."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    plain = 1.0 / theta**exponents
    if isinstance(scaling, Linear):
        return plain / scaling.factor, 1.0
    if isinstance(scaling, Llama3):
        # 0 where fewer than `low` waves fit into the original length, 1 where more than `high` do
        waves = scaling.original * plain / (2 * math.pi)
        kept = ((waves - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
        return (1 - kept) * plain / scaling.factor + kept * plain, 1.0
    first, last = (_dimension(turns, size, theta, scaling.original) for turns in (scaling.fast, scaling.slow))
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    last += 0.001 if first == last else 0.0
    kept = 1 - ((torch.arange(size // 2, dtype=torch.float32, device=device) - first) / (last - first)).clamp(0, 1)
    return (1 - kept) * plain / scaling.factor + kept * plain, scaling.attention


def _dimension(turns: float, size: int, theta: float, length: int) -> float:
    """Where in the head the wave lies that turns so often within `length` positions."""
    return size * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))
