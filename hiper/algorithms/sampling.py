"""Which episodes an algorithm learns from that compares the episodes of a group: settings of `GroupedSettings`, which
the training loop acts on, so that they go with every such algorithm.

`resample`: dynamic sampling (DAPO, arXiv 2503.14476). A group whose episodes all earned the same has the advantage 0.
It gives its place to a group of another task that does not agree, if one is found within so many rounds. All that is
played counts in the budget of episodes, so whoever resamples has fewer iterations.

`replay`: stored episodes (R³, arXiv 2601.19620). A group that failed as a whole gets past successes of its task, one
that won as a whole past failures, and all are compared together. It acts where tasks come again. A stored episode's
probability ratios are taken from the policy that played it, and its advantages are multiplied by `weight`, the paper's
α. The paper's numbers of stored episodes and its α are not known.

`choose`: down-sampling (D³S, arXiv 2509.22115). Of each group the episodes whose advantages vary most, of the batch's
tokens then those with the largest |A| · H, H being the entropy of the policy there. Both shares rise linearly to 1 over
the iterations. The paper's shares are not known.

`phases`: plans and what follows them learn in turns (HiMAC, arXiv 2603.00977), with `prompt.interface: blueprint`. In
one iteration a group writes a plan each, which is executed greedily, and the tokens of plans learn from the group's
returns. In the next one the group's best plan is executed by as many sampled episodes, and all other tokens learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from hiper.algorithms.interface import AlgorithmSettings, Bools, Floats
from hiper.fields import Count, CountOrZero, NonNegative, Settings


class Replay(Settings):
    successes: CountOrZero  # stored ones that join a group which lost as a whole
    failures: CountOrZero  # stored ones that join a group which won as a whole
    capacity: Count  # stored episodes of all tasks together; the oldest go first
    weight: NonNegative  # of their advantages


Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Choose(Settings):
    """Shares in the first iteration; 1: all."""

    episodes: Share  # of a group, two at least
    tokens: Share  # of the tokens of these episodes


ALL = Choose(episodes=1.0, tokens=1.0)


class Sampling(Settings):
    resample: CountOrZero  # rounds in which groups that agree make room for others; DAPO goes on until all are replaced
    replay: Replay
    choose: Choose
    phases: bool  # of prompt.interface: blueprint, whose plans and steps then learn in turns

    @model_validator(mode="after")
    def phases_alone(self) -> Sampling:
        if self.phases and (self.resample or self.replay.successes or self.replay.failures):
            raise ValueError(
                "phases follow the plans of the iteration before: resample, replay.successes and replay.failures must "
                "be 0"
            )
        return self


NO_SAMPLING = {  # what was done before there was a choice
    "resample": 0,
    "replay": {"successes": 0, "failures": 0, "capacity": 1024, "weight": 1.0},
    "choose": {"episodes": 1.0, "tokens": 1.0},
    "phases": False,
}


def sampling_of(settings: AlgorithmSettings) -> Sampling | None:
    """That of an algorithm which compares groups, else None."""
    found = getattr(settings, "sampling", None)
    return found if isinstance(found, Sampling) else None


def agrees(returns: Sequence[float]) -> bool:
    """Whether the episodes of a group, of these returns, say nothing when they are compared."""
    return len(returns) < 2 or max(returns) == min(returns)


def most_varied(advantages: Floats, keep: int) -> Bools:
    """The `keep` of the `advantages` [n] whose variance is largest; of equal choices the one with most low ones. Such a
    choice consists of the highest and the lowest, so there are keep + 1 to look at."""
    order = np.argsort(advantages, kind="stable")
    choices = [np.concatenate([order[: keep - high], order[len(order) - high :]]) for high in range(keep + 1)]
    best = max(range(keep + 1), key=lambda high: (float(advantages[choices[high]].var()), -high))
    chosen = np.zeros(len(advantages), bool)
    chosen[choices[best]] = True
    return chosen


def largest(scores: Floats, share: float) -> Bools:
    """The share of the `scores` [n] that are largest, one at least; of equal ones the first."""
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(-scores, kind="stable")[: max(1, round(share * len(scores)))]] = True
    return chosen
