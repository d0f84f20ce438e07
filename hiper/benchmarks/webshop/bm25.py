"""BM25 as Lucene 8 computes it: in single precision, with document lengths kept in one byte.

The score of a document is the sum over the query's terms of `w - w / (1 + tf / (k1 * (1 - b + b * length / average)))`,
where w is the term's inverse document frequency, times its count in the query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

K1, B = 0.9, 0.4
_EXACT = 24  # lengths below it have a code of their own; above, codes are floating point with three bits of mantissa


def _decoded(code: int) -> int:
    rest = code - _EXACT
    if rest < 0:
        return code
    bits, shift = rest & 7, (rest >> 3) - 1
    return _EXACT + (bits if shift < 0 else (bits | 8) << shift)


LENGTHS = np.array([_decoded(code) for code in range(256)], dtype=np.int64)  # terms that a document of a code has


def length_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The code of the largest length of `LENGTHS` that is not above each; lengths are counts of terms."""
    return (np.searchsorted(LENGTHS, lengths, side="right") - 1).astype(np.uint8)


def inverse_frequencies(frequencies: NDArray[np.int64], documents: int) -> NDArray[np.float32]:
    """Inverse document frequency of terms that occur in so many of `documents` (those that have terms at all)."""
    values: NDArray[np.float64] = np.log(1 + (documents - frequencies + 0.5) / (frequencies + 0.5))
    return values.astype(np.float32)


def impacts(
    counts: NDArray[np.int32], codes: NDArray[np.uint8], weights: NDArray[np.float32], average: float
) -> NDArray[np.float32]:
    """What each posting adds to a score: `counts` of the term in the document, whose length has the code; `weights` are
    the terms' inverse frequencies, `average` the mean number of terms of a document. All arrays have the same shape."""
    one, k1, b = np.float32(1), np.float32(K1), np.float32(B)
    inverse: NDArray[np.float32] = one / (k1 * ((one - b) + b * LENGTHS.astype(np.float32) / np.float32(average)))
    saturated: NDArray[np.float32] = weights / (one + counts.astype(np.float32) * inverse[codes])
    return weights - saturated
