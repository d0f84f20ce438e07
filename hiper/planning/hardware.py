"""GPUs as four numbers, from their makers' data sheets: dense rates, without sparsity, without overclocking."""

from __future__ import annotations

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True)
class Card:
    """`flops`: bfloat16 operations per second in matrix products (float32 accumulation); `single`: the same in float32
    without TF32; `bandwidth`: bytes per second from its memory; `memory`: bytes."""

    name: str
    flops: float
    single: float
    bandwidth: float
    memory: float


def card_called(name: str) -> Card | None:
    """The card that a driver calls `name` (as "NVIDIA H100 80GB HBM3"), None for one that is not listed. Of a kind's
    members the rates are the same, the memory may not be."""
    return next((card for card in CARDS.values() if card.name.split()[0] in name.replace("-", " ").split()), None)


CARDS = {
    "a100-40": Card("A100 SXM 40 GB", 312e12, 19.5e12, 1.555e12, 40 * GB),
    "a100": Card("A100 SXM 80 GB", 312e12, 19.5e12, 2.039e12, 80 * GB),
    "l40s": Card("L40S 48 GB", 362e12, 91.6e12, 0.864e12, 48 * GB),
    "h100": Card("H100 SXM 80 GB", 989e12, 67e12, 3.35e12, 80 * GB),
    "h200": Card("H200 SXM 141 GB", 989e12, 67e12, 4.8e12, 141 * GB),
}
