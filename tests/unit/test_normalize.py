"""Standardisation over a batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiper.algorithms.normalize import standardize


def test_masked_entries_neither_count_nor_come_back() -> None:
    """Mean and population standard deviation are taken inside the mask; outside stands 0."""
    values, mask = np.array([[1.0, 3.0, 100.0, np.nan]]), np.array([[True, True, False, False]])
    # mean 2, population std 1
    np.testing.assert_allclose(standardize(values, mask), [[-1.0, 1.0, 0.0, 0.0]], atol=1e-7)


def test_equal_values_and_empty_masks_give_zeros() -> None:
    """No division by zero, no NaN."""
    assert not standardize(np.full((2, 2), 5.0), np.ones((2, 2), dtype=bool)).any()
    assert not standardize(np.full((2, 2), 5.0), np.zeros((2, 2), dtype=bool)).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50), st.floats(-50, 50))
def test_shift_and_scale_do_not_matter(seed: int, scale: float, shift: float) -> None:
    """standardize(a·x + b) = standardize(x) for a > 0."""
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(3, 4)), rng.random((3, 4)) < 0.8
    np.testing.assert_allclose(standardize(scale * values + shift, mask), standardize(values, mask), atol=1e-5)
