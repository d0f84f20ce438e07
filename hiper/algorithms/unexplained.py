"""How much a critic leaves to be learned from what really happened: λ_b of `lam_boundary: auto`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MEMORY = 0.9  # of what earlier batches said, at each batch: ten of them count
CONSTANT = 1e-12  # a variance up to this is rounding


@dataclass(frozen=True)
class Unexplained:
    """Variance of returns, in all (`total`) and around the critic's values (`left`): of one batch, or averaged.

    The variances are averaged, not their quotient: a batch counts by how much its returns differ, and one in which all
    episodes end alike says nothing.
    """

    left: float = 0.0
    total: float = 0.0

    @classmethod
    def of(cls, returns: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Unexplained:
        """Of read-outs `[n]`, their returns and values."""
        return cls(float((returns - values).var()), float(returns.var())) if returns.size else cls()

    def then(self, later: Unexplained) -> Unexplained:
        """The exponential average with a further batch; that it grows from nothing cancels in `share`."""
        left, total = (
            MEMORY * before + (1.0 - MEMORY) * after
            for before, after in ((self.left, later.left), (self.total, later.total))
        )
        return Unexplained(left, total)

    @property
    def share(self) -> float:
        """1 − explained variance, clipped to [0, 1]: 1 of a critic no better than a constant, and where nothing is
        known."""
        return min(1.0, self.left / self.total) if self.total > CONSTANT else 1.0
