"""Which episodes an algorithm learns from that compares the episodes of a group: settings of `GroupedSettings`, which
the training loop acts on, so that they go with every such algorithm.

`resample`: dynamic sampling (DAPO, arXiv 2503.14476). A group whose episodes all earned the same has the advantage 0.
It gives its place to a group of another task that does not agree, if one is found within so many rounds. All that is
played counts in the budget of episodes, so whoever resamples has fewer iterations.
"""

from __future__ import annotations

from collections.abc import Sequence

from hiper.algorithms.interface import AlgorithmSettings
from hiper.fields import CountOrZero, Settings


class Sampling(Settings):
    resample: CountOrZero  # rounds in which groups that agree make room for others; DAPO goes on until all are replaced


NO_SAMPLING = {"resample": 0}  # what was done before there was a choice


def sampling_of(settings: AlgorithmSettings) -> Sampling | None:
    """That of an algorithm which compares groups, else None."""
    found = getattr(settings, "sampling", None)
    return found if isinstance(found, Sampling) else None


def agrees(returns: Sequence[float]) -> bool:
    """Whether the episodes of a group, of these returns, say nothing when they are compared."""
    return len(returns) < 2 or max(returns) == min(returns)
