"""Standardisation of advantages over a batch of turns."""

from __future__ import annotations

import numpy as np

from hiper.algorithms.interface import Bools, Floats
from hiper.algorithms.returns import masked

EPSILON = 1e-8  # added to the standard deviation, as in the original


def standardize(values: Floats, mask: Bools) -> Floats:
    """`(values − mean) / (std + 1e-8)` over the entries in `mask`, 0 elsewhere.

    Mean and population standard deviation are those of the mask's entries in the whole batch, as in the original: per
    turn (a long response weighs as much as a short one), or per token where the arrays have an axis for it. An empty
    mask gives zeros.
    """
    if not mask.any():
        return np.zeros(mask.shape)
    chosen = np.asarray(values, dtype=np.float64)[mask]
    return masked((values - chosen.mean()) / (chosen.std() + EPSILON), mask)
