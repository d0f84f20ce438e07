"""The statistics of gradient noise: by hand, and on gradients whose distribution is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hiper.algorithms.interface import Floats
from hiper.stages import gradient_noise, gradient_variance
from hiper.stages.gradient_noise import Left
from hiper.stages.gradient_records import inner_products
from hiper.stages.gradient_variance import SKETCH, compressed


def products(gradients: Floats) -> Floats:
    return gradients @ gradients.T


def left(statistic: Callable[[Floats], float], found: Floats) -> Left:
    return gradient_noise.leaving_one_out(lambda kept: statistic(found[np.ix_(kept, kept)]), len(found))


def draws(seed: int, batches: int, noise: float, mean: float = 1.0, numbers: int = 50) -> Floats:
    """Gradients [batch, number] around `mean` in every number, with independent normal noise."""
    return mean + noise * np.random.default_rng(seed).normal(size=(batches, numbers))


def test_the_statistics_of_three_gradients_worked_by_hand() -> None:
    """(1, 0), (3, 0), (2, 3): mean (2, 1), squared distances from it 2, 2, 4; products of pairs 3, 2, 6."""
    found = products(np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]]))
    # tr Σ = (2 + 2 + 4) / (3 − 1); ‖μ‖² = (3 + 2 + 6) / 3, not ‖ḡ‖² = 5, which has tr Σ / 3 too much
    assert gradient_noise.variance(found) == pytest.approx(4)
    assert gradient_noise.signal(found) == pytest.approx(11 / 3)
    assert gradient_noise.signal(found) == pytest.approx(5 - 4 / 3)
    assert gradient_noise.noise(found).scale.value == pytest.approx(12 / 11)
    # without a batch the signal is one product, the variance half a squared distance: 6 / 5, 2 / 5, 3 / 2
    assert gradient_noise.noise(found).precision.without == pytest.approx((6 / 5, 2 / 5, 3 / 2))


def test_the_jackknife_interval_of_a_mean_is_the_ordinary_one() -> None:
    """For a mean the jackknife's error is s / √n, and the interval is Student's."""
    values = np.array([2.0, 4.0, 9.0, 1.0, 7.0])
    found = gradient_noise.interval(
        gradient_noise.leaving_one_out(lambda kept: float(values[kept].mean()), len(values))
    )
    half = 2.7764 * values.std(ddof=1) / math.sqrt(5)  # the quantile at 4 degrees of freedom, from tables
    assert found.value == pytest.approx(4.6)
    assert (found.low, found.high) == pytest.approx((4.6 - half, 4.6 + half), abs=5e-3)


def test_variance_and_signal_of_a_known_distribution_lie_in_their_intervals() -> None:
    """50 numbers of mean 1 and deviation 2: tr Σ = 200, ‖μ‖² = 50, noise scale 4; of 200 repetitions some 95 % of the
    intervals hold the truth, and both estimates are unbiased."""
    every = [products(draws(seed, 16, noise=2.0)) for seed in range(200)]
    for statistic, truth in ((gradient_noise.variance, 200.0), (gradient_noise.signal, 50.0)):
        found = [gradient_noise.interval(left(statistic, one)) for one in every]
        assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.02)
        assert 0.9 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99
    scales = [gradient_noise.noise_scale([left(gradient_noise.precision, one)]) for one in every]
    assert 0.9 <= np.mean([one.low <= 4.0 <= one.high for one in scales]) <= 0.99


def test_added_noise_raises_the_noise_scale_and_a_scale_of_advantages_does_not() -> None:
    """Zero-mean noise on top makes an estimator's variance and noise scale larger, its signal stays; multiplying
    advantages, and so gradients, by ten multiplies variance and signal by a hundred and nothing else."""
    plain = draws(0, 16, noise=1.0)
    noisier = plain + draws(1, 16, noise=2.0, mean=0.0)
    first, second = (gradient_noise.noise(products(gradients)) for gradients in (plain, noisier))
    assert second.variance.value > 3 * first.variance.value
    assert second.signal.value == pytest.approx(first.signal.value, rel=0.3)
    scaled = gradient_noise.noise(products(10 * plain))
    assert scaled.variance.value == pytest.approx(100 * first.variance.value)
    assert (scaled.scale.value, scaled.scale.low) == pytest.approx((first.scale.value, first.scale.low))
    assert scaled.agreement.value == pytest.approx(first.agreement.value)
    ratio = gradient_noise.noise_ratio([second.precision], [first.precision])
    assert ratio.low > 1 and gradient_noise.noise_ratio([scaled.precision], [first.precision]).value == pytest.approx(1)


def test_the_halves_of_noiseless_gradients_agree_and_those_of_noise_do_not() -> None:
    """The cosine is 1 without noise, near 0 without signal, and 0 for gradients that are all zero."""
    assert gradient_noise.agreement(products(np.ones((8, 3)))) == pytest.approx(1)
    assert abs(gradient_noise.agreement(products(draws(0, 16, noise=1.0, mean=0.0, numbers=5000)))) < 0.1
    assert gradient_noise.agreement(np.zeros((8, 8))) == 0


def test_without_signal_the_noise_scale_is_infinite_or_has_no_upper_end() -> None:
    """No number is made up where the data cannot tell; nor for gradients that are all zero."""
    assert gradient_noise.noise_scale([Left(-0.1, (-0.1, -0.2, 0.0))]).value == math.inf
    found = gradient_noise.noise_scale([Left(0.1, (0.1, -0.2, 0.4))])
    assert found.value == pytest.approx(10) and 0 < found.low < 10 and found.high == math.inf
    assert math.isnan(gradient_noise.noise_ratio([Left(-0.1, (-0.1, 0.1))], [Left(1.0, (1.0, 1.0))]).value)
    assert math.isnan(gradient_noise.noise(np.zeros((4, 4))).scale.value)


def test_what_two_estimators_share_cancels_in_their_ratio() -> None:
    """Two estimators with the same noise, one with a little more: the ratio's interval is far narrower than those of
    the noise scales."""
    plain = draws(2, 16, noise=3.0)
    other = plain + draws(3, 16, noise=0.1, mean=0.0)
    first, second = (gradient_noise.noise(products(gradients)) for gradients in (plain, other))
    ratio = gradient_noise.noise_ratio([second.precision], [first.precision])
    assert ratio.high / ratio.low < 1.1 < first.scale.high / first.scale.low
    assert ratio.low <= 1.01 <= ratio.high


def test_policies_are_pooled_by_their_mean_precision() -> None:
    """1/2 and 1/6 make 1/3, hence a scale of 3; the interval is narrower than with either policy alone."""
    first, second = Left(0.5, (0.4, 0.5, 0.6)), Left(1 / 6, (0.1, 0.2, 0.2))
    both = gradient_noise.noise_scale([first, second])
    assert both.value == pytest.approx(3)
    assert 1 / both.low - 1 / both.value < 1 / gradient_noise.noise_scale([first]).low - 0.5


def test_the_alignment_of_expected_gradients_is_not_hidden_by_noise() -> None:
    """Two estimators with the same expectation and independent noise have a cosine of 1, those at a right angle 0."""
    mean = np.zeros(400)
    mean[0] = 10.0
    rng = np.random.default_rng(0)
    for direction, cosine in ((0, 1.0), (1, 0.0)):
        pair = rng.normal(size=(2, 64, 400))
        pair[0] += mean
        pair[1] += np.roll(mean, direction)
        gram = np.einsum("ibp,jcp->ibjc", pair, pair)
        assert gradient_noise.alignment(gram) == pytest.approx(cosine, abs=0.1)
    assert math.isnan(gradient_noise.alignment(np.zeros((2, 4, 2, 4))))


def test_inner_products_are_those_of_the_gradients() -> None:
    """Over more numbers than are multiplied at a time."""
    gradients = torch.randn(3, (1 << 16) + 5, generator=torch.Generator().manual_seed(0))
    assert inner_products(list(gradients)) == pytest.approx((gradients.double() @ gradients.double().T).numpy())


def test_a_large_gradient_is_sketched_and_keeps_its_inner_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one is kept as it is; of large ones the sketch has as many numbers as promised, the same places every
    time, and products within a few thousandths of the lengths."""
    monkeypatch.setattr(gradient_variance, "EXACT", 100_000)
    monkeypatch.setattr(gradient_variance, "CHUNK", 60_000)
    small = [torch.arange(3.0), torch.arange(2.0)]
    assert compressed(small).tolist() == [0, 1, 2, 0, 1]
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(70_000, generator=generator)
    large = [[shared, torch.randn(40_000, generator=generator)] for _ in range(2)]
    sketches = [compressed(gradient) for gradient in large]
    assert all(len(sketch) == SKETCH for sketch in sketches)
    assert torch.equal(compressed(large[0]), sketches[0])
    exact, found = inner_products([torch.cat(gradient) for gradient in large]), inner_products(sketches)
    assert np.abs(found - exact).max() < 5e-3 * exact.max()
