"""Which episodes an algorithm learns from that compares the episodes of a group: settings of `GroupedSettings`, which
the training loop acts on, so that they go with every such algorithm.

`resample`: dynamic sampling (DAPO, arXiv 2503.14476). A group whose episodes all earned the same has the advantage 0.
It gives its place to a group of another task that does not agree, if one is found within so many rounds. All that is
played counts in the budget of episodes, so whoever resamples has fewer iterations.

`replay`: stored episodes (R³, arXiv 2601.19620). A group that failed as a whole gets past successes of its task, one
that won as a whole past failures, and all are compared together. It acts where tasks come again. A stored episode's
probability ratios are taken from the policy that played it, and its advantages are multiplied by `weight`, the paper's
α. The paper's numbers of stored episodes and its α are not known.
"""

from __future__ import annotations

from collections.abc import Sequence

from hiper.algorithms.interface import AlgorithmSettings
from hiper.fields import Count, CountOrZero, NonNegative, Settings


class Replay(Settings):
    successes: CountOrZero  # stored ones that join a group which lost as a whole
    failures: CountOrZero  # stored ones that join a group which won as a whole
    capacity: Count  # stored episodes of all tasks together; the oldest go first
    weight: NonNegative  # of their advantages


class Sampling(Settings):
    resample: CountOrZero  # rounds in which groups that agree make room for others; DAPO goes on until all are replaced
    replay: Replay


# what was done before there was a choice
NO_SAMPLING = {"resample": 0, "replay": {"successes": 0, "failures": 0, "capacity": 1024, "weight": 1.0}}


def sampling_of(settings: AlgorithmSettings) -> Sampling | None:
    """That of an algorithm which compares groups, else None."""
    found = getattr(settings, "sampling", None)
    return found if isinstance(found, Sampling) else None


def agrees(returns: Sequence[float]) -> bool:
    """Whether the episodes of a group, of these returns, say nothing when they are compared."""
    return len(returns) < 2 or max(returns) == min(returns)
