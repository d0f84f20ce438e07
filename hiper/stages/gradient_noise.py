"""How much noise a policy gradient has: statistics of the inner products of the gradients of independent batches.

Notation: g_b the gradient of batch b of B, with expectation μ and covariance Σ over batches. tr Σ is its variance, ‖μ‖²
its signal, tr Σ / ‖μ‖² the noise scale (McCandlish et al. 2018, arXiv 1812.06162, there per example): how many such
batches must be averaged for as much signal as noise. All follow from the B × B inner products ⟨g_b, g_c⟩.

Intervals are 95 % jackknife intervals over batches: each batch is left out once. (A bootstrap would draw batches twice,
and ⟨g_b, g_b⟩ among the products of different batches would pass for signal.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hiper.algorithms.interface import Floats, Ints
from hiper.statistics import student

SPLITS = 200  # halvings that the agreement of halves is averaged over
LARGEST_EXPONENT = 700.0  # whose exponential a float still holds


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval; infinite where there is no end, NaN where it is not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Left:
    """A statistic of all batches, and `without` each of them [batch]."""

    value: float
    without: tuple[float, ...]


@dataclass(frozen=True)
class Noise:
    """Of one estimator's gradients: `variance` tr Σ, `signal` ‖μ‖², `scale` tr Σ / ‖μ‖² with its reciprocal
    `precision`, `agreement` the cosine between the mean gradients of two halves of the batches."""

    variance: Estimate
    signal: Estimate
    scale: Estimate
    precision: Left
    agreement: Estimate


def variance(products: Floats) -> float:
    """tr Σ = (Σ_b ‖g_b‖² − B ‖ḡ‖²) / (B − 1), unbiased; `products` is [batch, batch]."""
    count = len(products)
    return float((np.trace(products) - products.sum() / count) / (count - 1))


def signal(products: Floats) -> float:
    """‖μ‖² as the mean of ⟨g_b, g_c⟩ over b ≠ c: unbiased, and hence below 0 now and then where noise prevails."""
    count = len(products)
    return float((products.sum() - np.trace(products)) / (count * (count - 1)))


def precision(products: Floats) -> float:
    """‖μ‖² / tr Σ; NaN without variance."""
    spread = variance(products)
    return signal(products) / spread if spread > 0 else math.nan


def agreement(products: Floats) -> float:
    """Cosine between the mean gradients of two halves of the batches, 0 where one is zero, averaged over SPLITS seeded
    halvings (of an odd number one is left out); with as much noise as signal in a half it is about one half."""
    count = len(products)
    half = count // 2
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (SPLITS, 1)), axis=1)
    members = np.zeros((2, SPLITS, count))
    np.put_along_axis(members[0], orders[:, :half], 1.0 / half, axis=1)
    np.put_along_axis(members[1], orders[:, half : 2 * half], 1.0 / half, axis=1)
    inner = np.einsum("asi,ij,bsj->abs", members, products, members)
    norms = np.sqrt(inner[0, 0] * inner[1, 1])
    return float(np.divide(inner[0, 1], norms, out=np.zeros(SPLITS), where=norms > 0).mean())


def noise(products: Floats) -> Noise:
    """Every statistic of one estimator's `products` [batch, batch]."""

    def left(statistic: Callable[[Floats], float]) -> Left:
        return leaving_one_out(lambda kept: statistic(products[np.ix_(kept, kept)]), len(products))

    found = left(precision)
    return Noise(
        variance=interval(left(variance)),
        signal=interval(left(signal)),
        scale=noise_scale([found]),
        precision=found,
        agreement=interval(left(agreement)),
    )


def noise_scale(precisions: Sequence[Left]) -> Estimate:
    """1 / the mean of the precisions of one or several policies: signal may be missing in one of them. Infinite, or
    without an upper end, where the mean, or its interval's lower end, is not above 0."""
    found = pooled(lambda means: float(means[0]), [precisions])
    turned = [math.inf if end <= 0 else 1 / end for end in (found.value, found.high, found.low)]
    return Estimate(*turned)


def noise_ratio(first: Sequence[Left], second: Sequence[Left]) -> Estimate:
    """The noise scale of `first` over that of `second`, for the same policies and batches, which are left out together:
    what the batches have in common cancels. NaN where either has no signal."""

    def logarithm(means: Floats) -> float:
        return math.log(means[1] / means[0]) if means.min() > 0 else math.nan

    found = pooled(logarithm, [first, second])
    ends = (found.value, found.low, found.high)
    return Estimate(*(math.inf if end > LARGEST_EXPONENT else math.exp(end) for end in ends))


def alignment(products: Floats) -> float:
    """Cosine between the expected gradients of two estimators, `products` [2, batch, 2, batch]: mean of ⟨g_b, h_c⟩ over
    b ≠ c, divided by the roots of both signals; unbiased in each, so beyond ±1 now and then. NaN without signal."""
    count = products.shape[1]
    across = products[0, :, 1, :]
    lengths = signal(products[0, :, 0, :]), signal(products[1, :, 1, :])
    if min(lengths) <= 0:
        return math.nan
    return float((across.sum() - np.trace(across)) / (count * (count - 1)) / math.sqrt(lengths[0] * lengths[1]))


def leaving_one_out(statistic: Callable[[Ints], float], count: int) -> Left:
    """`statistic(numbers of the batches to use)` of all `count` batches, and without each."""
    everyone = np.arange(count)
    return Left(statistic(everyone), tuple(statistic(np.delete(everyone, b)) for b in everyone))


def interval(left: Left) -> Estimate:
    return pooled(lambda means: float(means[0]), [[left]])


def pooled(statistic: Callable[[Floats], float], parts: Sequence[Sequence[Left]]) -> Estimate:
    """`statistic(means [part])` of quantities that are known for several policies each, `parts` [part][policy], where
    a policy's batches are the same for all parts.

    Its jackknife variance is Σ_p (B_p − 1) / B_p · Σ_b (s_pb − s̄_p)², s_pb the statistic without batch b of policy p;
    the interval is Student's with Σ_p (B_p − 1) degrees of freedom.
    """
    values = np.array([[left.value for left in part] for part in parts])
    means, policies = values.mean(axis=1), values.shape[1]
    square, freedom = 0.0, 0
    for p in range(policies):
        without = np.array([part[p].without for part in parts])
        moved = means[:, None] + (without - values[:, p : p + 1]) / policies
        found = np.array([statistic(column) for column in moved.T])
        square += (len(found) - 1) / len(found) * float(((found - found.mean()) ** 2).sum())
        freedom += len(found) - 1
    value, half = statistic(means), student(freedom) * math.sqrt(square)
    return Estimate(value, value - half, value + half)
