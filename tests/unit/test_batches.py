"""Micro- and mini-batches cover every row once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiper.learning.batches import micro_batches, mini_batches


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 500))
def test_micro_batches_partition_rows_within_budget(lengths: list[int], budget: int) -> None:
    """Every row is in exactly one group; a group over the budget holds a single row."""
    groups = micro_batches(np.array(lengths, dtype=np.int64), budget)
    assert sorted(int(i) for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or sum(lengths[i] for i in group) <= budget for group in groups)


@given(st.integers(1, 1000), st.integers(1, 300))
def test_mini_batches_partition_rows_in_nearly_equal_parts(count: int, size: int) -> None:
    """Sizes differ by at most one, and no batch is above one and a half times the wished size."""
    parts = list(mini_batches(count, size, np.arange(count)))
    assert np.array_equal(np.concatenate(parts), np.arange(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(size * 1.5 + 1, 1)
